"""Queries, keys and values: a projection each and, where wanted, a short convolution behind it.

Named as flash-linear-attention names them. Shapes: B sequences, L tokens, D width, X channels of
all three, K width of the convolutions, J = K - 1 inputs that they remember.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from harness_servers.models.causal_convolution import convolve_more
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

    def init_memory(self, num_rows: int, device: torch.device) -> RowState:
        """The convolutions' last inputs (B, J, X)."""
        if self._conv_kernel is None:
            return {}
        memory = (num_rows, self._conv_kernel - 1, sum(self._channels.values()))
        return {"conv": torch.zeros(memory, device=device)}

    def project_token(self, hidden_BD: Tensor, state: RowState) -> tuple[list[Tensor], RowState]:
        """Of one token a row: q, k and v (B, channels), before any activation; the memory after."""
        qkv = self._project(hidden_BD)
        if self._conv_kernel is None:
            return qkv, {}
        window_BKX = torch.cat([state["conv"], torch.cat(qkv, -1)[:, None]], 1)
        mixed_BX = (window_BKX * self._kernel()[:, 0].T).sum(1)
        return self._split(mixed_BX), {"conv": window_BKX[:, 1:]}

    def project_rows(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[list[Tensor], RowState]:
        """Of many tokens, with gradients; the memory after the first `lengths_B`."""
        qkv = self._project(hidden_BLD)
        if self._conv_kernel is None:
            return qkv, {}
        inputs_BLX = torch.cat(qkv, -1)
        mixed_BLX, conv = convolve_more(self._kernel(), inputs_BLX, state["conv"], lengths_B)
        return self._split(mixed_BLX), {"conv": conv}

    def _project(self, hidden_D: Tensor) -> list[Tensor]:
        return [getattr(self, f"{letter}_proj")(hidden_D) for letter in self._channels]

    def _kernel(self) -> Tensor:
        """(X, 1, K)."""
        return torch.cat([getattr(self, f"{letter}_conv1d").weight for letter in self._channels])

    def _split(self, mixed_X: Tensor) -> list[Tensor]:
        return list(torch.split(mixed_X, list(self._channels.values()), -1))
