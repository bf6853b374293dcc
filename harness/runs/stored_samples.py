"""The stored samples of a run, one at a time, each known to be whole."""

from collections.abc import Iterator
from pathlib import Path

from harness.runs.key_set import KeySet, Row, split_address
from harness.runs.lines import Line, damaged_line, read_lines
from harness.runs.manifest import Manifest
from harness.runs.mending import first_hashes, said_twice
from harness.runs.records import Key, SampleKey, SampleRecord
from harness.runs.store import ERRORS_NAME, SAMPLES_NAME
from harness.sample import Address
from harness.tasks import TASKS
from harness.tasks.parameters import parameters_of


def read_samples(folder: Path, manifest: Manifest) -> Iterator[SampleRecord]:
    """The lines of samples.jsonl, in their order; what a crash or a copy left there is passed over.

    Raises DamagedError naming the line that is no sample, belongs to no cell of the run, or says
    something else of a sample than a line before it.
    """
    return (line.value for line in read_sample_lines(folder, manifest))


def read_sample_lines(folder: Path, manifest: Manifest) -> Iterator[Line[SampleRecord]]:
    """`read_samples`, each with its line as it stands. Raises DamagedError."""
    path = folder / SAMPLES_NAME
    seen = _Seen(manifest)
    firsts: dict[Key, int] = {}
    for line in read_lines(path, SampleRecord):
        try:
            is_new = seen.add(line.value)
        except ValueError as error:
            raise damaged_line(path, line.number, str(error)) from None
        if is_new:
            yield line
            continue
        # Seldom needed, and then for many lines: read once more, not kept for every sample.
        firsts = firsts or first_hashes(path)
        if firsts[line.value.key] != hash(line.text):
            raise damaged_line(path, line.number, said_twice(line.value))


def require_asked(folder: Path, manifest: Manifest, keys: KeySet) -> None:
    """Raises DamagedError where the keys of the samples are not all the run's.

    Of a long run it is much quicker than reading its samples.
    """
    if not _Seen(manifest).has_all(keys):
        for _ in read_samples(folder, manifest):
            pass  # It names the line.


def read_failed(folder: Path) -> set[Key]:
    """The key of every sample that errored at some time. Raises DamagedError."""
    return {line.value.key for line in read_lines(folder / ERRORS_NAME, SampleKey)}


class _Seen:
    """The samples so far."""

    def __init__(self, manifest: Manifest) -> None:
        self._cells = {cell.key: cell for cell in manifest.cells}
        self._options = manifest.options
        self._keys = KeySet()
        self._known: set[Row] = set()

    def add(self, record: SampleRecord) -> bool:
        """Whether it is new. Raises ValueError for a sample of no cell, or without an address."""
        start, index = split_address(record.address)
        row = (record.cell, start, record.repeat)
        if row not in self._known:
            self._require_asked(record)
            self._known.add(row)
        if index is None or not self._asks(index):
            raise ValueError(f"the run does not ask sample {record.address}")
        return self._keys.add(record.key)

    def has_all(self, keys: KeySet) -> bool:
        """Whether `add` would take a sample of each."""
        num = 0
        for (cell, start, repeat), indices in keys.rows():
            try:
                self._require_asked(SampleKey(cell=cell, address=f"{start}=0", repeat=repeat))
            except ValueError:
                return False
            for index in indices:
                if not self._asks(index):
                    return False
                num += 1
        return num == len(keys)

    def _asks(self, index: int) -> bool:
        options = self._options
        return index < options.samples and (options.shard is None or options.shard.has(index))

    def _require_asked(self, record: SampleRecord | SampleKey) -> None:
        """Of the address all but the index: it is of the cell, and of the run's seed."""
        if record.cell not in self._cells:
            raise ValueError(f"the run has no cell '{record.cell}'")
        cell = self._cells[record.cell]
        try:
            address = Address.from_key(record.address)
        except ValueError:
            raise ValueError(f"'{record.address}' is no address of a sample") from None
        given = {**cell.parameters, "size": cell.size}
        parameters = dict(address.parameters)
        # Of late parameters an address says nothing where they are 0.
        unsaid = dict.fromkeys(given, 0)
        is_asked = (address.task, address.seed) == (cell.task, self._options.seed)
        is_asked = is_asked and record.repeat < self._options.repeats
        if not is_asked or given.items() - {**unsaid, **parameters}.items():
            raise ValueError(f"{record.cell} does not ask sample {record.address}")
        if not all(0 <= value < 2**63 for value in parameters.values()):
            raise ValueError(f"{record.address} has a parameter out of range")
        kind = TASKS.get(address.task)
        for name, parameter in ({} if kind is None else parameters_of(kind)).items():
            if name in parameters and not parameter.allows(parameters[name], cell.size):
                raise ValueError(f"{record.address}: {name} {parameters[name]} is out of range")
