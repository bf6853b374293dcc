"""The layers of a Taipan: Mamba2 for every token, and attention for those that a gate chooses.

Shapes: B sequences, L tokens, D width; see mamba2_mixer.py and window_attention.py for the rest.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn

from harness_servers.models.attention import AttentionShape
from harness_servers.models.feed_forward import GatedFeedForward
from harness_servers.models.mamba2_mixer import Mamba2Mixer
from harness_servers.models.mamba2_shape import MixerShape
from harness_servers.models.packed_rows import Rows
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.token_mixer import RowState, TokenMixer
from harness_servers.models.window_attention import WindowAttention

# Of the squared distance between the share of tokens that is chosen and the one that is wanted, in
# the loss of a training.
_BUDGET_WEIGHT: Final = 0.1


class MambaLayer(TokenMixer):
    """Norm, Mamba2 mixer, residual."""

    def __init__(self, shape: MixerShape) -> None:
        super().__init__()
        self.norm = RmsNorm(shape.hidden_size, eps=shape.norm_epsilon)
        self.mixer = Mamba2Mixer(shape)

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """The convolution's last inputs (B, J, X) and the scan's state (B, H, P, N)."""
        conv, scan = self.mixer.shape.init_state(num_rows, device)
        return {"conv": conv, "scan": scan}

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        lengths_B = torch.ones(len(hidden_BD), dtype=torch.long)
        output_B1D, state = self.read(hidden_BD[:, None], lengths_B, state)
        return output_B1D[:, 0], state

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        output_BLD: Tensor = hidden_BLD + self.mixer(self.norm(hidden_BLD))
        return output_BLD

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        rows = Rows(slots_B=torch.arange(len(hidden_BLD)), lengths_B=lengths_B)
        # The mixer changes them in place.
        state = {name: tensor.clone() for name, tensor in state.items()}
        given_TD = self.norm(rows.pack(hidden_BLD))
        mixed_TD = self.mixer.read(given_TD, state["conv"], state["scan"], rows, to_last=False)
        return hidden_BLD + rows.unpack(mixed_TD, hidden_BLD.shape[1]), state


class SelectiveLayer(TokenMixer):
    """Attention of the chosen tokens to the last `window`; then norm, feed-forward, residual.

    A chosen token becomes (1 - a) of what it was and a of what it has gathered, where a is how
    likely the gate thought it; any other stays what it was.
    """

    def __init__(
        self, shape: AttentionShape, *, window: int, share: float, inner_size: int, epsilon: float
    ) -> None:
        super().__init__()
        self.norm = RmsNorm(shape.hidden_size, eps=epsilon)
        self.gate = nn.Linear(shape.hidden_size, 2)
        self.self_attn = WindowAttention(shape, window)
        self.pre_ff_layernorm = RmsNorm(shape.hidden_size, eps=epsilon)
        self.feed_forward = GatedFeedForward(shape.hidden_size, inner_size)
        self._share = share
        self._noise: torch.Generator | None = None

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """The window's keys and values."""
        return self.self_attn.init_state(num_rows, device)

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        given_BD = self.norm(hidden_BD)
        mixed_BD, state = self.self_attn.step(given_BD, state)
        return self._finish(hidden_BD, given_BD, mixed_BD), state

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        given_BLD = self.norm(hidden_BLD)
        return self._finish(hidden_BLD, given_BLD, self.self_attn(given_BLD))

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        given_BLD = self.norm(hidden_BLD)
        mixed_BLD, state = self.self_attn.read(given_BLD, lengths_B, state)
        return self._finish(hidden_BLD, given_BLD, mixed_BLD), state

    def _finish(self, hidden_D: Tensor, given_D: Tensor, mixed_D: Tensor) -> Tensor:
        score_2: Tensor = self.gate(given_D)
        chosen_1 = self._choose(score_2)
        hidden_D = hidden_D + chosen_1 * score_2.softmax(-1)[..., 1:] * (mixed_D - hidden_D)
        output_D: Tensor = hidden_D + self.feed_forward(self.pre_ff_layernorm(hidden_D))
        return output_D

    def _choose(self, score_2: Tensor) -> Tensor:
        """1 for tokens that attend, else 0 (..., 1); as a training sees it, with its gradient."""
        if not self.training:
            return (score_2[..., 1:] > score_2[..., :1]).to(score_2.dtype)
        soft_1 = ((score_2 + self._gumbel(score_2)).softmax(-1))[..., 1:]
        chosen_1 = (soft_1 > 0.5).to(soft_1.dtype) + soft_1 - soft_1.detach()
        penalty = _BUDGET_WEIGHT * (chosen_1.mean() - self._share).square()
        with_penalty_1: Tensor = _AddedLoss.apply(chosen_1, penalty)  # type: ignore[no-untyped-call]
        return with_penalty_1

    def _gumbel(self, like: Tensor) -> Tensor:
        """From a generator of its own: a training draws the same whatever else draws."""
        if self._noise is None:
            self._noise = torch.Generator(like.device).manual_seed(0)
        return -torch.empty_like(like).exponential_(generator=self._noise).log()


class _AddedLoss(torch.autograd.Function):
    """Passes a tensor on; a scalar beside it is in the loss of whoever trains with what follows."""

    @staticmethod
    def forward(ctx: Any, passed: Tensor, penalty: Tensor) -> Tensor:
        ctx.like = penalty.detach()
        return passed.view_as(passed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, torch.ones_like(ctx.like)
