"""The stored samples of a run, one at a time, each known to be whole."""

from collections.abc import Iterator
from pathlib import Path

from harness.runs.lines import damaged_line, read_lines
from harness.runs.manifest import Manifest
from harness.runs.records import SampleKey, SampleRecord
from harness.runs.store import ERRORS_NAME, SAMPLES_NAME
from harness.sample import Address


def read_samples(folder: Path, manifest: Manifest) -> Iterator[SampleRecord]:
    """The lines of samples.jsonl, in their order; a torn last one is left out.

    Raises DamagedError naming the line that is no sample, belongs to no cell of the run, or is
    there twice.
    """
    return (record for _, record in read_sample_lines(folder, manifest))


def read_sample_lines(folder: Path, manifest: Manifest) -> Iterator[tuple[bytes, SampleRecord]]:
    """`read_samples`, each with its line as it stands. Raises DamagedError."""
    path = folder / SAMPLES_NAME
    seen = _Seen(manifest)
    for number, (line, record) in enumerate(read_lines(path, SampleRecord), start=1):
        try:
            seen.add(record)
        except ValueError as error:
            raise damaged_line(path, number, str(error)) from None
        yield line, record


def read_failed(folder: Path) -> set[tuple[str, str, int]]:
    """The key of every sample that errored at some time. Raises DamagedError."""
    return {key.key for _, key in read_lines(folder / ERRORS_NAME, SampleKey)}


class _Seen:
    """The samples so far, as their indices: a run may have millions."""

    def __init__(self, manifest: Manifest) -> None:
        self._cells = {cell.key: cell for cell in manifest.cells}
        self._seed, self._num_samples = manifest.options.seed, manifest.options.samples
        self._repeats = manifest.options.repeats
        # By cell, address without its index, and repeat.
        self._indices: dict[tuple[str, str, int], set[int]] = {}

    def add(self, record: SampleRecord) -> None:
        """Raises ValueError for a sample of no cell, without an address, or seen before."""
        if record.cell not in self._cells:
            raise ValueError(f"the run has no cell '{record.cell}'")
        start, _, index = record.address.rpartition("=")
        key = (record.cell, start, record.repeat)
        if key not in self._indices:
            self._require_asked(record)
        if not (index.isascii() and index.isdigit() and int(index[:20]) < self._num_samples):
            raise ValueError(f"the run does not ask sample {record.address}")
        indices = self._indices.setdefault(key, set())
        if int(index) in indices:
            raise ValueError(f"sample {record.address} of {record.cell} is there twice")
        indices.add(int(index))

    def _require_asked(self, record: SampleRecord) -> None:
        """Of the address all but the index: it is of the cell, and of the run's seed."""
        cell = self._cells[record.cell]
        try:
            address = Address.from_key(record.address)
        except ValueError:
            raise ValueError(f"'{record.address}' is no address of a sample") from None
        given = {**cell.parameters, "size": cell.size}
        parameters = dict(address.parameters)
        is_asked = (address.task, address.seed) == (cell.task, self._seed)
        is_asked = is_asked and record.repeat < self._repeats
        if not is_asked or given.items() - parameters.items():
            raise ValueError(f"{record.cell} does not ask sample {record.address}")
        if not all(0 <= value < 2**63 for value in parameters.values()):
            raise ValueError(f"{record.address} has a parameter out of range")
