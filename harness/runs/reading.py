"""The stored samples of a run, one at a time, each known to be whole."""

from collections.abc import Iterator
from pathlib import Path

from harness.errors import InputError
from harness.runs.lines import read_lines
from harness.runs.manifest import Manifest
from harness.runs.records import SampleKey, SampleRecord
from harness.runs.store import ERRORS_NAME, SAMPLES_NAME
from harness.sample import Address


class DamagedError(InputError):
    """A file of a run does not say what it should; the message says what to do."""


def damaged_file(path: Path, reason: str) -> DamagedError:
    """The error for a file of lines."""
    return DamagedError(
        f"{path} is damaged: {reason}. Restore it from a copy, or delete what is wrong in it: "
        f"what is missing then is asked again by harness eval --resume {path.parent}"
    )


def read_samples(folder: Path, manifest: Manifest) -> Iterator[SampleRecord]:
    """The lines of samples.jsonl, in their order; a torn last one is left out.

    Raises DamagedError naming the line that is no sample, belongs to no cell of the run, or is
    there twice.
    """
    return (record for _, record in read_sample_lines(folder, manifest))


def read_sample_lines(folder: Path, manifest: Manifest) -> Iterator[tuple[bytes, SampleRecord]]:
    """`read_samples`, each with its line as it stands. Raises DamagedError."""
    path = folder / SAMPLES_NAME
    seen = _Seen({cell.key for cell in manifest.cells})
    try:
        for number, (line, record) in enumerate(read_lines(path, SampleRecord), start=1):
            try:
                seen.add(record)
            except ValueError as error:
                raise damaged_file(path, f"line {number}: {error}") from None
            yield line, record
    except DamagedError:
        raise
    except (InputError, OSError) as error:
        raise damaged_file(path, _without_path(error, path)) from None


def read_failed(folder: Path) -> set[tuple[str, str]]:
    """(cell, address) of every sample that errored at some time. Raises DamagedError."""
    path = folder / ERRORS_NAME
    try:
        return {(error.cell, error.address) for _, error in read_lines(path, SampleKey)}
    except (InputError, OSError) as error:
        raise damaged_file(path, _without_path(error, path)) from None


class _Seen:
    """The samples so far, as their indices: a run may have millions."""

    def __init__(self, cells: set[str]) -> None:
        self._cells = cells
        # By cell, and address without its index.
        self._indices: dict[tuple[str, str], set[int]] = {}

    def add(self, record: SampleRecord) -> None:
        """Raises ValueError for a sample of no cell, without an address, or seen before."""
        if record.cell not in self._cells:
            raise ValueError(f"the run has no cell '{record.cell}'")
        start, _, index = record.address.rpartition("=")
        if (record.cell, start) not in self._indices:
            _require_address(record.address)
        indices = self._indices.setdefault((record.cell, start), set())
        if int(index) in indices:
            raise ValueError(f"sample {record.address} of {record.cell} is there twice")
        indices.add(int(index))


def _require_address(key: str) -> None:
    try:
        Address.from_key(key)
    except ValueError:
        raise ValueError(f"'{key}' is no address of a sample") from None


def _without_path(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}, ")
