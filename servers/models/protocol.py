"""What the engine needs of a model: state that it owns by slot, prefill and decode."""

from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor

# A model's state: tensors by name, the slot as first dimension (S). All keep their size, except
# caches: a tensor whose name begins with "cache." is (S, T, ...), with a row for every token that
# its sequence has read. A state with caches counts these in "num_read" (S); the rows behind are
# zero. When a sequence outgrows T, the model puts longer tensors in their place (caches.py).
State = dict[str, Tensor]


class ModelShape(Protocol):
    """What is known of a causal language model whoever runs it."""

    @property
    def family(self) -> str:
        """The family's name in the API: RNN, SSM, TRANSFORMER, HYBRID."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below this."""
        ...

    @property
    def context_limit(self) -> int | None:
        """Tokens that a sequence may have in all; None: as many as it likes."""
        ...

    def state_bytes(self) -> int:
        """Bytes of state that one sequence takes, whatever its length."""
        ...

    def state_bytes_per_token(self) -> int:
        """Bytes that every token read adds to that: one row of every cache."""
        ...


class SequenceModel(ModelShape, Protocol):
    """A causal language model whose sequences live in the slots of a pool.

    B sequences, L tokens, V vocabulary. All methods run without gradients, on the model's device.
    """

    def init_state(self, num_slots: int) -> State:
        """The state of `num_slots` sequences that have not read anything."""
        ...

    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """Reads the first `lengths_B[b]` (at least 1) tokens of each row into its slot's state.

        Writes the slots in place, leaves all others as they are, and returns the logits (B, V)
        after each row's last token. What stands behind a row's length changes nothing.
        """
        ...

    def read_all(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """The same as prefill, with the logits (T, V) after every token: those of a row's tokens,
        then those of the next row's.
        """
        ...

    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        """Reads one token each; the same as prefill with length 1, and faster. Logits (B, V)."""
        ...


@runtime_checkable
class PromptModel(Protocol):
    """What a SequenceModel may have besides: it does something where a prompt ends.

    Until then it reads a prompt in any pieces, and a slot that was begun is that of a prompt; what
    is read afterwards, whoever wrote it, is none.
    """

    def end_prompts(self, state: State, slots_B: Tensor) -> Tensor:
        """Ends prompts of at least a token that these slots have read, each of them once.

        Writes the slots in place, leaves all others as they are. Returns the logits (B, V) after
        each prompt, in place of those that reading its last token gave. Without gradients.
        """
        ...


class CheckpointModel(SequenceModel, Protocol):
    """A SequenceModel that a checkpoint can hold: a torch module made from a config.json."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of this shape with weights yet to be loaded.

        Raises ConfigError, naming the value.
        """
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """The weights by the names that model.safetensors has."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Tensor], /) -> object:
        """Takes over the weights; all names and shapes have to fit."""
        ...

    def eval(self) -> object:
        """Leaves training mode."""
        ...


class ConfigError(ValueError):
    """A value of config.json that a model cannot be made from."""


def positive_int(config: Mapping[str, Any], key: str, *, at_most: int = 2**24) -> int:
    """The whole number from 1 to `at_most` under `key`. Raises ConfigError."""
    if key not in config:
        raise ConfigError(f"config.json has no {key!r}")
    value = config[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= at_most:
        raise ConfigError(
            f"config.json: {key} is {value!r}; a whole number from 1 to {at_most} was expected"
        )
    return value
