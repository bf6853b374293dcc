"""Mamba and Falcon Mamba, in the layouts of Hugging Face's `mamba` and `falcon_mamba`.

    state[t] = exp(dt[t] A) state[t-1] + dt[t] B[t] x[t]          y[t] = C[t] . state[t] + D x[t]

with a decay for each channel and number of its state. Falcon's norms stand before B, C and dt are
used. Source: Gu and Dao, "Mamba", arXiv 2312.00752, section 3; Zuo et al., "Falcon Mamba", arXiv
2410.05355, section 3.2.
Shapes: B sequences, L tokens, D width, I inner width, N state, R rank of the time steps, J inputs
that the convolution remembers, V vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.causal_convolution import convolve_more, convolve_token
from harness_servers.models.chunked_mixer import ChunkedMixer
from harness_servers.models.config_values import flag, positive_float, require_value
from harness_servers.models.initial_weights import initial_step_bias
from harness_servers.models.mamba_layout import MambaBackbone, MambaLayoutModel
from harness_servers.models.protocol import positive_int
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.selective_scan import selective_scan
from harness_servers.models.token_mixer import ResidualLayer, RowState

_MAX_LAYERS: Final = 1024
_FALCON: Final = "falcon_mamba"


@dataclass(frozen=True, kw_only=True, slots=True)
class MambaShape:
    """The sizes of one mixer."""

    hidden_size: int
    inner_size: int
    state_size: int
    time_step_rank: int
    conv_kernel: int
    use_bias: bool
    use_conv_bias: bool
    # Of Falcon's norms of B, C and dt; None without them.
    inner_epsilon: float | None


class MambaMixer(ChunkedMixer):
    """The selective scan between its projections, as transformers' MambaMixer computes it."""

    def __init__(self, shape: MambaShape) -> None:
        super().__init__()
        self.shape = shape
        inner, rank = shape.inner_size, shape.time_step_rank
        self.in_proj = nn.Linear(shape.hidden_size, 2 * inner, bias=shape.use_bias)
        self.conv1d = nn.Conv1d(
            inner, inner, shape.conv_kernel, groups=inner, bias=shape.use_conv_bias
        )
        self.x_proj = nn.Linear(inner, rank + 2 * shape.state_size, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(
            torch.log(torch.arange(1.0, shape.state_size + 1)).repeat(inner, 1)
        )
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, shape.hidden_size, bias=shape.use_bias)
        self._initialise()

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """The convolution's last inputs (B, J, I) and the scan's state (B, I, N)."""
        shape = self.shape
        conv = (num_rows, shape.conv_kernel - 1, shape.inner_size)
        scan = (num_rows, shape.inner_size, shape.state_size)
        return {"conv": torch.zeros(conv, device=device), "scan": torch.zeros(scan, device=device)}

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        conv = self.conv1d
        x_BLI, gate_BLI = self.in_proj(hidden_BLD).chunk(2, -1)
        x_BLI, conv_BJI = convolve_more(
            conv.weight, x_BLI, state["conv"], lengths_B, bias_X=conv.bias
        )
        x_BLI = F.silu(x_BLI)
        dt_BLI, a_IN, b_BLN, c_BLN = self._select(x_BLI)
        y_BLI, last_BIN = selective_scan(
            x_BLI, dt_BLI, a_IN, b_BLN, c_BLN, state["scan"], lengths_B
        )
        output_BLD = self._finish(y_BLI, x_BLI, gate_BLI)
        return output_BLD, {"conv": conv_BJI, "scan": last_BIN}

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        x_BI, gate_BI = self.in_proj(hidden_BD).chunk(2, -1)
        x_BI, conv_BJI = convolve_token(self.conv1d, x_BI, state["conv"])
        x_BI = F.silu(x_BI)
        dt_BI, a_IN, b_BN, c_BN = self._select(x_BI)
        gain_BIN = (dt_BI * x_BI)[..., None] * b_BN[..., None, :]
        state_BIN = torch.exp(dt_BI[..., None] * a_IN) * state["scan"] + gain_BIN
        output_BD = self._finish((state_BIN @ c_BN[..., None])[..., 0], x_BI, gate_BI)
        return output_BD, {"conv": conv_BJI, "scan": state_BIN}

    def _select(self, x_I: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of tokens (..., I): dt (..., I), A (I, N), B and C (..., N)."""
        sizes = [self.shape.time_step_rank, *[self.shape.state_size] * 2]
        dt_R, b_N, c_N = (self._inner_norm(part) for part in self.x_proj(x_I).split(sizes, -1))
        dt_I = F.softplus(self.dt_proj(dt_R))
        return dt_I, -torch.exp(self.A_log), b_N, c_N

    def _inner_norm(self, part: Tensor) -> Tensor:
        epsilon = self.shape.inner_epsilon
        return part if epsilon is None else F.rms_norm(part, part.shape[-1:], eps=epsilon)

    def _finish(self, y_I: Tensor, x_I: Tensor, gate_I: Tensor) -> Tensor:
        output_D: Tensor = self.out_proj((y_I + self.D * x_I) * F.silu(gate_I))
        return output_D

    @torch.no_grad()
    def _initialise(self) -> None:
        bound = self.shape.time_step_rank**-0.5
        self.dt_proj.weight.uniform_(-bound, bound)
        self.dt_proj.bias.copy_(initial_step_bias(self.shape.inner_size))


class MambaModel(MambaLayoutModel):
    """A stack of norm, mixer and residual between embedding and head."""

    family = "SSM"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of the shape of a Hugging Face config. Raises ConfigError."""
        require_value(config, "hidden_act", "silu")
        shape = mamba_shape(config)
        epsilon = positive_float(config, "layer_norm_epsilon", 1e-5)
        num_layers = positive_int(config, "num_hidden_layers", at_most=_MAX_LAYERS)
        layers = (
            ResidualLayer(
                {"norm": RmsNorm(shape.hidden_size, eps=epsilon), "mixer": MambaMixer(shape)}
            )
            for _ in range(num_layers)
        )
        backbone = MambaBackbone(
            layers,
            vocabulary_size=positive_int(config, "vocab_size"),
            hidden_size=shape.hidden_size,
            epsilon=epsilon,
        )
        return cls(backbone, tied=flag(config, "tie_word_embeddings", True))


def mamba_shape(config: Mapping[str, Any]) -> MambaShape:
    """Of the mixers of a config. Raises ConfigError."""
    hidden_size = positive_int(config, "hidden_size")
    inner_size = int(positive_float(config, "expand", 2) * hidden_size)
    rank = config.get("time_step_rank", "auto")
    is_falcon = config.get("model_type") == _FALCON
    return MambaShape(
        hidden_size=hidden_size,
        # transformers takes it from here where it is there.
        inner_size=positive_int(config, "intermediate_size")
        if config.get("intermediate_size") is not None
        else inner_size,
        state_size=positive_int({"state_size": 16, **config}, "state_size"),
        time_step_rank=math.ceil(hidden_size / 16)
        if rank == "auto"
        else positive_int(config, "time_step_rank"),
        conv_kernel=positive_int({"conv_kernel": 4, **config}, "conv_kernel"),
        use_bias=flag(config, "use_bias", False),
        use_conv_bias=flag(config, "use_conv_bias", True),
        inner_epsilon=positive_float(config, "mixer_rms_eps", 1e-6) if is_falcon else None,
    )
