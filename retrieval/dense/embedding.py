"""Embeds text by hashing its words: deterministic everywhere, nothing to download or train.

Shapes: N texts, D dimensions.
"""

# Shape suffixes are in capitals.

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.NDArray[np.float32]

_START: Final = "\x02"  # stands before the first word; no word holds it
_BETWEEN: Final = "\x1f"
_WORD: Final = re.compile(r"\S+")
_MAX_CACHED_FEATURES: Final = 65_536
# Features embedded at once: a millisecond or two in which no other thread of Python runs.
_PIECE_F: Final = 512
# Between two pieces others run: without a pause each of them waits for the interpreter's lock, five
# milliseconds at every tensor operation.
_PAUSE_S: Final = 0.001


def pause() -> None:
    """Between two pieces of long work."""
    time.sleep(_PAUSE_S)


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
        self._digests: dict[str, bytes] = {}

    def embed(self, texts: Sequence[str], go_on: Callable[[], None] = pause) -> Vectors:
        """One row a text, (N, D) float32, of length one; a text without words is all zeros.

        Calls `go_on` between pieces of the work.
        """
        vectors_ND = np.zeros((len(texts), self.num_dimensions), dtype=np.float32)
        features = _features(texts)
        piece = [*islice(features, _PIECE_F)]
        while piece:
            self._add(vectors_ND, piece)
            if piece := [*islice(features, _PIECE_F)]:
                go_on()
        # Sums of whole numbers are exact, so the result does not depend on how they are added.
        lengths_N1 = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND))[:, None]
        np.divide(vectors_ND, lengths_N1, out=vectors_ND, where=lengths_N1 > 0)
        return vectors_ND

    def _add(self, vectors_ND: Vectors, piece: Sequence[tuple[int, str]]) -> None:
        """Adds features (F) with the rows that they belong to, at P probes each."""
        rows, features = zip(*piece, strict=True)
        digests = self._digests_of(features)
        numbers_FP = np.frombuffer(b"".join(map(digests.__getitem__, features)), dtype="<u4")
        # Twice the dimension, plus one where a feature adds +1.
        slots_FP = (numbers_FP % (2 * self.num_dimensions)).reshape(-1, self._NUM_PROBES)
        starts_F = np.array(rows, dtype=np.int64) * self.num_dimensions
        places_FP = starts_F[:, None] + (slots_FP >> 1)
        signs_FP = np.where(slots_FP & 1, np.float32(1), np.float32(-1))
        np.add.at(vectors_ND.reshape(-1), places_FP.reshape(-1), signs_FP.reshape(-1))

    def _digests_of(self, features: Sequence[str]) -> Mapping[str, bytes]:
        """The hashes of these features and of others."""
        known = self._digests
        if len(known) + len(features) > _MAX_CACHED_FEATURES:
            known = self._digests = {}  # a fresh start is cheap, and bounds the memory
        size = 4 * self._NUM_PROBES
        for feature in {*features}.difference(known):
            known[feature] = blake2b(feature.encode(), digest_size=size).digest()
        return known


def _features(texts: Sequence[str]) -> Iterator[tuple[int, str]]:
    for row, text in enumerate(texts):
        before = _START
        for match in _WORD.finditer(text):
            word = match[0]
            yield row, word
            yield row, before + _BETWEEN + word
            before = word
