"""xLSTM, in the layout of Hugging Face's `xlstm`: layers of mLSTM, or of sLSTM where slstm_at says.

Each is followed by a gated feed-forward part; logits are capped softly. Source: Beck et al., "xLSTM
7B", arXiv 2503.13427, section 3; the layers' own sources stand in mlstm.py and slstm.py.
Shapes: D width, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.mlstm import MlstmLayer
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.slstm import SlstmLayer
from harness_servers.models.stacked_model import StackedModel
from harness_servers.models.token_mixer import ResidualLayer, TokenMixer
from harness_servers.models.xlstm_config import XlstmConfig, parse_xlstm


class _BiasedNorm(RmsNorm):
    def __init__(self, width: int, *, eps: float) -> None:
        super().__init__(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.bias


class _XlstmFeedForward(nn.Module):
    def __init__(self, config: XlstmConfig) -> None:
        super().__init__()
        width, inner, bias = config.hidden_size, config.inner_size, config.use_bias
        self.proj_up_gate = nn.Linear(width, inner, bias=bias)
        self.proj_up = nn.Linear(width, inner, bias=bias)
        self.proj_down = nn.Linear(inner, width, bias=bias)

    def forward(self, hidden_D: Tensor) -> Tensor:
        inner = F.silu(self.proj_up_gate(hidden_D)) * self.proj_up(hidden_D)
        output_D: Tensor = self.proj_down(inner)
        return output_D


class _XlstmBackbone(nn.Module):
    def __init__(self, config: XlstmConfig) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(config.vocabulary_size, config.hidden_size)
        self.blocks = nn.ModuleList(_block(config, index) for index in range(config.num_layers))
        self.out_norm = RmsNorm(config.hidden_size, eps=config.norm_epsilon)


class XlstmModel(StackedModel):
    """A stack of mLSTM and sLSTM layers between embedding and head."""

    family = "RNN"

    def __init__(self, config: XlstmConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = config.vocabulary_size
        self.backbone = _XlstmBackbone(config)
        width = config.hidden_size
        self.lm_head = (
            None if config.is_tied else nn.Linear(width, self.vocabulary_size, bias=False)
        )
        self._initialise()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of the shape of a Hugging Face config. Raises ConfigError."""
        return cls(parse_xlstm(config))

    @property
    def embedding(self) -> nn.Embedding:
        """See StackedModel."""
        return self.backbone.embeddings

    @property
    def layers(self) -> Sequence[TokenMixer]:
        """See StackedModel."""
        return cast(Sequence[TokenMixer], self.backbone.blocks)

    @property
    def last_norm(self) -> nn.Module:
        """See StackedModel."""
        return self.backbone.out_norm

    @property
    def head_weight(self) -> Tensor:
        """See StackedModel."""
        return (self.backbone.embeddings if self.lm_head is None else self.lm_head).weight

    def finish(self, hidden_D: Tensor) -> Tensor:
        """See StackedModel.finish."""
        cap = self.config.logit_cap
        return cap * torch.tanh(super().finish(hidden_D) / cap)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Gates that know nothing of the tokens yet: open to all that comes, and forgetting slowly,
        each head or channel at a pace of its own.
        """
        config = self.config
        small = (2 / (5 * config.hidden_size)) ** 0.5
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=small)
                if module.bias is not None:
                    module.bias.zero_()
            if name.endswith(("igate_preact", "fgate_preact")):
                module.get_parameter("weight").zero_()
            if name.endswith("fgate_preact"):
                bias = module.get_parameter("bias")
                bias.copy_(torch.linspace(3.0, 6.0, len(bias)))
            if name.endswith(("out_proj", "proj_down")):
                weight = module.get_parameter("weight")
                weight.normal_(std=2 / config.num_layers / weight.shape[1] ** 0.5)
        self.embedding.weight.normal_(std=small)


def _block(config: XlstmConfig, index: int) -> ResidualLayer:
    norm = _BiasedNorm if config.use_bias else RmsNorm
    width, epsilon = config.hidden_size, config.norm_epsilon
    kind, mixer = (
        ("slstm", SlstmLayer(config))
        if index in config.slstm_layers
        else ("mlstm", MlstmLayer(config))
    )
    return ResidualLayer(
        {
            f"norm_{kind}": norm(width, eps=epsilon),
            f"{kind}_layer": mixer,
            "norm_ffn": norm(width, eps=epsilon),
            "ffn": _XlstmFeedForward(config),
        }
    )
