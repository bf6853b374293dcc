"""Llamba: discrete Mamba2 between a Llama's parts, in the layout of the authors' checkpoints.

    state[t] = exp(-softplus(a[t])) state[t-1] + x[t] B[t]^T      y[t] = state[t] C[t] + D x[t]

What decays is told apart from what is added: there is no time step. Nothing is activated behind the
convolution, and the gate is not normed. Source: Bick et al., "Llamba", arXiv 2502.14458, section 2.
Shapes: B sequences, L tokens, D width, I = H heads x P inner width, G groups of heads that share B
and C, N state, X = I + 2 G N convolved channels, J inputs that the convolution remembers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models import ssd
from harness_servers.models.causal_convolution import convolve_rows, convolve_token
from harness_servers.models.config_values import flag, positive_float, require_value
from harness_servers.models.feed_forward import GatedFeedForward
from harness_servers.models.initial_weights import INITIAL_EMBEDDING_STD
from harness_servers.models.mixer_gradients import trained_scan
from harness_servers.models.protocol import ConfigError, positive_int
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.stacked_model import StackedModel
from harness_servers.models.token_mixer import ResidualLayer, RowState, TokenMixer

_MAX_LAYERS: Final = 1024
# Their layers' norms have this one, whatever the config says; norm_epsilon is the last norm's.
_LAYER_EPSILON: Final = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class LlambaShape:
    """The sizes of one mixer."""

    hidden_size: int
    inner_size: int
    num_heads: int
    num_groups: int
    state_size: int
    conv_kernel: int
    chunk_size: int
    use_bias: bool
    use_conv_bias: bool


class DiscreteMamba2(TokenMixer):
    """The mixer; its parameters are named as the authors name them."""

    def __init__(self, shape: LlambaShape) -> None:
        super().__init__()
        self.shape = shape
        inner, conv = shape.inner_size, shape.inner_size + 2 * shape.num_groups * shape.state_size
        self.in_proj = nn.Linear(
            shape.hidden_size, conv + inner + shape.num_heads, bias=shape.use_bias
        )
        self.z_bias = None if shape.use_bias else nn.Parameter(torch.zeros(inner))
        self.conv1d = nn.Conv1d(
            conv, conv, shape.conv_kernel, groups=conv, bias=shape.use_conv_bias
        )
        self.D = nn.Parameter(torch.ones(shape.num_heads))
        self.out_proj = nn.Linear(inner, shape.hidden_size, bias=shape.use_bias)

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """The convolution's last inputs (B, J, X) and the scan's state (B, H, P, N)."""
        shape = self.shape
        conv = (num_rows, shape.conv_kernel - 1, self.conv1d.in_channels)
        scan = (num_rows, shape.num_heads, shape.inner_size // shape.num_heads, shape.state_size)
        return {"conv": torch.zeros(conv, device=device), "scan": torch.zeros(scan, device=device)}

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        mixed_BLX, gate_BLI, decay_BLH = self._project(hidden_BLD)
        mixed_BLX = convolve_rows(self.conv1d, mixed_BLX)
        x_BLHP, b_BLGN, c_BLGN = self._split(mixed_BLX)
        given = ssd.ScanInput(
            # A time step multiplies what is added too; here it must not.
            x_BLHP=x_BLHP / decay_BLH[..., None],
            dt_BLH=decay_BLH,
            a_H=torch.full_like(self.D, -1.0),
            b_BLGN=b_BLGN,
            c_BLGN=c_BLGN,
        )
        y_BLHP = self._scan(given) + self.D[:, None] * x_BLHP
        return self._finish(y_BLHP, gate_BLI)

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        mixed_BX, gate_BI, decay_BH = self._project(hidden_BD)
        mixed_BX, conv_BJX = convolve_token(self.conv1d, mixed_BX, state["conv"])
        x_BHP, b_BGN, c_BGN = self._split(mixed_BX)
        num_shared = self.shape.num_heads // self.shape.num_groups
        b_BHN, c_BHN = (part.repeat_interleave(num_shared, 1) for part in (b_BGN, c_BGN))
        kept_BHPN = torch.exp(-decay_BH)[..., None, None] * state["scan"]
        scan_BHPN = kept_BHPN + x_BHP[..., None] * b_BHN[:, :, None]
        y_BHP = (scan_BHPN @ c_BHN[..., None])[..., 0] + self.D[:, None] * x_BHP
        return self._finish(y_BHP, gate_BI), {"conv": conv_BJX, "scan": scan_BHPN}

    def _project(self, hidden_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes = [self.conv1d.in_channels, self.shape.inner_size, self.shape.num_heads]
        mixed_X, gate_I, decay_H = torch.split(self.in_proj(hidden_D), sizes, -1)
        return mixed_X, gate_I, F.softplus(decay_H)

    def _split(self, mixed_X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shape = self.shape
        sizes = [shape.inner_size, *[shape.num_groups * shape.state_size] * 2]
        x_I, b_GN, c_GN = torch.split(mixed_X, sizes, -1)
        by_group = (shape.num_groups, shape.state_size)
        return (
            torch.unflatten(x_I, -1, (shape.num_heads, -1)),
            torch.unflatten(b_GN, -1, by_group),
            torch.unflatten(c_GN, -1, by_group),
        )

    def _scan(self, given: ssd.ScanInput) -> Tensor:
        shape = self.shape
        if given.x_BLHP.device.type == "cpu":
            parts = (given.x_BLHP, given.b_BLGN, given.c_BLGN)
            mixed_BLX = torch.cat([part.flatten(2) for part in parts], -1)
            y_BLI = trained_scan(
                mixed_BLX,
                given.dt_BLH,
                given.a_H,
                torch.zeros_like(self.D),
                num_inner=shape.inner_size,
                num_groups=shape.num_groups,
            )
            return torch.unflatten(y_BLI, -1, (shape.num_heads, -1))
        empty_BHPN = self.init_state(len(given.x_BLHP), given.x_BLHP.device)["scan"]
        return ssd.scan_chunked(given, empty_BHPN, shape.chunk_size)[0]

    def _finish(self, y_HP: Tensor, gate_I: Tensor) -> Tensor:
        gate_I = gate_I if self.z_bias is None else gate_I + self.z_bias
        output_D: Tensor = self.out_proj(y_HP.flatten(-2) * F.silu(gate_I))
        return output_D


class _LlambaBackbone(nn.Module):
    def __init__(self, config: Mapping[str, Any], shape: LlambaShape) -> None:
        super().__init__()
        size, epsilon = shape.hidden_size, positive_float(config, "norm_epsilon", 1e-5)
        self.embedding = nn.Embedding(positive_int(config, "vocab_size"), size)
        nn.init.normal_(self.embedding.weight, std=INITIAL_EMBEDDING_STD)
        inner_size = positive_int(config["mlp_cfg"], "intermediate_size")
        use_bias = flag(config["mlp_cfg"], "bias", False)
        self.layers = nn.ModuleList(
            ResidualLayer(
                {
                    "input_layernorm": RmsNorm(size, eps=_LAYER_EPSILON),
                    "mixer": DiscreteMamba2(shape),
                    "post_attention_layernorm": RmsNorm(size, eps=_LAYER_EPSILON),
                    "mlp": GatedFeedForward(size, inner_size, use_bias=use_bias),
                }
            )
            for _ in range(positive_int(config, "n_layer", at_most=_MAX_LAYERS))
        )
        self.final_layernorm = RmsNorm(size, eps=epsilon)


class LlambaModel(StackedModel):
    """Embedding, layers and head of a Llama, with a state that does not grow."""

    family = "SSM"

    def __init__(self, backbone: _LlambaBackbone, *, tied: bool, use_head_bias: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.vocabulary_size, size = backbone.embedding.weight.shape
        self.lm_head = None if tied else nn.Linear(size, self.vocabulary_size, bias=use_head_bias)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of the shape of an authors' config. Raises ConfigError."""
        for key in ("ssm_cfg", "mlp_cfg"):
            if not isinstance(config.get(key), Mapping):
                raise ConfigError(f"config.json: {key} is {config.get(key)!r}, not a table")
        require_value(config["mlp_cfg"], "act_fn", "silu")
        require_value(config["ssm_cfg"], "activation", "identity")
        return cls(
            _LlambaBackbone(
                config, _mixer_shape(positive_int(config, "d_model"), config["ssm_cfg"])
            ),
            tied=flag(config, "tie_embeddings", False),
            use_head_bias=flag(config, "lm_head_bias", False),
        )

    @property
    def embedding(self) -> nn.Embedding:
        """See StackedModel."""
        return self.backbone.embedding

    @property
    def layers(self) -> Sequence[TokenMixer]:
        """See StackedModel."""
        return cast(Sequence[TokenMixer], self.backbone.layers)

    @property
    def last_norm(self) -> nn.Module:
        """See StackedModel."""
        return self.backbone.final_layernorm

    @property
    def head_weight(self) -> Tensor:
        """See StackedModel."""
        return (self.backbone.embedding if self.lm_head is None else self.lm_head).weight

    def finish(self, hidden_D: Tensor) -> Tensor:
        """See StackedModel.finish; the head may have a bias."""
        return F.linear(self.last_norm(hidden_D), self.head_weight, self.head_bias)

    @property
    def head_bias(self) -> Tensor | None:
        """(V,), where the head has one."""
        return None if self.lm_head is None else self.lm_head.bias


def _mixer_shape(hidden_size: int, config: Mapping[str, Any]) -> LlambaShape:
    inner_size = positive_int({"expand": 1, **config}, "expand") * hidden_size
    num_heads = positive_int({"n_v_heads": 32, **config}, "n_v_heads")
    num_groups = positive_int({"n_qk_heads": 32, **config}, "n_qk_heads")
    for key, divisor, what, whole in (
        ("n_v_heads", num_heads, "expand x d_model", inner_size),
        ("n_qk_heads", num_groups, "n_v_heads", num_heads),
    ):
        if whole % divisor:
            raise ConfigError(f"config.json: {key} {divisor} does not divide {what} {whole}")
    return LlambaShape(
        hidden_size=hidden_size,
        inner_size=inner_size,
        num_heads=num_heads,
        num_groups=num_groups,
        state_size=positive_int({"d_state": 64, **config}, "d_state"),
        conv_kernel=positive_int({"d_conv": 4, **config}, "d_conv"),
        chunk_size=positive_int({"chunk_size": 128, **config}, "chunk_size"),
        use_bias=flag(config, "bias", False),
        use_conv_bias=flag(config, "conv_bias", True),
    )
