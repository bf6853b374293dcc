"""Any causal language model of transformers as a SequenceModel: one forward pass a row.

Slow and correct first: the cache is transformers' own, of one sequence, and no two rows share a
forward pass. Shapes: B sequences, L tokens, V vocabulary, S slots.
"""

import inspect
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from harness_servers.models.protocol import ConfigError, State
from harness_servers.models.reading_proof import reads_in_pieces

_log = logging.getLogger(__name__)

# What a forward pass takes and gives back as its memory, by the name that the model has for it.
_CACHE_NAMES: Final = ("past_key_values", "cache_params", "state")
_NO_SEQUENCE: Final = 0
# By what a sequence's memory does as it reads: whether all of it stays, whether any of it grows.
_FAMILIES: Final = {
    (True, False): "SSM",
    (False, True): "TRANSFORMER",
    (True, True): "HYBRID",
}
# Of those whose memory does not grow: they look back through a state that is no state space.
_RECURRENT: Final = ("rwkv", "xlstm")
# Model types whose modules keep a sequence's state themselves, under these names.
_KEPT_IN_MODULES: Final = {"recurrent_gemma": ("conv1d_state", "recurrent_states")}
_Place = tuple[nn.Module, str]


@dataclass(kw_only=True, slots=True)
class _Memory:
    """What one sequence carries: a cache of transformers, and how many tokens are in it.

    `kept`: what the model's modules would keep themselves, by its place there.
    """

    cache: Any = None
    num_read: int = 0
    kept: dict[_Place, Any] = field(default_factory=dict)


class TransformersModel:
    """The pool's state holds only a number for each sequence; its cache is kept here under it.

    A copy of that state would share the cache with the original: prefix snapshots have to be off.
    """

    def __init__(self, model: Any, new_cache: Callable[[], Any]) -> None:
        """`new_cache` makes an empty cache, for models that would not give back their own.

        Raises ConfigError for one that cannot be continued.
        """
        config = model.config.get_text_config()
        parameters = inspect.signature(model.forward).parameters
        self._model = model
        self._new_cache = new_cache
        names = [name for name in _CACHE_NAMES if name in parameters]
        if not names:
            raise ConfigError(f"config.json: {config.model_type} keeps no cache to write on from")
        self._cache_name = names[0]
        self._only_last = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        self._takes_positions = "position_ids" in parameters
        self._kept = _find_kept(model, _KEPT_IN_MODULES.get(config.model_type, ()))
        self._by_one_after: float = math.inf
        self._memories: dict[int, _Memory] = {}
        self._last_number = _NO_SEQUENCE
        self._state_bytes, self._state_bytes_per_token = self._measure_state()
        self.family = self._name_family(config.model_type)
        self.vocabulary_size: int = config.vocab_size
        self.context_limit: int | None = None
        if self._state_bytes_per_token:
            self.context_limit = getattr(config, "max_position_embeddings", None)
        self._prove_reading(config.model_type)

    def init_state(self, num_slots: int) -> State:
        """The number of each slot's sequence (S,): none yet."""
        return {"sequence": torch.full((num_slots,), _NO_SEQUENCE, dtype=torch.long)}

    @torch.inference_mode()
    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """Reads row by row; see SequenceModel.prefill."""
        rows = zip(tokens_BL, lengths_B.tolist(), slots_B.tolist(), strict=True)
        return torch.cat(
            [
                self._read(tokens_L[:length], state["sequence"], slot)[-1:]
                for tokens_L, length, slot in rows
            ]
        )

    @torch.inference_mode()
    def read_all(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """See SequenceModel.read_all."""
        rows = zip(tokens_BL, lengths_B.tolist(), slots_B.tolist(), strict=True)
        return torch.cat(
            [
                self._read(tokens_L[:length], state["sequence"], slot, wants_all=True)
                for tokens_L, length, slot in rows
            ]
        )

    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        """The same with one token a row."""
        return self.prefill(tokens_B[:, None], torch.ones_like(slots_B), state, slots_B)

    def state_bytes(self) -> int:
        """Bytes of a cache, however long the sequence is; measured."""
        return self._state_bytes

    def state_bytes_per_token(self) -> int:
        """What a cache grows by with every token; measured."""
        return self._state_bytes_per_token

    def _read(
        self, tokens_L: Tensor, sequence_S: Tensor, slot: int, *, wants_all: bool = False
    ) -> Tensor:
        number = int(sequence_S[slot])
        if number == _NO_SEQUENCE:
            number = self._last_number = self._last_number + 1
            sequence_S[slot] = number
            for gone in self._memories.keys() - set(sequence_S.tolist()):
                del self._memories[gone]
        memory = self._memories.setdefault(number, _Memory())
        return self._forward(tokens_L, memory, wants_all=wants_all)

    def _forward(self, tokens_L: Tensor, memory: _Memory, *, wants_all: bool = False) -> Tensor:
        """Logits (V) after the last tokens: at least one of them, or all; they are then read."""
        by_one = memory.num_read >= self._by_one_after
        logits: list[Tensor] = []
        for piece_L in [*tokens_L[:, None]] if by_one else [tokens_L]:
            options: dict[str, Any] = {} if wants_all else {**self._only_last}
            if self._takes_positions:
                # A hybrid's cache miscounts them where its first layer has no attention.
                positions_L = memory.num_read + torch.arange(len(piece_L))
                options["position_ids"] = positions_L[None]
            output = self._run(piece_L[None], memory, options)
            memory.num_read += len(piece_L)
            logits = [*logits, output.logits[0]] if wants_all else [output.logits[0]]
        return torch.cat(logits)

    def _run(self, tokens_1L: Tensor, memory: _Memory, options: dict[str, Any]) -> Any:
        if self._kept and memory.cache is None:
            # Such a model would begin one that it never gives back.
            memory.cache = self._new_cache()
        for place in self._kept:
            setattr(*place, memory.kept.get(place))
        output = self._model(
            input_ids=tokens_1L, use_cache=True, **{self._cache_name: memory.cache}, **options
        )
        for place in self._kept:
            memory.kept[place] = getattr(*place)
        memory.cache = memory.cache if self._kept else output[self._cache_name]
        return output

    def _prove_reading(self, model_type: str) -> None:
        """Some continue a cache rightly by one token at a time only, and say nothing of it."""
        if reads_in_pieces(self):
            return
        self._by_one_after = 1
        if reads_in_pieces(self):
            which = "after the first"
        else:
            self._by_one_after = 0
            which = "from the first"
        _log.warning(
            "%s does not read a text in pieces as it reads it at once: %s piece on it is read "
            "token by token (slower)",
            model_type,
            which,
        )

    def _name_family(self, model_type: str) -> str:
        """Raises ConfigError where nothing is remembered."""
        does = self._state_bytes > 0, self._state_bytes_per_token > 0
        if does not in _FAMILIES:
            raise ConfigError(f"config.json: {model_type} remembers nothing of what it reads")
        return "RNN" if model_type in _RECURRENT else _FAMILIES[does]

    @torch.inference_mode()
    def _measure_state(self) -> tuple[int, int]:
        token_L = torch.zeros(1, dtype=torch.long)
        memory = _Memory()
        self._forward(token_L, memory)
        after_one = _num_bytes(memory)
        self._forward(token_L, memory)
        per_token = _num_bytes(memory) - after_one
        return after_one - per_token, per_token


def _find_kept(model: nn.Module, names: tuple[str, ...]) -> list[_Place]:
    return [(module, name) for module in model.modules() for name in names if hasattr(module, name)]


def _num_bytes(memory: _Memory) -> int:
    """Bytes of all numbers that can be reached from a memory; counters do not count."""
    found = {id(tensor): tensor for tensor in _tensors([memory.cache, *memory.kept.values()])}
    return sum(tensor.nbytes for tensor in found.values() if tensor.is_floating_point())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors([*value.values()])
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif hasattr(value, "__dict__"):
        yield from _tensors(vars(value))
