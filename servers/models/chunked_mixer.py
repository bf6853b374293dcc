"""A mixer that reads many tokens at once, in chunks, and is trained by reading.

Shapes: B sequences, L tokens, H heads, C chunks of Q tokens, D width.
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.token_mixer import TokenMixer

_CHUNK_SIZE: Final = 16


class ChunkedMixer(TokenMixer):
    """A subclass's `read` has gradients, and is faster than its `step` token by token."""

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        num_rows, length, _ = hidden_BLD.shape
        device = hidden_BLD.device
        lengths_B = torch.full((num_rows,), length, device=device)
        return self.read(hidden_BLD, lengths_B, self.init_state(num_rows, device))[0]


def is_read(hidden_BLD: Tensor, lengths_B: Tensor) -> Tensor:
    """(B, L), true where a token stands within its row's length."""
    return torch.arange(hidden_BLD.shape[1], device=lengths_B.device) < lengths_B[:, None]


def into_chunks(tokens_BLHD: Tensor) -> Tensor:
    """(B, H, C, Q, D), with zeros behind the last token."""
    length = tokens_BLHD.shape[1]
    size = min(length, _CHUNK_SIZE)
    padded_BLHD = F.pad(tokens_BLHD, (0, 0, 0, 0, 0, -length % size))
    return torch.unflatten(padded_BLHD, 1, (-1, size)).permute(0, 3, 1, 2, 4)


def out_of_chunks(tokens_BHCQD: Tensor, length: int) -> Tensor:
    """The inverse of `into_chunks`: (B, L, H, D)."""
    return tokens_BHCQD.flatten(2, 3).transpose(1, 2)[:, :length]
