"""One standing corpus: its files, and its FAISS index in memory.

Shapes: N passages, D dimensions.
"""

# Shape suffixes are in capitals.

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from harness_retrieval.dense.dense_index import FlatIndex, index_device
from harness_retrieval.dense.embedding import HashingEmbedder
from harness_retrieval.errors import CorpusDamagedError

_FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusDescription:
    """What corpus.json holds; `passages_bytes` of passages.jsonl count. `device` is not stored."""

    name: str
    num_passages: int
    passages_bytes: int
    embedder: str
    num_dimensions: int
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusHit:
    """One passage that was found; `score` is the inner product with the query."""

    passage_id: int
    text: str
    score: float


def read_description(folder: Path) -> CorpusDescription:
    """What corpus.json says. Raises CorpusDamagedError."""
    try:
        stored = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        return CorpusDescription(**stored, device=index_device())
    except (OSError, ValueError, TypeError) as error:
        raise CorpusDamagedError(f"corpus {folder.name!r} cannot be read: {error}") from error


def write_description(folder: Path, description: CorpusDescription) -> None:
    """Replaces corpus.json in one step; it is on disk when this returns."""
    content = asdict(description)
    del content["device"]
    unfinished = folder / "corpus.json.new"
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / "corpus.json")
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Corpus:
    """Opens the corpus in `folder`. Thread-safe. Raises CorpusDamagedError."""

    def __init__(self, folder: Path, embedder: HashingEmbedder) -> None:
        self._folder = folder
        self._embedder = embedder
        self._lock = threading.Lock()
        self.description = read_description(folder)
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise CorpusDamagedError(f"corpus {folder.name!r} cannot be read: {error}") from error

    def add(self, passages: Sequence[str]) -> CorpusDescription:
        """Adds passages behind those there; on disk when it returns."""
        vectors_ND = self._embedder.embed(passages)
        lines = b"".join(json.dumps(passage).encode() + b"\n" for passage in passages)
        with self._lock:
            before = self.description
            vectors_bytes = before.num_passages * before.num_dimensions * _FLOAT_BYTES
            _append(self._folder / "passages.jsonl", before.passages_bytes, lines)
            _append(self._folder / "vectors.f32", vectors_bytes, vectors_ND.tobytes())
            after = replace(
                before,
                num_passages=before.num_passages + len(passages),
                passages_bytes=before.passages_bytes + len(lines),
            )
            write_description(self._folder, after)
            self._index.add(vectors_ND)
            self._passages += passages
            self.description = after
            return after

    def search(self, queries: Sequence[str], top_k: int) -> list[list[CorpusHit]]:
        """The best passages for each query, best first; scores above zero."""
        vectors_ND = self._embedder.embed(queries)
        with self._lock:
            return [
                [
                    CorpusHit(passage_id=position, text=self._passages[position], score=score)
                    for score, position in self._index.best(vector_D, top_k)
                    if score > 0
                ]
                for vector_D in vectors_ND
            ]

    def _read(self) -> None:
        description = self.description
        self._index = FlatIndex(description.num_dimensions)
        ours = (self._embedder.name, self._embedder.num_dimensions)
        if (description.embedder, description.num_dimensions) != ours:
            raise ValueError(f"made with {description.embedder!r}, this server has {ours[0]!r}")
        self._passages = _read_passages(self._folder / "passages.jsonl", description)
        if self._passages:
            vectors_ND = np.fromfile(
                self._folder / "vectors.f32",
                dtype=np.float32,
                count=description.num_passages * description.num_dimensions,
            )
            self._index.add(vectors_ND.reshape(-1, description.num_dimensions))
            if self._index.num_vectors != description.num_passages:
                raise ValueError(f"{self._index.num_vectors} vectors of {description.num_passages}")


def _read_passages(path: Path, description: CorpusDescription) -> list[str]:
    if description.num_passages == 0:
        return []
    with path.open("rb") as file:
        lines = file.read(description.passages_bytes).splitlines()
    if len(lines) != description.num_passages:
        raise ValueError(f"{len(lines)} passages, {description.num_passages} described")
    return [json.loads(line) for line in lines]


def _append(path: Path, num_bytes: int, content: bytes) -> None:
    """Writes behind the first `num_bytes`, which count; drops what a crash left after them."""
    with path.open("ab") as file:
        file.truncate(num_bytes)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
