"""Exact nearest passages by inner product (FAISS): flat indexes, and the index of one context.

Shapes: N vectors, D dimensions, K best.
"""

# Shape suffixes are in capitals.

import time
from functools import cache
from typing import Any

import faiss
import numpy as np
from harnessapi.values import Outcome

from harness_retrieval.dense.embedding import HashingEmbedder, Vectors, words_of
from harness_retrieval.dense.passages import Passage, PassageSplitter
from harness_retrieval.types import SearchResult

# Scores nearer than this are equal: float32 sums may differ in the last bits.
_SCORE_DECIMALS = 5
_MIN_SCORE = 1e-4
_FIRST_K = 16
_MAX_K_ON_GPU = 2048
MAX_PASSAGES = 65_536
MAX_PASSAGE_CHARACTERS = 65_536
# Passages are embedded so many characters at a time: some half a millisecond. In between the thread
# rests for a moment, or who decodes in this process would wait for the interpreter lock.
_PIECE_CHARACTERS = 2_000
_REST_S = 0.000_05
# What Python keeps of a passage besides its text.
_PASSAGE_BYTES = 200


class FlatIndex:
    """All vectors compared with a query, on the GPU where FAISS sees one. Not thread-safe."""

    def __init__(self, num_dimensions: int) -> None:
        self._index = _new_index(num_dimensions)

    @property
    def num_vectors(self) -> int:
        """N, the vectors added so far."""
        return int(self._index.ntotal)

    def add(self, vectors_ND: Vectors) -> None:
        """Adds N rows; their positions go on from those added before."""
        self._index.add(vectors_ND)

    def best(self, query_D: Vectors, k: int) -> list[tuple[float, int]]:
        """The K best (score, position), best first and the earliest first among equals.

        Where vectors equal to the K-th lie beyond the K best, which of them is returned is decided
        by position as well. Fewer than K where the index holds fewer.
        """
        if self.num_vectors == 0:
            return []
        # FAISS promises no order among equals, so ask for more until the K-th is clearly decided.
        num_asked = max(_FIRST_K, 2 * k)
        while True:
            ranked = self._ranked(query_D, num_asked)
            is_decided = len(ranked) > k and ranked[-1][0] < ranked[k - 1][0]
            if is_decided or len(ranked) < num_asked:
                return ranked[:k]
            num_asked *= 4

    def _ranked(self, query_D: Vectors, num_asked: int) -> list[tuple[float, int]]:
        num_found = min(num_asked, self.num_vectors)
        if index_device() == "gpu":
            num_found = min(num_found, _MAX_K_ON_GPU)
        faiss.omp_set_num_threads(1)  # belongs to the calling thread; more would fight torch
        scores_1K, positions_1K = self._index.search(query_D[None, :], num_found)
        scores = np.round(scores_1K[0].astype(np.float64), _SCORE_DECIMALS).tolist()
        ranked = zip(scores, positions_1K[0].tolist(), strict=True)
        return sorted(ranked, key=lambda hit: (-hit[0], hit[1]))


@cache
def _gpu_resources() -> Any:
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(64 << 20)  # shared by all indexes; the default takes a large share
    return resources


def index_device() -> str:
    """Where every index lives: "gpu" where FAISS sees one, else "cpu"."""
    # A FAISS built for CPUs alone may lack the function.
    return "gpu" if getattr(faiss, "get_num_gpus", lambda: 0)() > 0 else "cpu"


def _new_index(num_dimensions: int) -> Any:
    if index_device() == "gpu":
        return faiss.GpuIndexFlatIP(_gpu_resources(), num_dimensions)
    return faiss.IndexFlatIP(num_dimensions)


class DenseContextIndex:
    """The passages of one growing context, each embedded once. Not thread-safe."""

    def __init__(self, embedder: HashingEmbedder, separator: str) -> None:
        self.text = ""
        self._embedder = embedder
        self._separator = separator
        self._splitter = PassageSplitter(separator)
        self._passages: list[Passage] = []
        self._index = FlatIndex(embedder.num_dimensions)
        self._refusal = ""  # why this context is not searched, whatever comes

    @property
    def num_passages(self) -> int:
        """Complete passages held as vectors."""
        return self._index.num_vectors

    @property
    def num_bytes(self) -> int:
        """Memory that is kept: vectors, passages, and the text."""
        vectors = self.num_passages * 4 * self._embedder.num_dimensions
        return vectors + len(self._passages) * _PASSAGE_BYTES + 2 * len(self.text)

    def grow(self, text: str) -> None:
        """Takes the whole text, which begins with what was given before."""
        self.text = text
        piece: list[Passage] = []
        num_characters = 0
        if self._refusal:
            return
        for passage in self._splitter.complete(text):
            if self._refuse(passage):
                return
            if num_characters >= _PIECE_CHARACTERS:
                self._add(piece)
                time.sleep(_REST_S)
                piece, num_characters = [], 0
            piece.append(passage)
            num_characters += len(passage.text)
        self._add(piece)

    def _refuse(self, passage: Passage) -> bool:
        """Lets go of everything where this passage is one too many, or too long."""
        if len(passage.text) > MAX_PASSAGE_CHARACTERS:
            self._refusal = _too_long(passage)
        elif len(self._passages) >= MAX_PASSAGES:
            self._refusal = f"the context has more than {MAX_PASSAGES} passages"
        else:
            self._passages.append(passage)
            return False
        self._passages = []
        self._index = FlatIndex(self._embedder.num_dimensions)
        return True

    def _add(self, piece: list[Passage]) -> None:
        if piece:
            self._index.add(self._embedder.embed([passage.text for passage in piece]))

    def search(self, query: str, top_k: int) -> SearchResult:
        """The `top_k` best passages, best first, joined by the separator.

        Only passages count that share a word with the query, and say something beyond it: the
        context holds the model's own earlier queries, and a hash collision is no similarity.
        """
        tail = self._splitter.unfinished(self.text)
        refusal = self._refusal
        if not refusal and tail and len(tail[0].text) > MAX_PASSAGE_CHARACTERS:
            refusal = _too_long(tail[0])
        if refusal:
            return SearchResult(outcome=Outcome.TOO_COSTLY, detail=refusal)
        hits = self._answers(query, top_k)
        if not hits:
            return SearchResult(outcome=Outcome.NOT_FOUND)
        score, best = hits[0]
        joint = f" {self._separator} " if self._separator.strip() else self._separator
        return SearchResult(
            outcome=Outcome.FOUND,
            text=joint.join(passage.text for _, passage in hits),
            start=best.start,
            end=best.end,
            score=score,
        )

    def _answers(self, query: str, top_k: int) -> list[tuple[float, Passage]]:
        query_D = self._embedder.embed([query])[0]
        query_words = frozenset(words_of(query))
        tail = [(score, p) for score, p in self._scored_tail(query_D) if _answers(p, query_words)]
        num_asked = top_k
        while True:
            ranked = self._index.best(query_D, num_asked)
            hits = [(score, self._passages[position]) for score, position in ranked]
            hits = [hit for hit in hits if hit[0] > _MIN_SCORE and _answers(hit[1], query_words)]
            is_exhausted = len(ranked) < num_asked or ranked[-1][0] <= _MIN_SCORE
            if len(hits) >= top_k or is_exhausted:
                return sorted(hits + tail, key=lambda hit: (-hit[0], hit[1].start))[:top_k]
            num_asked *= 4

    def _scored_tail(self, query_D: Vectors) -> list[tuple[float, Passage]]:
        """The unfinished passage, embedded anew each time: it grows with the context."""
        tail = self._splitter.unfinished(self.text)
        if not tail:
            return []
        score = float(np.dot(self._embedder.embed([tail[0].text])[0], query_D))
        rounded = round(score, _SCORE_DECIMALS)
        return [(rounded, tail[0])] if rounded > _MIN_SCORE else []


def _too_long(passage: Passage) -> str:
    return f"a passage has {len(passage.text)} characters, over {MAX_PASSAGE_CHARACTERS}"


def _answers(passage: Passage, query_words: frozenset[str]) -> bool:
    words = words_of(passage.text)
    return not query_words.isdisjoint(words) and not query_words.issuperset(words)
