"""Causal Relation Networks: what a token is told is a sum over relations with those before it.

    y[t] = W sum over s <= t of exp(n(a[s] + b[t]))

where a and b are linear in the two tokens: with the exponential, a perceptron of both. Without a
norm n the sum is a product, exp(b[t]) sum exp(a[s]): one state, which does not grow. With one, over
the relation's numbers, no term can be told beforehand: all a[s] are kept, as keys are.
Source: Cui et al., arXiv 2406.16168, sections 2 and 3, where both are described; this layout is the
project's own. Left open there, and chosen here: positions are told by sines and cosines, added to
what a relation reads (Vaswani et al., arXiv 1706.03762, section 3.5); the sum is brought to a root
mean square of one, so that it does not depend on how many there are, and the sum without a norm is
kept beside the greatest logarithm of a term, so that it cannot overflow.
Shapes: B sequences, L tokens, T tokens before, D width, R relation size.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.caches import FIRST_CAPACITY, NUM_READ
from harness_servers.models.config_values import flag
from harness_servers.models.feed_forward import GatedFeedForward
from harness_servers.models.initial_weights import INITIAL_EMBEDDING_STD
from harness_servers.models.protocol import ConfigError, positive_int
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.stacked_model import StackedModel
from harness_servers.models.token_mixer import ResidualLayer, RowState, TokenMixer

_MAX_LAYERS: Final = 1024
_EPSILON: Final = 1e-5
_LONGEST_WAVE: Final = 10_000.0
_CACHE: Final = "cache.relation"
# The greatest logarithm of a sum over nothing: below any other.
_NOTHING: Final = -1e30


class Relations(TokenMixer):
    """What is common to both sums; a subclass has the sum."""

    knows_position = True

    def __init__(self, hidden_size: int, relation_size: int) -> None:
        super().__init__()
        self.relation_size = relation_size
        self.before_proj = nn.Linear(hidden_size, relation_size)
        self.now_proj = nn.Linear(hidden_size, relation_size, bias=False)
        self.out_proj = nn.Linear(relation_size, hidden_size, bias=False)

    def relate(self, hidden_D: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """a and b (..., R) of tokens (..., D) at positions (...)."""
        placed_D = hidden_D + waves(positions, hidden_D.shape[-1])
        return self.before_proj(placed_D), self.now_proj(placed_D)


class LinearRelations(Relations):
    """Without a norm: the state is the sum, over its greatest term, and that term's logarithm."""

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """A sum over nothing: (B, R) each."""
        peak_BR = torch.full((num_rows, self.relation_size), _NOTHING, device=device)
        return {"peak": peak_BR, "sum": torch.zeros_like(peak_BR)}

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        positions_L = torch.arange(hidden_BLD.shape[1], device=hidden_BLD.device)
        before_BLR, now_BLR = self.relate(hidden_BLD, positions_L)
        log_BLR = torch.logcumsumexp(before_BLR, 1)
        return self._finish(torch.ones_like(log_BLR), log_BLR + now_BLR)

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        before_BR, now_BR = self.relate(hidden_BD, state[NUM_READ])
        peak_BR = torch.maximum(state["peak"], before_BR)
        kept_BR = state["sum"] * torch.exp(state["peak"] - peak_BR)
        sum_BR = kept_BR + torch.exp(before_BR - peak_BR)
        return self._finish(sum_BR, peak_BR + now_BR), {"peak": peak_BR, "sum": sum_BR}

    def _finish(self, sum_R: Tensor, log_R: Tensor) -> Tensor:
        """Of sums that are `sum_R` times the exponential of `log_R`."""
        # What is brought to one size anyway may be of any before.
        sum_R = sum_R * torch.exp(log_R - log_R.amax(-1, keepdim=True))
        output_D: Tensor = self.out_proj(F.rms_norm(sum_R, sum_R.shape[-1:], eps=_EPSILON))
        return output_D


class NormedRelations(Relations):
    """With a norm: the state is all that a relation has read of each token, (B, T, R)."""

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """Room for the first tokens."""
        room = (num_rows, FIRST_CAPACITY, self.relation_size)
        return {_CACHE: torch.zeros(room, device=device)}

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        positions_L = torch.arange(hidden_BLD.shape[1], device=hidden_BLD.device)
        before_BTR, now_BLR = self.relate(hidden_BLD, positions_L)
        return self._sum(before_BTR, now_BLR, positions_L.expand(hidden_BLD.shape[:2]))

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        places_B = state[NUM_READ]
        before_BR, now_BR = self.relate(hidden_BD, places_B)
        cache_BTR = state[_CACHE].clone()
        cache_BTR[torch.arange(len(places_B), device=places_B.device), places_B] = before_BR
        seen_BTR = cache_BTR[:, : int(places_B.max()) + 1]
        output_B1D = self._sum(seen_BTR, now_BR[:, None], places_B[:, None])
        return output_B1D[:, 0], {_CACHE: cache_BTR}

    def _sum(self, before_BTR: Tensor, now_BLR: Tensor, places_BL: Tensor) -> Tensor:
        """(B, L, D), of tokens at `places_BL` over those up to there."""
        relation_BLTR = before_BTR[:, None] + now_BLR[:, :, None]
        normed_BLTR = F.layer_norm(relation_BLTR, relation_BLTR.shape[-1:], eps=_EPSILON)
        places_T = torch.arange(before_BTR.shape[1], device=before_BTR.device)
        is_future_BLT = places_T > places_BL[..., None]
        terms_BLTR = normed_BLTR.exp().masked_fill(is_future_BLT[..., None], 0.0)
        sum_BLR = terms_BLTR.sum(2)
        output_BLD: Tensor = self.out_proj(F.rms_norm(sum_BLR, sum_BLR.shape[-1:], eps=_EPSILON))
        return output_BLD


def waves(positions: Tensor, size: int) -> Tensor:
    """Sines, then cosines, of wave lengths from 2 pi to 10,000 times that: (..., size)."""
    steps = torch.arange(size // 2, device=positions.device) / (size // 2)
    angles = positions[..., None] * torch.exp(-steps * math.log(_LONGEST_WAVE))
    return torch.cat([angles.sin(), angles.cos()], -1)


class _CausalRnBackbone(nn.Module):
    def __init__(self, config: Mapping[str, Any], *, is_normed: bool) -> None:
        super().__init__()
        size = positive_int(config, "hidden_size")
        if size % 2:
            raise ConfigError(f"config.json: hidden_size is {size}; an even number was expected")
        mixer = NormedRelations if is_normed else LinearRelations
        relation_size = positive_int(config, "relation_size")
        inner_size = positive_int(config, "intermediate_size")
        self.embeddings = nn.Embedding(positive_int(config, "vocab_size"), size)
        nn.init.normal_(self.embeddings.weight, std=INITIAL_EMBEDDING_STD)
        self.layers = nn.ModuleList(
            ResidualLayer(
                {
                    "relation_norm": RmsNorm(size, eps=_EPSILON),
                    "relations": mixer(size, relation_size),
                    "mlp_norm": RmsNorm(size, eps=_EPSILON),
                    "mlp": GatedFeedForward(size, inner_size, use_bias=False),
                }
            )
            for _ in range(positive_int(config, "num_hidden_layers", at_most=_MAX_LAYERS))
        )
        self.norm = RmsNorm(size, eps=_EPSILON)


class CausalRnModel(StackedModel):
    """Layers of relations and feed-forward parts, embedding and head tied.

    Its family is that of the models whose memory does as its own: one state, or all that was read.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        is_normed = flag(config, "normed_relations", True)
        self._is_normed = is_normed
        self.model = _CausalRnBackbone(config, is_normed=is_normed)
        self.vocabulary_size = self.model.embeddings.num_embeddings

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of this shape. Raises ConfigError."""
        return cls(config)

    @property
    def family(self) -> str:  # type: ignore[override]
        """See ModelShape.family."""
        return "TRANSFORMER" if self._is_normed else "RNN"

    @property
    def embedding(self) -> nn.Embedding:
        """See StackedModel."""
        return self.model.embeddings

    @property
    def layers(self) -> Sequence[TokenMixer]:
        """See StackedModel."""
        return cast(Sequence[TokenMixer], self.model.layers)

    @property
    def last_norm(self) -> nn.Module:
        """See StackedModel."""
        return self.model.norm

    @property
    def head_weight(self) -> Tensor:
        """See StackedModel."""
        return self.model.embeddings.weight
