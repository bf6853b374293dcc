"""Any causal language model of transformers as a SequenceModel: one forward pass a row.

Slow and correct first: the cache is transformers' own, of one sequence, and no two rows share a
forward pass. Shapes: B sequences, L tokens, V vocabulary, S slots.
"""

import inspect
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from harness_servers.models.protocol import ConfigError, State

# What a forward pass takes and gives back as its memory, by the name that the model has for it.
_CACHE_NAMES: Final = ("past_key_values", "cache_params", "state")
_NO_SEQUENCE: Final = 0
# Of those whose memory transformers calls stateful; the others of these are hybrids.
_FAMILIES: Final = {
    "mamba": "SSM",
    "mamba2": "SSM",
    "falcon_mamba": "SSM",
    "rwkv": "RNN",
    "xlstm": "RNN",
}


@dataclass(kw_only=True, slots=True)
class _Memory:
    """What one sequence carries: a cache of transformers, and how many tokens are in it."""

    cache: Any = None
    num_read: int = 0


class TransformersModel:
    """The pool's state holds only a number for each sequence; its cache is kept here under it.

    A copy of that state would share the cache with the original: prefix snapshots have to be off.
    """

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        parameters = inspect.signature(model.forward).parameters
        self._model = model
        self._is_stateful = bool(model._is_stateful)
        names = [name for name in _CACHE_NAMES if name in parameters]
        if not names:
            raise ConfigError(f"config.json: {config.model_type} keeps no cache to write on from")
        self._cache_name = names[0]
        self._only_last = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        self._takes_positions = "position_ids" in parameters
        self._memories: dict[int, _Memory] = {}
        self._last_number = _NO_SEQUENCE
        default = "HYBRID" if self._is_stateful else "TRANSFORMER"
        self.family: str = _FAMILIES.get(config.model_type, default)
        self.vocabulary_size: int = config.vocab_size
        self.context_limit: int | None = None
        if self.family in ("TRANSFORMER", "HYBRID"):
            self.context_limit = getattr(config, "max_position_embeddings", None)
        self._state_bytes, self._state_bytes_per_token = self._measure_state()

    def init_state(self, num_slots: int) -> State:
        """The number of each slot's sequence (S,): none yet."""
        return {"sequence": torch.full((num_slots,), _NO_SEQUENCE, dtype=torch.long)}

    @torch.inference_mode()
    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """Reads row by row; see SequenceModel.prefill."""
        rows = zip(tokens_BL, lengths_B.tolist(), slots_B.tolist(), strict=True)
        return torch.stack(
            [
                self._read(tokens_L[:length], state["sequence"], slot)
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

    def _read(self, tokens_L: Tensor, sequence_S: Tensor, slot: int) -> Tensor:
        number = int(sequence_S[slot])
        if number == _NO_SEQUENCE:
            number = self._last_number = self._last_number + 1
            sequence_S[slot] = number
            for gone in self._memories.keys() - set(sequence_S.tolist()):
                del self._memories[gone]
        memory = self._memories.setdefault(number, _Memory())
        return self._forward(tokens_L, memory)

    def _forward(self, tokens_L: Tensor, memory: _Memory) -> Tensor:
        """Logits (V) after the last token; the memory then has all of them."""
        # transformers continues a recurrent state by one token at a time only.
        by_one = memory.num_read > 0 and self._is_stateful
        for piece_L in [*tokens_L[:, None]] if by_one else [tokens_L]:
            options: dict[str, Any] = {**self._only_last}
            if self._takes_positions:
                # A hybrid's cache miscounts them where its first layer has no attention.
                positions_L = memory.num_read + torch.arange(len(piece_L))
                options["position_ids"] = positions_L[None]
            output = self._model(
                input_ids=piece_L[None],
                use_cache=True,
                **{self._cache_name: memory.cache},
                **options,
            )
            memory.cache = output[self._cache_name]
            memory.num_read += len(piece_L)
        logits_V: Tensor = output.logits[0, -1]
        return logits_V

    @torch.inference_mode()
    def _measure_state(self) -> tuple[int, int]:
        token_L = torch.zeros(1, dtype=torch.long)
        memory = _Memory()
        self._forward(token_L, memory)
        after_one = _num_bytes(memory.cache)
        self._forward(token_L, memory)
        per_token = _num_bytes(memory.cache) - after_one
        return after_one - per_token, per_token


def _num_bytes(value: Any) -> int:
    """Bytes of all tensors that can be reached from a cache."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_num_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_num_bytes, value))
    return _num_bytes(vars(value)) if hasattr(value, "__dict__") else 0
