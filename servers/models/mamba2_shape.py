"""The sizes of a Mamba2 mixer, and the states that go with them.

Shapes: B sequences, H heads, P head width, N state, X convolved channels, K convolution width,
J = K - 1 inputs that it remembers.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class MixerShape:
    """The sizes of one mixer."""

    hidden_size: int
    inner_size: int
    num_heads: int
    state_size: int
    num_groups: int
    conv_kernel: int
    chunk_size: int
    norm_epsilon: float
    use_bias: bool = False
    use_conv_bias: bool = True
    time_step_limit: tuple[float, float] = (0.0, math.inf)
    # The gated norm is over the whole inner width, as transformers has it; by group is how the
    # authors' own code (mamba_ssm) trains models of several groups.
    norm_by_group: bool = False

    @property
    def num_normed(self) -> int:
        """Parts of the inner width that are normalized apart."""
        return self.num_groups if self.norm_by_group else 1

    @property
    def head_dim(self) -> int:
        """P."""
        return self.inner_size // self.num_heads

    @property
    def conv_size(self) -> int:
        """X."""
        return self.inner_size + 2 * self.num_groups * self.state_size

    def init_state(self, num_rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The convolution's last inputs (B, J, X) and the scan's state (B, H, P, N), zero.

        The state is float32: what a rounder format loses at a token is lost for all that follow.
        """
        conv = (num_rows, self.conv_kernel - 1, self.conv_size)
        scan = (num_rows, self.num_heads, self.head_dim, self.state_size)
        return (
            torch.zeros(conv, dtype=torch.float32, device=device),
            torch.zeros(scan, dtype=torch.float32, device=device),
        )
