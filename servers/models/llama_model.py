"""The Transformer whose caches have a policy, in the layout of Hugging Face's `llama`.

By its policy a layer keeps every token, as ever; or the last few (window_attention.py); or a number
that attention chooses (tova_attention.py). Windows below and above, and the layers of the middle
third keep all: that is LongGen (Ge et al., arXiv 2410.01485), here without its first tokens, which
its windows never lose. Where all layers forget the state does not grow; the context ends with the
positions that were trained all the same.
Shapes: B sequences, L tokens, D width, T cached tokens, G key-value heads, P head width, V
vocabulary, S slots.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self, cast

import torch
from harnessapi.cache_policy import WINDOW, CachePolicy
from torch import Tensor, nn

from harness_servers.models.attention import Attention
from harness_servers.models.cached_attention import attend_cached, find_places
from harness_servers.models.caches import FIRST_CAPACITY, NUM_READ, cache_name
from harness_servers.models.feed_forward import GatedFeedForward
from harness_servers.models.initial_weights import INITIAL_EMBEDDING_STD
from harness_servers.models.llama_config import LlamaShape, check_policy, parse_llama
from harness_servers.models.protocol import State
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.stacked_model import StackedModel
from harness_servers.models.token_mixer import ResidualLayer, TokenMixer
from harness_servers.models.tova_attention import TovaAttention
from harness_servers.models.window_attention import WindowAttention


class _LlamaBackbone(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        size = shape.attention.hidden_size
        self.embed_tokens = nn.Embedding(shape.vocabulary_size, size)
        nn.init.normal_(self.embed_tokens.weight, std=INITIAL_EMBEDDING_STD)
        self.layers = nn.ModuleList(_layer(shape, index) for index in range(shape.num_layers))
        self.norm = RmsNorm(size, eps=shape.norm_epsilon)


class LlamaModel(StackedModel):
    """A stack of attention and feed-forward parts between embedding and head."""

    family = "TRANSFORMER"

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.shape = shape
        self.vocabulary_size = shape.vocabulary_size
        self.context_limit = shape.context_limit
        self.model = _LlamaBackbone(shape)
        size = shape.attention.hidden_size
        self.lm_head = None if shape.is_tied else nn.Linear(size, shape.vocabulary_size, bias=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of the shape of a Hugging Face config, and of our `cache_policy` in it.

        Raises ConfigError.
        """
        return cls(parse_llama(config))

    def with_cache_policy(self, policy: CachePolicy) -> Self:
        """The same weights, not a copy of them, under another policy. Raises ConfigError."""
        with torch.device("meta"):
            other = type(self)(check_policy(self.shape, policy))
        other.load_state_dict(self.state_dict(), assign=True)
        other.eval()
        return other

    @property
    def embedding(self) -> nn.Embedding:
        """See StackedModel."""
        return self.model.embed_tokens

    @property
    def layers(self) -> Sequence[TokenMixer]:
        """See StackedModel; layers that keep every token are read in `_read` alone."""
        return cast(Sequence[TokenMixer], self.model.layers)

    @property
    def last_norm(self) -> nn.Module:
        """See StackedModel."""
        return self.model.norm

    @property
    def head_weight(self) -> Tensor:
        """See StackedModel."""
        return (self.model.embed_tokens if self.lm_head is None else self.lm_head).weight

    def init_state(self, num_slots: int) -> State:
        """By layer: caches of keys and values (S, T, G, P), or what its policy keeps."""
        state = super().init_state(num_slots)
        attention, device = self.shape.attention, self.embedding.weight.device
        cache = (num_slots, FIRST_CAPACITY, attention.num_key_value_heads, attention.head_dim)
        if self._full_layers:
            state[NUM_READ] = torch.zeros(num_slots, dtype=torch.long, device=device)
        for index in self._full_layers:
            for kind in ("key", "value"):
                state[cache_name(kind, index)] = torch.zeros(cache, device=device)
        return state

    def _read(self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        if not self._full_layers:
            return super()._read(tokens_BL, lengths_B, state, slots_B)
        hidden_BLD = self.embed(tokens_BL)
        places = find_places(tokens_BL.shape[1], lengths_B, state, slots_B)
        layers: Sequence[Any] = self.layers
        for index, layer in enumerate(layers):
            if index in self._full_layers:
                given_BLD = layer.input_layernorm(hidden_BLD)
                mixed_BLD = attend_cached(layer.self_attn, index, given_BLD, state, places)
                hidden_BLD = hidden_BLD + mixed_BLD
                hidden_BLD = hidden_BLD + layer.mlp(layer.post_attention_layernorm(hidden_BLD))
            else:
                hidden_BLD = self.read_layer(index, hidden_BLD, lengths_B, state, slots_B)
        return hidden_BLD

    @torch.inference_mode()
    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        """See SequenceModel.decode."""
        return self.prefill(tokens_B[:, None], torch.ones_like(slots_B), state, slots_B)

    @cached_property
    def _full_layers(self) -> list[int]:
        return [index for index in range(self.shape.num_layers) if self.shape.policy.is_full(index)]


def _layer(shape: LlamaShape, index: int) -> ResidualLayer:
    size, epsilon = shape.attention.hidden_size, shape.norm_epsilon
    return ResidualLayer(
        {
            "input_layernorm": RmsNorm(size, eps=epsilon),
            "self_attn": _attention(shape, index),
            "post_attention_layernorm": RmsNorm(size, eps=epsilon),
            "mlp": GatedFeedForward(size, shape.inner_size, use_bias=shape.use_mlp_bias),
        }
    )


def _attention(shape: LlamaShape, index: int) -> Attention:
    policy = shape.policy
    if policy.is_full(index):
        return Attention(shape.attention)
    kind = WindowAttention if policy.kind == WINDOW else TovaAttention
    return kind(shape.attention, policy.num_tokens)
