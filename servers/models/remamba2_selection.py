"""What ReMamba keeps of a prompt: the best of a stretch, each as a vector to be read in its place.

    score[i] = cosine(W_k h[i], W_q h[last])
    dt       = softplus(relu(score) dt' + shift + bias)        where such a vector is read

h are the hidden states of the last layer, after the last norm; dt' is what a mixer projects for its
time step, and shift is learned by layer and head. Which ones are the best has no gradient: it is
through the time steps that one reaches query and keys. See remamba2.py.
Shapes: L tokens, P of a prompt, M that are read again, T tokens of all rows, D width, E of a
stretch, K of them kept, R rank, Y layers, H heads.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.config_values import share
from harness_servers.models.initial_weights import INITIAL_EMBEDDING_STD
from harness_servers.models.mamba2_mixer import Adaptation
from harness_servers.models.mamba2_shape import MixerShape
from harness_servers.models.protocol import ConfigError, positive_int


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionShape:
    """How much is kept, of which stretch of a prompt; shares of 0 to 1."""

    rank: int
    # Of the stretch; at least a token is kept.
    kept_share: float
    # Of the prompt: what stands before the stretch, and the stretch.
    stretch_start: float
    stretch_share: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any], hidden_size: int) -> Self:
        """Raises ConfigError, naming the value."""
        made = cls(
            rank=positive_int(config, "selection_rank", at_most=hidden_size),
            kept_share=share(config, "kept_share"),
            stretch_start=share(config, "stretch_start", 0.0),
            stretch_share=share(config, "stretch_share"),
        )
        for key in ("kept_share", "stretch_share"):
            if not config[key]:
                raise ConfigError(f"config.json: {key} is {config[key]!r}; nothing would be read")
        if made.stretch_start + made.stretch_share > 1:
            raise ConfigError(
                f"config.json: stretch_start {made.stretch_start} and stretch_share "
                f"{made.stretch_share} are more than the whole prompt"
            )
        return made

    def stretch(self, num_prompt: int) -> tuple[int, int, int]:
        """Where it begins and ends in a prompt of so many tokens, and how many are kept of it.

        Parts of tokens count as whole ones. The last token, which the rest is held against and
        what follows is said after, is never in it: of a single token nothing is.
        """
        start = int(self.stretch_start * num_prompt)
        length = min(math.ceil(self.stretch_share * num_prompt), max(num_prompt - 1 - start, 0))
        return start, start + length, math.ceil(self.kept_share * length)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compressed:
    """What is read instead: vectors (M, D), what the time steps of each are multiplied by (M, 1),
    and 1 for those that are made of hidden states (M, 1), else 0.
    """

    inputs_MD: Tensor
    scale_M1: Tensor
    is_kept_M1: Tensor


class Selection(nn.Module):
    """The weights that ReMamba has besides a Mamba2's."""

    def __init__(self, shape: SelectionShape, mixer: MixerShape, num_layers: int) -> None:
        super().__init__()
        self.shape = shape
        size = mixer.hidden_size
        self.query = nn.Linear(size, shape.rank, bias=False)
        self.key = nn.Linear(size, shape.rank, bias=False)
        self.value = nn.Linear(size, size, bias=False)
        # Of normed vectors it makes some as large as embeddings are.
        nn.init.normal_(self.value.weight, std=INITIAL_EMBEDDING_STD / math.sqrt(size))
        self.dt_shift = nn.Parameter(torch.zeros(num_layers, mixer.num_heads))

    def compress(self, embedded_LD: Tensor, hidden_PD: Tensor) -> Compressed:
        """Of one row: the embeddings of all its tokens, and what the last layer said of those of
        the prompt that it begins with. What stands behind the prompt is read as it is.
        """
        start, end, num_kept = self.shape.stretch(len(hidden_PD))
        scale_L1 = embedded_LD.new_ones(len(embedded_LD), 1)
        is_kept_L1 = torch.zeros_like(scale_L1)
        if not num_kept:
            return Compressed(inputs_MD=embedded_LD, scale_M1=scale_L1, is_kept_M1=is_kept_L1)
        hidden_ED = hidden_PD[start:end]
        score_E = F.cosine_similarity(self.key(hidden_ED), self.query(hidden_PD[-1:]), dim=-1)
        # Of equals the first; then in the order in which they stand.
        best_E = score_E.detach().sort(descending=True, stable=True).indices
        kept_K = best_E[:num_kept].sort().values
        kept_scale_K1 = F.relu(score_E[kept_K])[:, None]

        def replaced(tensor_L: Tensor, by_K: Tensor) -> Tensor:
            return torch.cat([tensor_L[:start], by_K, tensor_L[end:]])

        return Compressed(
            inputs_MD=replaced(embedded_LD, self.value(hidden_ED[kept_K])),
            scale_M1=replaced(scale_L1, kept_scale_K1),
            is_kept_M1=replaced(is_kept_L1, torch.ones_like(kept_scale_K1)),
        )

    def adaptations(self, scale_T1: Tensor, is_kept_T1: Tensor) -> list[Adaptation]:
        """By layer; any leading dimensions."""
        return [(scale_T1, is_kept_T1 * shift_H) for shift_H in self.dt_shift]
