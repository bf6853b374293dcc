"""Which samples a report shows, and a page for each: collected while the runs are read."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.errors import InputError
from harness.reports.collect import Line, Visitor
from harness.reports.document import END, document
from harness.reports.html import Markup, escape, tag
from harness.reports.sample_body import KEY, sample_body, verdict
from harness.runs.manifest import Manifest

# Of every cell, the first so many.
MAX_WRONG: Final = 20
MAX_RIGHT: Final = 10


class Picks:
    """The samples that a report shows, by run and cell; no more than the caps are kept."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], list[Line]] = {}

    def visitor(self, manifest: Manifest) -> Visitor:
        """Takes the samples of one run."""
        num: dict[tuple[str, bool], int] = {}

        def visit(line: Line) -> None:
            is_right = line["verdict"] == "correct"
            taken = num.get((line["cell"], is_right), 0)
            if taken < (MAX_RIGHT if is_right else MAX_WRONG):
                num[line["cell"], is_right] = taken + 1
                self._lines.setdefault((manifest.run, line["cell"]), []).append(line)

        return visit

    def of(self, run: str, cell: str) -> list[Line]:
        """Wrong ones first."""
        lines = self._lines.get((run, cell), [])
        return sorted(lines, key=lambda line: line["verdict"] == "correct")


class OneSample:
    """Every completion of one sample, over all cells and runs."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._found: list[tuple[str, Line]] = []

    def visitor(self, manifest: Manifest) -> Visitor:
        """Takes the samples of one run."""

        def visit(line: Line) -> None:
            if line["address"] == self.address:
                self._found.append((manifest.run, line))

        return visit

    def page(self, runs: Sequence[str]) -> str:
        """The completions of these runs. Raises InputError where they have none."""
        found = [(run, line) for run, line in self._found if run in runs]
        if not found:
            raise InputError(
                f"no sample '{self.address}' in {', '.join(runs) or 'what could be read'}; "
                "a report names its samples, like assoc_recall/alphabet=128,size=16/test/"
                "seed=0/index=3"
            )
        bodies = [_completion(run, line) for run, line in found]
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

        def visit(line: Line) -> None:
            name = page_name(manifest.run, line["cell"], line["address"])
            body = document(line["address"], KEY, _completion(manifest.run, line))
            try:
                (self.folder / name).write_text(body, encoding="utf-8")
                self._list(manifest.run, line, name)
            except OSError as error:
                raise InputError(f"cannot write sample pages to {self.folder}: {error}") from None

        return visit

    def finish(self) -> None:
        """Ends the lists."""
        for name in self._begun:
            self._append(self.folder / name, END)

    def _list(self, run: str, line: Line, name: str) -> None:
        """A line in the list of its cell."""
        path = self.folder / page_name(run, line["cell"])
        if path.name not in self._begun:
            self._begun.add(path.name)
            begin = document(f"{line['cell']} of run {run}").removesuffix(END)
            path.write_text(begin, encoding="utf-8")
        entry = tag("p", tag("a", line["address"], href=name), " ", verdict(line))
        self._append(path, f"{entry}\n")

    def _append(self, path: Path, text: str) -> None:
        # Opened each time: a run has more cells than a process may have open files.
        with path.open("a", encoding="utf-8") as file:
            file.write(text)


def page_name(run: str, cell: str, address: str = "") -> str:
    """The file of a sample's page, or without an address of its cell's list."""
    digest = hashlib.sha256("\n".join([run, cell, address]).encode()).hexdigest()[:20]
    return f"{'sample' if address else 'cell'}-{digest}.html"


def _completion(run: str, line: Line) -> Markup:
    heading = tag("h2", f"{line['cell']} ", verdict(line))
    return tag("section", heading, tag("p", "run ", escape(run), class_="note"), sample_body(line))
