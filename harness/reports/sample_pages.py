"""Which samples a report shows, and a page for each: collected while the runs are read."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness.errors import InputError, cannot_write
from harness.reports.collect import Visitor
from harness.reports.document import document, write_document
from harness.reports.notation import notations
from harness.runs.manifest import Manifest
from harness.runs.records import SampleRecord

# Of every cell, the first so many.
MAX_WRONG: Final = 20
MAX_RIGHT: Final = 10


class Picks:
    """The samples that a report shows, by run and cell; no more than the caps are kept."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], list[SampleRecord]] = {}

    def visitor(self, manifest: Manifest) -> Visitor:
        """Takes the samples of one run."""
        num: dict[tuple[str, bool], int] = {}

        def visit(record: SampleRecord) -> None:
            is_right = record.is_correct
            taken = num.get((record.cell, is_right), 0)
            if taken < (MAX_RIGHT if is_right else MAX_WRONG):
                num[record.cell, is_right] = taken + 1
                self._records.setdefault((manifest.run, record.cell), []).append(record)

        return visit

    def of(self, run: str, cell: str) -> list[SampleRecord]:
        """Wrong ones first."""
        records = self._records.get((run, cell), [])
        return sorted(records, key=lambda record: record.is_correct)


class OneSample:
    """Every completion of one sample, over all cells and runs."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._found: list[tuple[str, SampleRecord]] = []

    def visitor(self, manifest: Manifest) -> Visitor:
        """Takes the samples of one run."""

        def visit(record: SampleRecord) -> None:
            if record.address == self.address:
                self._found.append((manifest.run, record))

        return visit

    def page(self, runs: Sequence[str]) -> str:
        """The completions of these runs. Raises InputError where they have none."""
        found = [(run, record) for run, record in self._found if run in runs]
        if not found:
            raise InputError(
                f"no sample '{self.address}' in {', '.join(runs) or 'what could be read'}; "
                "a report names its samples, like assoc_recall/alphabet=128,size=16/test/"
                "seed=0/index=3"
            )
        return document("samples.html", **_values(self.address, found, {}))


class SamplePages:
    """Writes a page a sample as they come by, and at the end a list a cell.

    `report`: from the folder to the page of the report.
    """

    def __init__(self, folder: Path, report: str) -> None:
        self.folder = folder
        self._report = report
        # By run and cell: its last sample, which waits for the next, with the page before it; and
        # the addresses by verdict.
        self._waiting: dict[tuple[str, str], tuple[SampleRecord, str | None]] = {}
        self._addresses: dict[tuple[str, str], dict[str, list[str]]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(f"sample pages to {folder}", error) from None

    def visitor(self, manifest: Manifest) -> Visitor:
        """Writes the samples of one run."""

        def visit(record: SampleRecord) -> None:
            key = (manifest.run, record.cell)
            previous = self._write_waiting(key, page_name(*key, record.name))
            self._waiting[key] = (record, previous)
            lists = self._addresses.setdefault(key, {})
            lists.setdefault(record.verdict.value, []).append(record.name)

        return visit

    def finish(self) -> None:
        """Writes what waits, and the lists."""
        for (run, cell), lists in self._addresses.items():
            self._write_waiting((run, cell), None)
            write_document(
                self.folder / page_name(run, cell),
                "cell.html",
                title=f"{cell} of run {run}",
                report=self._report,
                lists={
                    verdict: [(one, page_name(run, cell, one)) for one in addresses]
                    for verdict, addresses in sorted(lists.items())
                },
            )

    def _write_waiting(self, key: tuple[str, str], following: str | None) -> str | None:
        """The page that waits for what follows it; returns its name, None where none waits."""
        if key not in self._waiting:
            return None
        (run, cell), (record, previous) = key, self._waiting.pop(key)
        name = page_name(run, cell, record.name)
        links = {
            "back to the report": self._report,
            "all of this cell": page_name(run, cell),
            "previous": previous,
            "next": following,
        }
        path = self.folder / name
        write_document(path, "samples.html", **_values(record.name, [(run, record)], links))
        return name


def page_name(run: str, cell: str, address: str = "") -> str:
    """The file of a sample's page, or without an address of its cell's list."""
    digest = hashlib.sha256("\n".join([run, cell, address]).encode()).hexdigest()[:20]
    return f"{'sample' if address else 'cell'}-{digest}.html"


def _values(
    address: str, completions: Sequence[tuple[str, SampleRecord]], links: Mapping[str, str | None]
) -> dict[str, Any]:
    """What samples.html shows: completions of one sample, with their runs."""
    return {
        "title": address,
        "links": links,
        "notations": notations([address.partition("/")[0]]),
        "completions": completions,
    }
