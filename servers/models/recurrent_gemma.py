"""Hawk and Griffin, in the layout of Hugging Face's `recurrent_gemma`.

Each layer is a recurrent block (rg_lru.py) or local attention, as block_types has it, then a gated
feed-forward part; Hawk has recurrent blocks alone. Source: De et al., "Griffin", arXiv 2402.19427,
section 2; Botev et al., "RecurrentGemma", arXiv 2404.07839, section 2, for the scale of embeddings.
The cap of logits is of the layout.
Shapes: B sequences, L tokens, D width, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.recurrent_gemma_config import GriffinConfig, parse_griffin
from harness_servers.models.rg_lru import RecurrentBlock
from harness_servers.models.rms_norm import OffsetRmsNorm
from harness_servers.models.stacked_model import StackedModel
from harness_servers.models.token_mixer import ResidualLayer, TokenMixer
from harness_servers.models.window_attention import WindowAttention


class _GriffinFeedForward(nn.Module):
    def __init__(self, width: int, inner_size: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner_size)
        self.up_proj = nn.Linear(width, inner_size)
        self.down_proj = nn.Linear(inner_size, width)

    def forward(self, hidden_D: Tensor) -> Tensor:
        gate = F.gelu(self.gate_proj(hidden_D), approximate="tanh")
        output_D: Tensor = self.down_proj(gate * self.up_proj(hidden_D))
        return output_D


class _GriffinBackbone(nn.Module):
    def __init__(self, config: GriffinConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.embed_tokens = nn.Embedding(config.vocabulary_size, width)
        self.layers = nn.ModuleList(
            ResidualLayer(
                {
                    "temporal_pre_norm": OffsetRmsNorm(width, eps=config.epsilon),
                    "temporal_block": _temporal_block(config, attends=attends),
                    "channel_pre_norm": OffsetRmsNorm(width, eps=config.epsilon),
                    "mlp_block": _GriffinFeedForward(width, config.inner_size),
                }
            )
            for attends in config.attends
        )
        self.final_norm = OffsetRmsNorm(width, eps=config.epsilon)


class RecurrentGemmaModel(StackedModel):
    """Hawk or Griffin, with scaled embeddings and logits that are capped softly."""

    def __init__(self, config: GriffinConfig) -> None:
        super().__init__()
        self.config = config
        # Griffin has keys and values too, though of a window alone.
        self.family = "HYBRID" if any(config.attends) else "RNN"
        self.vocabulary_size = config.vocabulary_size
        self.model = _GriffinBackbone(config)
        width = config.hidden_size
        self.lm_head = (
            None if config.is_tied else nn.Linear(width, self.vocabulary_size, bias=False)
        )
        # Published weights were trained with the root as bfloat16 has it. (Models are also made on
        # device meta, where no number can be read.)
        self._scale = torch.tensor(width**0.5, dtype=torch.bfloat16, device="cpu").item()
        self._initialise()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of the shape of a Hugging Face config. Raises ConfigError."""
        return cls(parse_griffin(config))

    @property
    def embedding(self) -> nn.Embedding:
        """See StackedModel."""
        return self.model.embed_tokens

    @property
    def layers(self) -> Sequence[TokenMixer]:
        """See StackedModel."""
        return cast(Sequence[TokenMixer], self.model.layers)

    @property
    def last_norm(self) -> nn.Module:
        """See StackedModel."""
        return self.model.final_norm

    @property
    def head_weight(self) -> Tensor:
        """See StackedModel."""
        return (self.model.embed_tokens if self.lm_head is None else self.lm_head).weight

    def embed(self, tokens: Tensor) -> Tensor:
        """See StackedModel.embed."""
        return super().embed(tokens) * self._scale

    def finish(self, hidden_D: Tensor) -> Tensor:
        """See StackedModel.finish."""
        cap = self.config.soft_cap
        return torch.tanh(super().finish(hidden_D) / cap) * cap

    @torch.no_grad()
    def _initialise(self) -> None:
        """Branches that begin small, the smaller the more of them are added up."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=module.in_features**-0.5)
                if module.bias is not None:
                    module.bias.zero_()
        num_layers = len(self.config.attends)
        for name, weight in self.named_parameters():
            if name.endswith(("linear_out.weight", "o_proj.weight", "down_proj.weight")):
                weight.mul_((2 / num_layers) ** 0.5)
        self.embedding.weight.normal_(std=self.config.hidden_size**-0.5)


def _temporal_block(config: GriffinConfig, *, attends: bool) -> TokenMixer:
    if attends and config.attention is not None:
        return WindowAttention(config.attention, config.window)
    return RecurrentBlock(
        config.hidden_size, config.lru_width, config.num_blocks, config.conv_width
    )
