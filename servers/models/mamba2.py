"""Mamba2, in the layout of Hugging Face's `mamba2` checkpoints.

Shapes: B sequences, L tokens, D width, V vocabulary, S slots; see mamba2_mixer.py for the rest.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.config_values import (
    flag,
    positive_float,
    require_divisor,
    require_value,
    time_step_limit,
)
from harness_servers.models.initial_weights import INITIAL_EMBEDDING_STD
from harness_servers.models.mamba2_mixer import Adaptation, Mamba2Mixer
from harness_servers.models.mamba2_shape import MixerShape
from harness_servers.models.packed_linear import PackedLinear
from harness_servers.models.packed_rows import Rows
from harness_servers.models.protocol import ConfigError, State, positive_int
from harness_servers.models.rms_norm import RmsNorm

MAX_LAYERS: Final = 1024


class _Block(nn.Module):
    def __init__(self, shape: MixerShape) -> None:
        super().__init__()
        self.norm = RmsNorm(shape.hidden_size, eps=shape.norm_epsilon)
        self.mixer = Mamba2Mixer(shape)


class _Mamba2Backbone(nn.Module):
    def __init__(self, shape: MixerShape, num_layers: int, vocabulary_size: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary_size, shape.hidden_size)
        nn.init.normal_(self.embeddings.weight, std=INITIAL_EMBEDDING_STD)
        self.layers = nn.ModuleList(_Block(shape) for _ in range(num_layers))
        self.norm_f = RmsNorm(shape.hidden_size, eps=shape.norm_epsilon)

    def blocks(self) -> Iterator[tuple[int, _Block]]:
        """The layers with their numbers."""
        return enumerate(cast(Iterable[_Block], self.layers))


class Mamba2Model(nn.Module):
    """A stack of norm, mixer and residual between embedding and head."""

    family: ClassVar[str] = "SSM"
    context_limit: int | None = None

    def __init__(
        self, shape: MixerShape, num_layers: int, vocabulary_size: int, *, tied: bool
    ) -> None:
        super().__init__()
        self.shape = shape
        self.vocabulary_size = vocabulary_size
        self.backbone = _Mamba2Backbone(shape, num_layers, vocabulary_size)
        self.lm_head = None if tied else nn.Linear(shape.hidden_size, vocabulary_size, bias=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of the shape of a Hugging Face config. Raises ConfigError."""
        return cls(
            mixer_shape(config),
            positive_int(config, "num_hidden_layers", at_most=MAX_LAYERS),
            positive_int(config, "vocab_size"),
            tied=flag(config, "tie_word_embeddings", False),
        )

    def forward(self, tokens_BL: Tensor, is_wanted_BL: Tensor) -> Tensor:
        """Logits (T, V) at the T wanted positions, row by row, from an empty state: training."""
        hidden_BLD = self.train_layers(self.backbone.embeddings(tokens_BL))
        return F.linear(self.backbone.norm_f(hidden_BLD[is_wanted_BL]), self.head_weight)

    def train_layers(
        self, hidden_BLD: Tensor, adaptations: Sequence[Adaptation] | None = None
    ) -> Tensor:
        """All layers over whole rows from an empty state; adaptations are by layer."""
        for layer, block in self.backbone.blocks():
            adaptation = None if adaptations is None else adaptations[layer]
            hidden_BLD = hidden_BLD + block.mixer(block.norm(hidden_BLD), adaptation)
        return hidden_BLD

    def init_state(self, num_slots: int) -> State:
        """By layer: the convolution's last inputs (S, J, X) and the scan's state (S, H, P, N)."""
        device = self.backbone.embeddings.weight.device
        state = {}
        for layer in range(len(self.backbone.layers)):
            conv, scan = self.shape.init_state(num_slots, device)
            state[f"conv.{layer}"], state[f"scan.{layer}"] = conv, scan
        return state

    @torch.inference_mode()
    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """Reads rows of up to L tokens; see SequenceModel.prefill."""
        rows = Rows(slots_B=slots_B, lengths_B=lengths_B)
        return self._read(tokens_BL, state, rows, to_last=True)

    @torch.inference_mode()
    def read_all(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """See SequenceModel.read_all."""
        rows = Rows(slots_B=slots_B, lengths_B=lengths_B)
        return self._read(tokens_BL, state, rows, to_last=False)

    def _read(self, tokens_BL: Tensor, state: State, rows: Rows, *, to_last: bool) -> Tensor:
        embedded_TD = self.backbone.embeddings(rows.pack(tokens_BL))
        return self.say(self.read_layers(embedded_TD, state, rows, to_last=to_last))

    def read_layers(
        self,
        hidden: Tensor,
        state: State,
        rows: Rows,
        *,
        to_last: bool,
        adaptations: Sequence[Adaptation] | None = None,
    ) -> Tensor:
        """Reads packed tokens into all layers' states; see Mamba2Mixer.read."""
        top = len(self.backbone.layers) - 1
        for layer, block in self.backbone.blocks():
            states = state[f"conv.{layer}"], state[f"scan.{layer}"]
            # Nothing is above the top layer: of what it says the last may be all that is wanted.
            ends = to_last and layer == top
            mixed = block.mixer.read(
                block.norm(hidden),
                *states,
                rows,
                to_last=ends,
                adaptation=None if adaptations is None else adaptations[layer],
            )
            hidden = (rows.last(hidden) if ends else hidden) + mixed
        return hidden

    def say(self, hidden_TD: Tensor) -> Tensor:
        """Logits (T, V) of what the layers gave; without gradients."""
        return self._head(self.backbone.norm_f(hidden_TD))

    @torch.inference_mode()
    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        """Reads one token a row; see SequenceModel.decode."""
        return self.prefill(tokens_B[:, None], torch.ones_like(slots_B), state, slots_B)

    def state_bytes(self) -> int:
        """Bytes of all layers' states of one sequence."""
        return sum(tensor.nbytes for tensor in self.init_state(1).values())

    def state_bytes_per_token(self) -> int:
        """Nothing grows."""
        return 0

    @property
    def head_weight(self) -> Tensor:
        """(V, D)."""
        head = self.backbone.embeddings if self.lm_head is None else self.lm_head
        return head.weight

    @cached_property
    def _head(self) -> PackedLinear:
        """Made at the first read, as a mixer's constants are."""
        return PackedLinear(self.head_weight)


def mixer_shape(config: Mapping[str, Any]) -> MixerShape:
    """Of a Hugging Face config. Raises ConfigError."""
    hidden_size = positive_int(config, "hidden_size")
    inner_size = int(positive_float(config, "expand", 2) * hidden_size)
    num_heads = positive_int(config, "num_heads")
    if num_heads * positive_int(config, "head_dim") != inner_size:
        raise ConfigError(
            f"config.json: num_heads {num_heads} x head_dim {config['head_dim']} is not "
            f"expand x hidden_size = {inner_size}"
        )
    num_groups = positive_int(config, "n_groups")
    require_divisor(config, "n_groups", "num_heads", num_heads)
    require_value(config, "hidden_act", "silu")
    # transformers reads neither this key nor norm_before_gate: its norm is always there, and always
    # after the gate, whatever the latter says (its own conversions of published models say true).
    if not flag(config, "rms_norm", True):
        raise ConfigError("config.json: rms_norm is False; mamba2 without its norms is not known")
    return MixerShape(
        hidden_size=hidden_size,
        inner_size=inner_size,
        num_heads=num_heads,
        state_size=positive_int(config, "state_size"),
        num_groups=num_groups,
        conv_kernel=positive_int(config, "conv_kernel"),
        chunk_size=positive_int(config, "chunk_size"),
        norm_epsilon=positive_float(config, "layer_norm_epsilon", 1e-5),
        use_bias=flag(config, "use_bias", False),
        use_conv_bias=flag(config, "use_conv_bias", True),
        time_step_limit=time_step_limit(config),
        norm_by_group=flag(config, "norm_by_group", False),
    )
