"""Attention layers of transformers' cache for sequences of different lengths in one batch.

All sequences end in the same column, as in a batch that is padded on the left: the newest token's
keys go behind everybody's last. A row that joins is copied in, one that leaves is copied out, and
the others stay where they are.

Shapes: R rows, H heads, T columns, P of a head.
"""

import copy
from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

# Rows and columns are made with so much room, so that few steps have to make them anew.
_SPARE_SHARE: Final = 4
_SPARE_ROWS: Final = 2
_SPARE_COLUMNS: Final = 16
_TENSORS: Final = ("keys", "values")


class NotBatchableError(Exception):
    """A memory of a kind that is not known here; its text names it."""


class Frame:
    """What all layers of a batch have in common."""

    def __init__(self) -> None:
        # Tokens of the longest row.
        self.width = 0


class BatchedAttention(DynamicLayer):  # type: ignore[misc]  # it has no types
    """The keys and values of several rows; reads one token of each at a time."""

    def __init__(self, plain: Any, frame: Frame) -> None:
        """`plain`: that layer of any one sequence: what leaves is made like it."""
        super().__init__()
        self.is_sliding = plain.is_sliding
        self.is_initialized = plain.is_initialized
        self._plain = copy.copy(plain)
        for name in _TENSORS if plain.is_initialized else ():
            one_RHTP = getattr(plain, name)
            setattr(
                self._plain, name, one_RHTP.new_empty(*one_RHTP.shape[:2], 0, one_RHTP.shape[3])
            )
        self._frame = frame
        # Of a sliding window one column is for the token that is being read.
        self._most = plain.sliding_window - 1 if plain.is_sliding else None
        self._num_rows = 0
        self._end = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> Any:
        """Puts the new token's (R, H, 1, P) behind all others; gives back all that is seen."""
        num_seen = self._num_kept(self._frame.width)
        if self._end == self.keys.shape[2]:
            self._make_room(self._num_rows, num_seen)
        begin, self._end = self._end - num_seen, self._end + 1
        seen = []
        for name, new_RH1P in zip(_TENSORS, (key_states, value_states), strict=True):
            rows_RHTP = getattr(self, name)[: self._num_rows]
            rows_RHTP[:, :, self._end - 1 : self._end] = new_RH1P
            seen.append(rows_RHTP[:, :, begin : self._end])
        return tuple(seen)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """See CacheLayerMixin: columns that are seen, and those before them that no more are."""
        num_seen = self._num_kept(self._frame.width)
        return num_seen + query_length, self._frame.width - num_seen

    def get_seq_length(self) -> int:
        """Of the longest row."""
        return self._frame.width

    def arrange(self, order: Sequence[int], joining: Sequence[Any], width: int) -> None:
        """Row r becomes what row order[r] was, or the one that joins of that number less R.

        Whoever changes places comes from behind all rows that are left. `width` is the new one.
        """
        if not self.is_initialized:
            return
        before, num_kept = self._num_rows, self._num_kept(width)
        if not before or len(order) > len(self.keys) or self._end < num_kept:
            self._make_room(max(before, len(order)), num_kept)
        for row, source in enumerate(order):
            if row == source < before:
                continue
            for name in _TENSORS:
                rows_RHTP = getattr(self, name)
                if source < before:
                    rows_RHTP[row, :, : self._end] = rows_RHTP[source, :, : self._end]
                    continue
                joins_HTP = getattr(joining[source - before], name)[0]
                begin = self._end - joins_HTP.shape[1]
                rows_RHTP[row, :, :begin] = 0  # nobody's: what is masked must still be a number
                rows_RHTP[row, :, begin : self._end] = joins_HTP
        self._num_rows = len(order)

    def take(self, row: int, num_tokens: int) -> Any:
        """A copy of one row, as a layer of its own."""
        made = copy.copy(self._plain)
        if not self.is_initialized:
            return made
        begin = self._end - self._num_kept(num_tokens)
        for name in _TENSORS:
            setattr(made, name, getattr(self, name)[row : row + 1, :, begin : self._end].clone())
        if self.is_sliding:
            made.cumulative_length = num_tokens
        return made

    def _num_kept(self, num_tokens: int) -> int:
        return num_tokens if self._most is None else min(num_tokens, self._most)

    def _make_room(self, num_rows: int, num_kept: int) -> None:
        """New tensors for so many rows and columns, with some to spare; what is there goes over."""
        num_over = min(self._end, num_kept)
        for name in _TENSORS:
            old_RHTP = getattr(self if self._num_rows else self._plain, name)
            _, num_heads, _, size = old_RHTP.shape
            room_RHTP = old_RHTP.new_zeros(
                num_rows + max(_SPARE_ROWS, num_rows // _SPARE_SHARE),
                num_heads,
                num_kept + max(_SPARE_COLUMNS, num_kept // _SPARE_SHARE),
                size,
            )
            if self._num_rows:
                over_RHTP = old_RHTP[: self._num_rows, :, self._end - num_over : self._end]
                room_RHTP[: self._num_rows, :, num_kept - num_over : num_kept] = over_RHTP
            setattr(self, name, room_RHTP)
        self._end = num_kept


class BatchedHybrid(LinearAttentionLayer, BatchedAttention):  # type: ignore[misc]
    """A layer that has both: what is recurrent in it is stacked, as in a layer that has no more."""

    is_compileable = False

    def __init__(self, plain: Any, frame: Frame) -> None:
        LinearAttentionLayer.__init__(self)
        # The states and how far they are.
        self.__dict__.update(
            {name: value for name, value in vars(plain).items() if name not in _TENSORS}
        )
        BatchedAttention.__init__(self, plain, frame)


_BATCHED: Final = {
    DynamicLayer: BatchedAttention,
    DynamicSlidingWindowLayer: BatchedAttention,
    LinearAttentionAndFullAttentionLayer: BatchedHybrid,
    LinearAttentionAndSlidingWindowAttentionLayer: BatchedHybrid,
}


def batched(plain: DynamicLayer, frame: Frame) -> BatchedAttention:
    """A layer without rows for sequences that have this kind. Raises NotBatchableError."""
    kind = type(plain)
    if kind not in _BATCHED:
        raise NotBatchableError(kind.__name__)
    return _BATCHED[kind](plain, frame)


def is_attention(value: object) -> bool:
    """Whether this is a layer of a cache that has keys and values."""
    return isinstance(value, DynamicLayer)
