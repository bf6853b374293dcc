"""Any causal language model of transformers as a SequenceModel; its caches are transformers' own.

Sequences decode together where caches can be batched, which is proven at the start, and prompts of
one length are read together; else it goes row by row.
Shapes: B sequences, R of them in one forward pass, L tokens, V vocabulary, S slots.
"""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from harness_servers.models.forward_pass import ForwardPass
from harness_servers.models.memory import Memory
from harness_servers.models.outline import name_family
from harness_servers.models.protocol import State
from harness_servers.models.reading_proof import are_equal, logits_of_changing_rows, reads_in_pieces
from harness_servers.models.rope_types import is_dynamic, switches_from
from harness_servers.models.row_batch import Batches, RowBatch

_log = logging.getLogger(__name__)

_NO_SEQUENCE: Final = 0
# Of prompts that are read together: what a forward pass makes of them has to fit into memory.
_MAX_PROMPT_TOKENS: Final = 4096
# Rows of a batch are as wide as the longest: who has up to so many tokens is with such alone, then
# who has up to twice as many, and so on.
_SHORT: Final = 511
_MAX_SHOWN: Final = 200


class TransformersModel:
    """The pool's state holds only a number for each sequence; its cache is kept here under it.

    A copy of that state would share the cache with the original: prefix snapshots have to be off.
    """

    def __init__(self, model: Any, new_cache: Callable[[], Any]) -> None:
        """`new_cache` makes an empty cache, for models that would not give back their own.

        Raises ConfigError for one that cannot be continued.
        """
        config = model.config.get_text_config()
        self._forward = ForwardPass(model, new_cache)
        self._by_one_after: float = math.inf
        self._memories: dict[int, Memory] = {}
        self._last_number = _NO_SEQUENCE
        self._switches_from = switches_from(config)
        self._batches = Batches(self._length_class)
        # Whether sequences decode together.
        self.is_batched = False
        self._state_bytes, self._state_bytes_per_token = self._measure_state()
        self.family = name_family(
            config.model_type,
            stays=self._state_bytes > 0,
            grows=self._state_bytes_per_token > 0,
        )
        self.vocabulary_size: int = config.vocab_size
        self.context_limit: int | None = None
        if self._state_bytes_per_token:
            self.context_limit = getattr(config, "max_position_embeddings", None)
        self._prove_reading(config.model_type)
        self._prove_batches(config)

    @property
    def device(self) -> str:
        """Where its weights are: "cpu", "cuda:0"."""
        return str(self._forward.device)

    def init_state(self, num_slots: int) -> State:
        """The number of each slot's sequence (S,): none yet."""
        return {"sequence": torch.full((num_slots,), _NO_SEQUENCE, dtype=torch.long)}

    @torch.inference_mode()
    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """See SequenceModel.prefill. On the CPU, as all logits."""
        memories = self._find(state, slots_B)
        lengths: list[int] = lengths_B.tolist()
        logits: dict[int, Tensor] = {}
        for rows in self._of_one_length(memories, lengths):
            tokens_RL = tokens_BL[rows, : lengths[rows[0]]]
            read = memories[rows[0]] if len(rows) == 1 else Memory()
            logits_RV = self._read(tokens_RL, read)[:, -1]
            if len(rows) > 1:
                for row, part in zip(rows, read.split(len(rows)), strict=True):
                    memories[row].become(part)
            logits |= zip(rows, logits_RV, strict=True)
        return torch.stack([logits[row] for row in range(len(memories))])

    @torch.inference_mode()
    def read_all(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """Reads row by row; see SequenceModel.read_all."""
        rows = zip(tokens_BL, lengths_B.tolist(), self._find(state, slots_B), strict=True)
        return torch.cat(
            [
                self._read(tokens_L[None, :length], memory, wants_all=True)[0]
                for tokens_L, length, memory in rows
            ]
        )

    @torch.inference_mode()
    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        """See SequenceModel.decode. Who has read nothing yet reads by itself."""
        memories = self._find(state, slots_B, is_decoding=self.is_batched)
        together = [row for row, memory in enumerate(memories) if memory.num_read]
        if not self.is_batched or not together:
            return self.prefill(tokens_B[:, None], torch.ones_like(slots_B), state, slots_B)
        logits: dict[int, Tensor] = {}
        for row in {*range(len(memories))}.difference(together):
            logits[row] = self._read(tokens_B[row : row + 1, None], memories[row])[0, -1]
        for batch, places in self._batches.arrange([memories[row] for row in together]):
            rows = [together[place] for place in places]
            logits |= zip(rows, self._decode_batch(tokens_B[rows], batch), strict=True)
        return torch.stack([logits[row] for row in range(len(memories))])

    def state_bytes(self) -> int:
        """Bytes of a cache, however long the sequence is; measured."""
        return self._state_bytes

    def state_bytes_per_token(self) -> int:
        """What a cache grows by with every token; measured."""
        return self._state_bytes_per_token

    def _find(self, state: State, slots_B: Tensor, *, is_decoding: bool = False) -> list[Memory]:
        """The memories of these slots' sequences; `is_decoding`: they may be in a batch."""
        sequence_S, slots = state["sequence"], slots_B.tolist()
        numbers: list[int] = sequence_S[slots_B].tolist()
        new = [slot for slot, number in zip(slots, numbers, strict=True) if number == _NO_SEQUENCE]
        for slot in new:
            self._last_number += 1
            sequence_S[slot] = self._last_number
        if new:
            numbers = sequence_S[slots_B].tolist()
            for gone in self._memories.keys() - {*sequence_S.tolist()}:
                self._memories.pop(gone).is_over = True
        memories = [self._memories.setdefault(number, Memory()) for number in numbers]
        for memory in memories if not is_decoding else ():
            if memory.batch is not None:
                memory.batch.let_go([memory])
        return memories

    def _of_one_length(self, memories: Sequence[Memory], lengths: list[int]) -> list[list[int]]:
        """The rows, those together that begin with as many tokens; the others one by one."""
        groups: list[list[int]] = []
        open_groups: dict[int, list[int]] = {}
        for row, (memory, length) in enumerate(zip(memories, lengths, strict=True)):
            group = open_groups.get(length)
            if not self.is_batched or memory.num_read:
                groups.append([row])
            elif group is not None and (len(group) + 1) * length <= _MAX_PROMPT_TOKENS:
                group.append(row)
            else:
                open_groups[length] = [row]
                groups.append(open_groups[length])
        return groups

    def _length_class(self, num_tokens: int) -> tuple[int, bool]:
        """Those of one class may share a batch."""
        is_switched = self._switches_from is not None and num_tokens >= self._switches_from
        grows = self._state_bytes_per_token > 0
        return max(num_tokens, _SHORT).bit_length() if grows else 0, is_switched

    def _read(self, tokens_RL: Tensor, memory: Memory, *, wants_all: bool = False) -> Tensor:
        """Logits (R, _, V) after the last tokens: at least one of them, or all; they are read."""
        by_one = memory.num_read >= self._by_one_after
        logits: list[Tensor] = []
        for piece_RL in torch.split(tokens_RL, 1, dim=1) if by_one else [tokens_RL]:
            # A hybrid's cache miscounts them where its first layer has no attention.
            positions_L = memory.num_read + torch.arange(piece_RL.shape[1])
            piece_logits = self._forward(
                piece_RL,
                memory,
                position_ids=positions_L.expand(piece_RL.shape),
                wants_all=wants_all,
            )
            memory.num_read += piece_RL.shape[1]
            logits = [*logits, piece_logits] if wants_all else [piece_logits]
        return torch.cat(logits, dim=1)

    def _decode_batch(self, tokens_R: Tensor, batch: RowBatch) -> Tensor:
        """Logits (R, V)."""
        logits_RLV = self._forward(
            tokens_R[:, None],
            batch.shared,
            position_ids=batch.lengths_R[:, None],
            attention_mask=batch.mask() if self._state_bytes_per_token else None,
        )
        batch.advance()
        return logits_RLV[:, -1]

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

    def _prove_batches(self, config: Any) -> None:
        """Decodes together from now on, where rows that come and go are as they are alone."""
        alone = logits_of_changing_rows(self)
        self.is_batched = True
        try:
            if is_dynamic(config):
                why = "its positions are scaled by the longest of them"
            elif are_equal(alone, logits_of_changing_rows(self)):
                return
            else:
                why = "together they give other logits than alone"
        except Exception as error:  # a forward pass failed: with whatever that raises
            why = " ".join(f"together they fail: {error!r}".split())[:_MAX_SHOWN]
        self.is_batched = False
        self._batches = Batches(self._length_class)
        self._memories.clear()
        _log.warning("%s decodes its sequences row by row (slower): %s", config.model_type, why)

    @torch.inference_mode()
    def _measure_state(self) -> tuple[int, int]:
        token_RL = torch.zeros(1, 1, dtype=torch.long)
        memory = Memory()
        self._read(token_RL, memory)
        after_one = memory.num_bytes()
        self._read(token_RL, memory)
        per_token = memory.num_bytes() - after_one
        return after_one - per_token, per_token
