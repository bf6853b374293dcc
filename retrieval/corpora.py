"""Standing corpora on disk: ROOT/NAME/{corpus.json, passages.jsonl, vectors.f32}.

Passages and vectors are appended and flushed first; then corpus.json is replaced, which says how
much of both counts. What a crash leaves behind that is ignored, and cut off by the next add.
"""

import fcntl
import os
import re
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from harness_retrieval.corpus import (
    Corpus,
    CorpusDescription,
    CorpusHit,
    read_description,
    write_description,
)
from harness_retrieval.dense.embedding import HashingEmbedder
from harness_retrieval.errors import (
    CorporaUnavailableError,
    CorpusExistsError,
    CorpusNotFoundError,
    InvalidArgumentError,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_TOP_K = 1000


class Corpora:
    """All corpora under one folder, which one process at a time may use. Thread-safe.

    Raises CorporaUnavailableError where the folder cannot be used.
    """

    def __init__(self, root: Path, embedder: HashingEmbedder) -> None:
        self._root = root
        self._embedder = embedder
        self._lock = threading.Lock()
        self._loaded: dict[str, Corpus] = {}
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._lock_file = (root / ".lock").open("w")
        except OSError as error:
            raise CorporaUnavailableError(f"cannot use {root}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock_file.close()
            raise CorporaUnavailableError(f"another server uses the corpora in {root}") from error

    def close(self) -> None:
        """Lets another process use the folder."""
        self._lock_file.close()

    def create(self, name: str) -> CorpusDescription:
        """Creates an empty corpus. Raises CorpusExistsError, InvalidArgumentError."""
        folder = self._folder(name)
        with self._lock:
            if folder.exists():
                raise CorpusExistsError(name)
            unfinished = self._root / f".new-{name}"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            description = CorpusDescription(
                name=name,
                num_passages=0,
                passages_bytes=0,
                embedder=self._embedder.name,
                num_dimensions=self._embedder.num_dimensions,
            )
            write_description(unfinished, description)
            unfinished.rename(folder)  # a corpus is there as a whole or not at all
            return description

    def add(self, name: str, passages: Sequence[str]) -> CorpusDescription:
        """Adds passages; on disk when it returns. Raises CorpusNotFoundError,
        InvalidArgumentError, CorpusDamagedError.
        """
        if blank := [index for index, passage in enumerate(passages) if not passage.strip()]:
            raise InvalidArgumentError(f"passage {blank[0]} for corpus {name!r} is blank")
        return self._corpus(name).add(passages)

    def search(self, name: str, queries: Sequence[str], top_k: int) -> list[list[CorpusHit]]:
        """The best passages for each query, best first. Raises CorpusNotFoundError,
        InvalidArgumentError, CorpusDamagedError.
        """
        if not 1 <= top_k <= _MAX_TOP_K:
            raise InvalidArgumentError(f"top_k is {top_k}, not between 1 and {_MAX_TOP_K}")
        if any(not query.strip() for query in queries):
            raise InvalidArgumentError("a query is empty")
        return self._corpus(name).search(queries, top_k)

    def describe(self, name: str) -> CorpusDescription:
        """Raises CorpusNotFoundError, InvalidArgumentError, CorpusDamagedError."""
        return self._corpus(name).description

    def describe_all(self) -> list[CorpusDescription]:
        """All corpora, by name, without loading them. Raises CorpusDamagedError."""
        found = (path.parent for path in self._root.glob("*/corpus.json"))
        folders = sorted(folder for folder in found if _NAME.fullmatch(folder.name))
        return [read_description(folder) for folder in folders]

    def delete(self, name: str) -> None:
        """Deletes a corpus and its files. Raises CorpusNotFoundError, InvalidArgumentError."""
        folder = self._folder(name)
        with self._lock:
            if not (folder / "corpus.json").is_file():
                raise CorpusNotFoundError(name)
            self._loaded.pop(name, None)
            doomed = self._root / f".deleted-{name}-{os.getpid()}"
            shutil.rmtree(doomed, ignore_errors=True)
            folder.rename(doomed)
            shutil.rmtree(doomed)

    def _corpus(self, name: str) -> Corpus:
        folder = self._folder(name)
        with self._lock:
            if name not in self._loaded:
                if not (folder / "corpus.json").is_file():
                    raise CorpusNotFoundError(name)
                self._loaded[name] = Corpus(folder, self._embedder)
            return self._loaded[name]

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidArgumentError(
                f"corpus name {name!r} is not 1 to 64 letters, digits, '.', '_' or '-'"
            )
        return self._root / name
