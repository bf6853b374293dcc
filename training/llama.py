"""A Llama that can be trained here and is served elsewhere: transformers' own module.

Shapes: B rows, L tokens, T wanted places of all rows together, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

# transformers' 0.02 is meant for widths of thousands: at ours the layers begin as good as empty.
_INITIALIZER_RANGE: Final = 0.1


class TrainableLlama(LlamaForCausalLM):  # type: ignore[misc]
    """Weights and config are LlamaForCausalLM's; the call is that of our own models."""

    def forward(self, tokens_BL: Tensor, is_wanted_BL: Tensor) -> Tensor:
        """Logits (T, V) after each wanted token, in reading order."""
        hidden_BLD = self.model(input_ids=tokens_BL, use_cache=False).last_hidden_state
        logits_TV: Tensor = self.lm_head(hidden_BLD[is_wanted_BL])
        return logits_TV

    def set_identity_layers(self, count: int) -> None:
        """The upper `count` layers add nothing and stay as they are; all others are trained.

        Made for counts that fall: a layer that has been trained would lose what it learnt.
        """
        num_trained = len(self.model.layers) - count
        for index, layer in enumerate(self.model.layers):
            layer.requires_grad_(index < num_trained)
            if index >= num_trained:
                nn.init.zeros_(layer.self_attn.o_proj.weight)
                nn.init.zeros_(layer.mlp.down_proj.weight)


def make_llama(config: Mapping[str, Any]) -> nn.Module:
    """A Llama of this config.json."""
    return TrainableLlama(LlamaConfig(**{"initializer_range": _INITIALIZER_RANGE, **config}))
