"""One run on disk: appended to sample by sample, so that stopping at any time loses nothing."""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from harness.errors import IncompleteError, InputError, cannot_write, unknown_name
from harness.runs.lines import is_there
from harness.runs.manifest import FILE_NAME as MANIFEST_NAME
from harness.runs.manifest import Manifest, add_session, write_manifest
from harness.runs.mending import mend
from harness.runs.records import ErrorRecord, Key, SampleRecord
from harness.runs.writing import remove_unfinished

SAMPLES_NAME: Final = "samples.jsonl"
ERRORS_NAME: Final = "errors.jsonl"


class RunStore:
    """Holds the run's lock while open; `done` are the keys of finished samples.

    `mended` says what had to be taken out of its files.
    """

    def __init__(self, folder: Path) -> None:
        """Opens (and mends) a run. Raises InputError where it cannot be written, or is in use."""
        self.folder = folder
        samples, errors = folder / SAMPLES_NAME, folder / ERRORS_NAME
        try:
            is_there(samples)
            is_there(errors)
            with ExitStack() as files:
                self._samples = files.enter_context(_open_locked(samples))
                remove_unfinished(samples)
                _, in_errors = mend(errors, may_repeat=True)
                self.done, in_samples = mend(samples)
                if not _is_at(self._samples, samples):
                    # Mended: another file has taken its place.
                    self._samples = files.enter_context(_open_locked(samples))
                self._errors = files.enter_context(errors.open("ab", buffering=0))
                self.mended = tuple(filter(None, (in_errors, in_samples)))
                self._files = files.pop_all()
        except BlockingIOError:
            raise _is_in_use(folder) from None
        except OSError as error:
            raise cannot_write(folder, error) from None

    @property
    def run(self) -> str:
        """The run's ID."""
        return self.folder.name

    def begin(self, manifest: Manifest, changes: Mapping[str, Any] | None) -> None:
        """Writes the manifest, or into the one that is there its last session and `changes`."""
        if changes is None:
            write_manifest(self.folder, manifest)
        else:
            add_session(self.folder, manifest.sessions[-1], changes)

    def num_done(self, cell: str) -> int:
        """How many samples of this cell are stored."""
        return self.done.num_of_cell(cell)

    def add(self, record: SampleRecord) -> None:
        """Appends a finished sample; it is in the file when this returns.

        Raises ValueError for a sample that is there already, IncompleteError for a full disk.
        """
        self.add_line(record.key, record_line(record))

    def add_line(self, key: Key, line: bytes) -> None:
        """The same, as `record_line` gives it."""
        if key in self.done:
            raise ValueError(f"sample {key[1]} of {key[0]} is stored already")
        _append(self._samples, line)
        self.done.add(key)

    def add_error(self, record: ErrorRecord) -> None:
        """Appends a sample that has to be asked again."""
        self.add_error_line(record_line(record))

    def add_error_line(self, line: bytes) -> None:
        """The same, as `record_line` gives it."""
        _append(self._errors, line)

    def close(self) -> None:
        """Lets go of the lock. A run that never got a manifest leaves nothing behind."""
        self._files.close()
        if not (self.folder / MANIFEST_NAME).exists():
            shutil.rmtree(self.folder, ignore_errors=True)


def create_run(out: Path) -> RunStore:
    """A new folder `out`/ID. Raises InputError where it cannot be made or written."""
    run = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    folder = out / run
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise cannot_write(f"runs in {out}", error) from None
    return RunStore(folder)


def is_logs(folder: Path) -> bool:
    """Whether `harness up` keeps its logs there: no run, though it lies among them."""
    return (folder / "endpoints.toml").is_file() and not (folder / MANIFEST_NAME).exists()


def require_idle(folder: Path) -> None:
    """Raises InputError where a process works on the run."""
    with suppress(OSError), (folder / SAMPLES_NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _is_in_use(folder) from None


def find_runs(runs: Iterable[str], out: Path) -> list[Path]:
    """The folders of runs, each once; logs among them are passed over. Raises InputError."""
    chosen = [run for run in runs if not is_logs(Path(run))]
    if not chosen:
        raise InputError("there is no run among these folders")
    return list(dict.fromkeys(find_run(run, out) for run in chosen))


def find_run(run: str, out: Path) -> Path:
    """The folder of a run, by its path or by its ID in `out`. Raises InputError."""
    for folder in (Path(run), out / run):
        if (folder / MANIFEST_NAME).is_file():
            return folder
    known = sorted(path.parent.name for path in out.glob(f"*/{MANIFEST_NAME}"))
    raise unknown_name("run", run, known[-5:])


def _is_in_use(folder: Path) -> InputError:
    return InputError(f"{folder} is being worked on by another process")


def _open_locked(path: Path) -> BinaryIO:
    # Unbuffered: a line is one write, so a killed process tears at most the last one.
    file = path.open("ab", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held the lock may have put another file in its place meanwhile.
        if not _is_at(file, path):
            raise BlockingIOError
    except OSError:
        file.close()
        raise
    return file


def _is_at(file: BinaryIO, path: Path) -> bool:
    return os.path.samestat(os.fstat(file.fileno()), path.stat())


def _append(file: BinaryIO, line: bytes) -> None:
    """In the file, whole, when this returns. Raises IncompleteError with the file as it was."""
    try:
        num_written = file.write(line)
        if num_written != len(line):
            # Behind half a line the next one would be lost too.
            file.truncate(file.tell() - num_written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise IncompleteError(str(cannot_write(file.name, error))) from None


def record_line(record: SampleRecord | ErrorRecord) -> bytes:
    """As it stands in its file, with its newline."""
    # What it is about comes first: lines are read by eye, too.
    named = {"cell": record.cell, "address": record.address, **msgspec.structs.asdict(record)}
    # Not asked, one address: a line is as it was before there were any.
    for name in ("log_probs", "answered_by"):
        if named.get(name) is None:
            named.pop(name, None)
    return msgspec.json.encode(named) + b"\n"
