"""Embeds text by hashing its words: deterministic everywhere, nothing to download or train.

Shapes: N texts, D dimensions.
"""

# Shape suffixes are in capitals.

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.NDArray[np.float32]

_START = "\x02"  # stands before the first word; no word holds it
_BETWEEN = "\x1f"
_MAX_CACHED_FEATURES = 65_536
_BATCH_N = 1024


def words_of(text: str) -> list[str]:
    """The words of a text: what stands between white space, as written."""
    return text.split()


class HashingEmbedder:
    """The features of a text are its words, its pairs of neighbouring words, and its first word.

    Each feature adds +1 or -1 at `_NUM_PROBES` of D places chosen by its hash (feature hashing,
    Weinberger et al. 2009); the sum is scaled to length one. Several places a feature, because with
    one place a single collision could hide a word. Thread-safe.
    """

    _NUM_PROBES = 4

    def __init__(self, num_dimensions: int = 1024) -> None:
        self.num_dimensions = num_dimensions
        self._slots_of: dict[str, tuple[int, ...]] = {}

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text, (N, D) float32, of length one; a text without words is all zeros."""
        vectors_ND = np.zeros((len(texts), self.num_dimensions), dtype=np.float32)
        for start in range(0, len(texts), _BATCH_N):
            self._embed_into(vectors_ND[start : start + _BATCH_N], texts[start : start + _BATCH_N])
        return vectors_ND

    def _embed_into(self, vectors_ND: Vectors, texts: Sequence[str]) -> None:
        slots: list[int] = []
        counts: list[int] = []
        for text in texts:
            num_before = len(slots)
            self._add_slots(words_of(text), slots)
            counts.append(len(slots) - num_before)
        slots_S = np.array(slots, dtype=np.int64)
        rows_S = np.repeat(np.arange(len(texts)), counts)
        signs_S = np.where(slots_S & 1, np.float32(1), np.float32(-1))
        np.add.at(vectors_ND, (rows_S, slots_S >> 1), signs_S)
        # Sums of whole numbers are exact, so the result does not depend on how they are added.
        lengths_N1 = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND))[:, None]
        np.divide(vectors_ND, lengths_N1, out=vectors_ND, where=lengths_N1 > 0)

    def _add_slots(self, words: list[str], slots: list[int]) -> None:
        known = self._slots_of
        before = _START
        for word in words:
            slots += known.get(word) or self._hash(word)
            pair = before + _BETWEEN + word
            slots += known.get(pair) or self._hash(pair)
            before = word

    def _hash(self, feature: str) -> tuple[int, ...]:
        """Places of a feature: twice the dimension, plus one where it adds +1."""
        digest = blake2b(feature.encode(), digest_size=4 * self._NUM_PROBES).digest()
        numbers = (int.from_bytes(digest[i : i + 4], "little") for i in range(0, len(digest), 4))
        slots = tuple(number % (2 * self.num_dimensions) for number in numbers)
        if len(self._slots_of) >= _MAX_CACHED_FEATURES:
            self._slots_of = {}  # a fresh start is cheap, and bounds the memory
        self._slots_of[feature] = slots
        return slots
