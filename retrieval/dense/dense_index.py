"""Exact nearest passages by inner product (FAISS): flat indexes, and the index of one context.

Shapes: N vectors, D dimensions, K best.
"""

# Shape suffixes are in capitals.

from array import array
from collections.abc import Callable
from functools import cache
from sys import getsizeof
from typing import Any

import faiss
import numpy as np
from harnessapi.devices import AUTO, choose_device
from harnessapi.values import Outcome

from harness_retrieval.dense.embedding import HashingEmbedder, Vectors, pause, words_of
from harness_retrieval.dense.passages import Passage, PassageSplitter
from harness_retrieval.types import SearchResult

# Scores nearer than this are equal: float32 sums may differ in the last bits.
_SCORE_DECIMALS = 5
_MIN_SCORE = 1e-4
_FIRST_K = 16
_MAX_K_ON_GPU = 2048
MAX_PASSAGES = 65_536
# Passages that are embedded and added at once, four megabytes of vectors.
_PIECE_N = 1024
_BYTES_PER_NUMBER = 4  # float32
_BUILT_WITHOUT = (
    "the FAISS that is installed is built for CPUs alone (faiss-cpu); one with the classes for a "
    "GPU takes its place: pip uninstall faiss-cpu, then pip install faiss-gpu-cu12"
)
_SEES_NONE = "FAISS sees no GPU (is one visible to this process?)"


class FlatIndex:
    """All vectors compared with a query, on the CPU or a GPU (`on_gpu`). Not thread-safe."""

    def __init__(self, num_dimensions: int, *, on_gpu: bool = False) -> None:
        self._on_gpu = on_gpu
        self._index = _new_index(num_dimensions, on_gpu=on_gpu)

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
        if self._on_gpu:
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


def index_device(wanted: str = AUTO) -> str:
    """Where indexes live, of DEVICES: on the GPU where FAISS sees one, unless told otherwise.

    Raises DeviceError where there is none and it is wanted.
    """
    # A FAISS built for CPUs alone may lack the function.
    num_gpus = getattr(faiss, "get_num_gpus", lambda: 0)()
    can_use_them = hasattr(faiss, "StandardGpuResources")
    return choose_device(
        wanted,
        has_cuda=num_gpus > 0 and can_use_them,
        without_cuda=_SEES_NONE if can_use_them else _BUILT_WITHOUT,
    )


def _new_index(num_dimensions: int, *, on_gpu: bool) -> Any:
    if on_gpu:
        return faiss.GpuIndexFlatIP(_gpu_resources(), num_dimensions)
    return faiss.IndexFlatIP(num_dimensions)


class DenseContextIndex:
    """The passages of one growing context, each embedded once. Not thread-safe.

    A context of over `MAX_PASSAGES` is searched no more, and keeps nothing but its text.
    """

    def __init__(self, embedder: HashingEmbedder, separator: str, *, on_gpu: bool = False) -> None:
        self.text = ""
        self._on_gpu = on_gpu
        self._embedder = embedder
        self._separator = separator
        self._begin(is_over=False)

    def _begin(self, *, is_over: bool) -> None:
        self._splitter = PassageSplitter(self._separator)
        self._starts = array("I")
        self._ends = array("I")
        self._index = FlatIndex(self._embedder.num_dimensions, on_gpu=self._on_gpu)
        self._is_over = is_over

    @property
    def num_passages(self) -> int:
        """Complete passages held as vectors."""
        return self._index.num_vectors

    @property
    def num_bytes(self) -> int:
        """What all that is kept takes: the text, the places of its passages, their vectors."""
        of_places = 2 * self._starts.itemsize
        return getsizeof(self.text) + self.num_passages * (
            _BYTES_PER_NUMBER * self._embedder.num_dimensions + of_places
        )

    def num_unread(self, text: str) -> int:
        """Characters that a search in this text has to read before it compares passages.

        May be asked while another thread searches.
        """
        num_read = self.num_passages
        return 0 if self._is_over else len(text) - (self._ends[num_read - 1] if num_read else 0)

    def grow(self, text: str, go_on: Callable[[], None] = pause) -> None:
        """Takes the whole text, which begins with what was given before.

        Calls `go_on` between pieces of the work: where that raises, what is done is kept.
        """
        self.text = text
        if self._is_over:
            return
        for passage in self._splitter.complete(text, go_on):
            self._starts.append(passage.start)
            self._ends.append(passage.end)
            if len(self._starts) > MAX_PASSAGES:
                self._begin(is_over=True)
                return
        while self.num_passages < len(self._starts):
            first = self.num_passages
            piece = range(first, min(first + _PIECE_N, len(self._starts)))
            passages = [self._passage(position).text for position in piece]
            self._index.add(self._embedder.embed(passages, go_on))
            if self.num_passages < len(self._starts):
                go_on()

    def search(self, query: str, top_k: int, go_on: Callable[[], None] = pause) -> SearchResult:
        """The `top_k` best passages, best first, joined by the separator.

        Only passages count that share a word with the query, and say something beyond it: the
        context holds the model's own earlier queries, and a hash collision is no similarity.
        """
        if self._is_over:
            detail = f"the context has over {MAX_PASSAGES} passages"
            return SearchResult(outcome=Outcome.TOO_COSTLY, detail=detail)
        hits = self._answers(query, top_k, go_on)
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

    def _answers(
        self, query: str, top_k: int, go_on: Callable[[], None]
    ) -> list[tuple[float, Passage]]:
        query_D = self._embedder.embed([query])[0]
        query_words = frozenset(words_of(query))
        tail = self._scored_tail(query_D, go_on)
        tail = [(score, p) for score, p in tail if _answers(p, query_words)]
        num_asked = top_k
        while True:
            ranked = self._index.best(query_D, num_asked)
            hits: list[tuple[float, Passage]] = []
            for first in range(0, len(ranked), _PIECE_N):
                piece = ranked[first : first + _PIECE_N]
                near = [(score, self._passage(at)) for score, at in piece if score > _MIN_SCORE]
                hits += [hit for hit in near if _answers(hit[1], query_words)]
                if first + _PIECE_N < len(ranked):
                    go_on()
            is_exhausted = len(ranked) < num_asked or ranked[-1][0] <= _MIN_SCORE
            if len(hits) >= top_k or is_exhausted:
                return sorted(hits + tail, key=lambda hit: (-hit[0], hit[1].start))[:top_k]
            num_asked *= 4

    def _passage(self, position: int) -> Passage:
        start, end = self._starts[position], self._ends[position]
        return Passage(text=self.text[start:end], start=start, end=end)

    def _scored_tail(
        self, query_D: Vectors, go_on: Callable[[], None]
    ) -> list[tuple[float, Passage]]:
        """The unfinished passage, embedded anew each time: it grows with the context."""
        tail = self._splitter.unfinished(self.text)
        if not tail:
            return []
        score = float(np.dot(self._embedder.embed([tail[0].text], go_on)[0], query_D))
        rounded = round(score, _SCORE_DECIMALS)
        return [(rounded, tail[0])] if rounded > _MIN_SCORE else []


def _answers(passage: Passage, query_words: frozenset[str]) -> bool:
    words = words_of(passage.text)
    return not query_words.isdisjoint(words) and not query_words.issuperset(words)
