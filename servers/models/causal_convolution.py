"""A short convolution over the last tokens, channel by channel, whose memory is the last inputs.

Shapes: B sequences, L tokens, X channels, K width, J = K - 1 inputs that are remembered,
T = J + L inputs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


def convolve_rows(conv1d: nn.Conv1d, inputs_BLX: Tensor) -> Tensor:
    """Whole rows from an empty memory, with gradients: (B, L, X)."""
    history_BXL = F.pad(inputs_BLX.mT, (conv1d.kernel_size[0] - 1, 0))
    return F.conv1d(history_BXL, conv1d.weight, conv1d.bias, groups=conv1d.groups).mT


def convolve_more(
    kernel_X1K: Tensor,
    inputs_BLX: Tensor,
    memory_BJX: Tensor,
    lengths_B: Tensor,
    *,
    bias_X: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rows that go on, with gradients: (B, L, X), and the memory after `lengths_B` tokens."""
    history_BTX = torch.cat([memory_BJX, inputs_BLX], 1)
    output_BXL = F.conv1d(history_BTX.mT, kernel_X1K, bias_X, groups=len(kernel_X1K))
    last_BJ = lengths_B[:, None] + torch.arange(memory_BJX.shape[1], device=lengths_B.device)
    row_B1 = torch.arange(len(lengths_B), device=lengths_B.device)[:, None]
    return output_BXL.mT, history_BTX[row_B1, last_BJ]


def convolve_token(
    conv1d: nn.Conv1d, inputs_BX: Tensor, memory_BJX: Tensor
) -> tuple[Tensor, Tensor]:
    """One token of each row: (B, X), and the memory after it."""
    window_BKX = torch.cat([memory_BJX, inputs_BX[:, None]], 1)
    output_BX = torch.einsum("bkx,xk->bx", window_BKX, conv1d.weight[:, 0])
    return (output_BX if conv1d.bias is None else output_BX + conv1d.bias), window_BKX[:, 1:]
