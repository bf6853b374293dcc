"""Queries, keys and values: a projection each and, where wanted, a short convolution behind it.

Named as flash-linear-attention names them. Shapes: B sequences, L tokens, D width, X channels of
one of the three, J inputs that a convolution remembers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from harness_servers.models.causal_convolution import convolve_more, convolve_token
from harness_servers.models.chunked_mixer import ChunkedMixer
from harness_servers.models.token_mixer import RowState


class QkvMixer(ChunkedMixer):
    """What mixers have in common that ask a state with queries."""

    def __init__(
        self, hidden_size: int, channels: Mapping[str, int], conv_kernel: int | None
    ) -> None:
        """The channels under q, k and v; None for no convolutions."""
        super().__init__()
        self._channels = dict(channels)
        self._conv_kernel = conv_kernel
        for letter, num_channels in channels.items():
            self.add_module(f"{letter}_proj", nn.Linear(hidden_size, num_channels, bias=False))
        if conv_kernel is not None:
            for letter, num_channels in channels.items():
                conv = nn.Conv1d(
                    num_channels, num_channels, conv_kernel, groups=num_channels, bias=False
                )
                self.add_module(f"{letter}_conv1d", conv)

    def init_memories(self, num_rows: int, device: torch.device) -> RowState:
        """The convolutions' last inputs (B, J, X)."""
        if self._conv_kernel is None:
            return {}
        return {
            f"conv_{letter}": torch.zeros(
                num_rows, self._conv_kernel - 1, num_channels, device=device
            )
            for letter, num_channels in self._channels.items()
        }

    def project_token(self, hidden_BD: Tensor, state: RowState) -> tuple[list[Tensor], RowState]:
        """Of one token a row: q, k and v (B, X), before any activation; memories after it."""
        projected, after = self._project(hidden_BD), {}
        if self._conv_kernel is not None:
            for i, letter in enumerate(self._channels):
                name = f"conv_{letter}"
                projected[i], after[name] = convolve_token(
                    self._conv1d(letter), projected[i], state[name]
                )
        return projected, after

    def project_rows(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[list[Tensor], RowState]:
        """Of many tokens: q, k and v (B, L, X); memories after the first `lengths_B`."""
        projected, after = self._project(hidden_BLD), {}
        if self._conv_kernel is not None:
            for i, letter in enumerate(self._channels):
                name = f"conv_{letter}"
                projected[i], after[name] = convolve_more(
                    self._conv1d(letter), projected[i], state[name], lengths_B
                )
        return projected, after

    def _project(self, hidden_D: Tensor) -> list[Tensor]:
        return [getattr(self, f"{letter}_proj")(hidden_D) for letter in self._channels]

    def _conv1d(self, letter: str) -> nn.Conv1d:
        conv1d: nn.Conv1d = getattr(self, f"{letter}_conv1d")
        return conv1d
