"""Which samples a report shows, and a page for each: collected while the runs are read."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.errors import InputError
from harness.reports.collect import Visitor
from harness.reports.document import END, document
from harness.reports.html import Markup, escape, tag
from harness.reports.sample_body import KEY, sample_body, verdict
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
        bodies = [_completion(run, record) for run, record in found]
        return document(self.address, KEY, bodies)


class SamplePages:
    """Writes a page a sample and a list a cell into a folder, as the samples come by."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._begun: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write sample pages to {folder}: {error}") from None

    def visitor(self, manifest: Manifest) -> Visitor:
        """Writes the samples of one run."""

        def visit(record: SampleRecord) -> None:
            name = page_name(manifest.run, record.cell, record.address)
            body = document(record.address, KEY, _completion(manifest.run, record))
            try:
                (self.folder / name).write_text(body, encoding="utf-8")
                self._list(manifest.run, record, name)
            except OSError as error:
                raise InputError(f"cannot write sample pages to {self.folder}: {error}") from None

        return visit

    def finish(self) -> None:
        """Ends the lists."""
        for name in self._begun:
            self._append(self.folder / name, END)

    def _list(self, run: str, record: SampleRecord, name: str) -> None:
        """A line in the list of its cell."""
        path = self.folder / page_name(run, record.cell)
        if path.name not in self._begun:
            self._begun.add(path.name)
            begin = document(f"{record.cell} of run {run}").removesuffix(END)
            path.write_text(begin, encoding="utf-8")
        entry = tag("p", tag("a", record.address, href=name), " ", verdict(record))
        self._append(path, f"{entry}\n")

    def _append(self, path: Path, text: str) -> None:
        # Opened each time: a run has more cells than a process may have open files.
        with path.open("a", encoding="utf-8") as file:
            file.write(text)


def page_name(run: str, cell: str, address: str = "") -> str:
    """The file of a sample's page, or without an address of its cell's list."""
    digest = hashlib.sha256("\n".join([run, cell, address]).encode()).hexdigest()[:20]
    return f"{'sample' if address else 'cell'}-{digest}.html"


def _completion(run: str, record: SampleRecord) -> Markup:
    heading = tag("h2", f"{record.cell} ", verdict(record))
    return tag(
        "section", heading, tag("p", "run ", escape(run), class_="note"), sample_body(record)
    )
