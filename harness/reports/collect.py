"""Reads runs for a report: every figure is recomputed from the stored samples, one at a time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import InputError
from harness.runs.lines import DamagedError
from harness.runs.manifest import Manifest, OtherFormatError, read_manifest, require_another_run
from harness.runs.records import SampleRecord
from harness.runs.results import CellResult
from harness.runs.summary import summarize


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRun:
    """One run that could be read."""

    number: int
    folder: Path
    manifest: Manifest
    num_missing: int
    cells: tuple[CellResult, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Runs in the order given; `damaged` are the messages of those that could not be read."""

    runs: tuple[ReportRun, ...]
    damaged: tuple[str, ...]

    @property
    def cells(self) -> tuple[CellResult, ...]:
        """The rows of all runs."""
        return tuple(cell for run in self.runs for cell in run.cells)


# Made for each run, and called with each of its samples; thrown away if the run is damaged.
Visitor = Callable[[SampleRecord], None]


def read_report(folders: Sequence[Path], visitor: Callable[[Manifest], Visitor]) -> Report:
    """Reads every run once. A damaged one is left out and told of in `damaged`.

    Raises InputError where two folders hold the same run.
    """
    read: list[ReportRun] = []
    damaged: list[str] = []
    for folder in folders:
        try:
            manifest = _manifest(folder)
            known = {other.manifest.run: other.folder for other in read}
            require_another_run(manifest.run, folder, known)
            read.append(_read_run(folder, manifest, len(read) + 1, visitor(manifest)))
        except DamagedError as error:
            damaged.append(str(error))
    names = _ambiguous_names(cell for run in read for cell in run.cells)
    runs = tuple(
        replace(run, cells=tuple(_labelled(cell, names) for cell in run.cells)) for run in read
    )
    return Report(runs=runs, damaged=tuple(damaged))


def _manifest(folder: Path) -> Manifest:
    try:
        return read_manifest(folder)
    except OtherFormatError as error:
        raise DamagedError(str(error)) from None
    except InputError as error:
        raise DamagedError(
            f"{error}\nWithout its manifest nothing says what a run asked: restore the file from "
            "a copy, or leave this run out"
        ) from None


def _read_run(folder: Path, manifest: Manifest, number: int, visit: Visitor) -> ReportRun:
    result = summarize(folder, visit)
    return ReportRun(
        number=number,
        folder=folder,
        manifest=manifest,
        num_missing=result.num_missing,
        cells=tuple(replace(cell, number=number) for cell in result.cells),
    )


def _ambiguous_names(cells: Iterable[CellResult]) -> set[str]:
    """The endpoint names that need their run beside them: another model, or a cell twice."""
    known: dict[str, tuple[str, int, str]] = {}
    seen: set[str] = set()
    ambiguous: set[str] = set()
    for cell in cells:
        key, name = cell.asked.key, cell.asked.endpoint
        if key in seen or known.setdefault(name, cell.weights) != cell.weights:
            ambiguous.add(name)
        seen.add(key)
    return ambiguous


def _labelled(cell: CellResult, ambiguous: set[str]) -> CellResult:
    name = cell.asked.endpoint
    label = f"{name} (run {cell.number})" if name in ambiguous else name
    return replace(cell, label=label)
