"""Reads runs for a report: every figure is recomputed from the stored samples, one at a time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.runs.manifest import FILE_NAME, Manifest, read_manifest
from harness.runs.reading import DamagedError
from harness.runs.summary import CellResult, summarize
from harness.sample import Address
from harness.scoring.aggregate import Metrics
from harness.scoring.bound import bits_needed, recall_bound

Line = dict[str, Any]

# Tasks that ask for one of `size` values, each drawn evenly from `alphabet` words.
_ONE_OF_MANY: frozenset[str] = frozenset({"assoc_recall", "index"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportCell:
    """A row of a report: the result, and what of the run it takes to compare it with others."""

    result: CellResult
    # Its run, counted from 1 in the report.
    number: int
    seed: int
    digest: str
    # The endpoint's name, with the run where the name alone would mean two things.
    label: str
    # Of the task, as the samples' addresses have them; empty where there is no sample.
    parameters: dict[str, int] = field(default_factory=dict)

    @property
    def metrics(self) -> Metrics:
        """The figures."""
        return self.result.metrics

    @property
    def way(self) -> str:
        """Prompting, with the kind of search and a style that is not the usual one."""
        return self.result.cell.way.name

    @property
    def state_bytes(self) -> float | None:
        """What the state takes at the end of a sample of mean length; None where unknown."""
        metrics, per_token = self.metrics, self.result.state_bytes_per_token or 0
        lengths = (
            metrics.prompt_tokens_per_sample,
            metrics.generated_tokens_per_sample,
            metrics.inserted_tokens_per_sample,
        )
        grown = per_token * sum(length or 0.0 for length in lengths)
        return ((self.result.state_bytes or 0) + grown) or None

    @property
    def bound(self) -> float | None:
        """At most so much recall is possible with that state; None where no bound is known."""
        words = self._num_words
        if words is None or self.state_bytes is None:
            return None
        return recall_bound(8 * self.state_bytes, self.result.cell.size, words)

    @property
    def bits_shown(self) -> float | None:
        """The state carried at least so many bits, by the lower end of the interval."""
        words = self._num_words
        if words is None or not self.metrics.n:
            return None
        return bits_needed(self.metrics.ci95[0], self.result.cell.size, words)

    @property
    def _num_words(self) -> int | None:
        cell = self.result.cell
        # A search reads the context again: no bound on the state is one on the answer then.
        if cell.task not in _ONE_OF_MANY or cell.retrieval is not None:
            return None
        return self.parameters.get("alphabet")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRun:
    """One run that could be read."""

    number: int
    folder: Path
    manifest: Manifest
    num_missing: int
    cells: tuple[ReportCell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Runs in the order given; `damaged` are the messages of those that could not be read."""

    runs: tuple[ReportRun, ...]
    damaged: tuple[str, ...]

    @property
    def cells(self) -> tuple[ReportCell, ...]:
        """The rows of all runs."""
        return tuple(cell for run in self.runs for cell in run.cells)


# Made for each run, and called with each of its samples; thrown away if the run is damaged.
Visitor = Callable[[Line], None]


def read_report(folders: Sequence[Path], visitor: Callable[[Manifest], Visitor]) -> Report:
    """Reads every run once. A damaged one is left out and told of in `damaged`.

    Raises InputError where two folders hold the same run.
    """
    read: list[ReportRun] = []
    damaged: list[str] = []
    for folder in folders:
        try:
            manifest = _manifest(folder)
            for other in read:
                if other.manifest.run == manifest.run:
                    raise InputError(f"{other.folder} and {folder} are the same run: name one")
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
        manifest = read_manifest(folder)
        for cell in manifest.cells:
            manifest.model(cell.endpoint)
    except (InputError, StopIteration) as error:
        reason = str(error) or f"{folder / FILE_NAME}: a cell has an endpoint that is not there"
        raise DamagedError(
            f"{reason}\nWithout its manifest nothing says what a run asked: restore the file from "
            "a copy, or leave this run out"
        ) from None
    return manifest


def _read_run(folder: Path, manifest: Manifest, number: int, visit: Visitor) -> ReportRun:
    parameters: dict[str, dict[str, int]] = {}

    def on_line(line: Line) -> None:
        if line["cell"] not in parameters:
            parameters[line["cell"]] = dict(Address.from_key(line["address"]).parameters)
        visit(line)

    result = summarize(folder, on_line)
    cells = tuple(
        ReportCell(
            result=cell,
            number=number,
            seed=manifest.options.seed,
            digest=str(manifest.model(cell.cell.endpoint).get("checkpoint_digest") or ""),
            label=cell.cell.endpoint,
            parameters=parameters.get(cell.cell.key, {}),
        )
        for cell in result.cells
    )
    return ReportRun(
        number=number,
        folder=folder,
        manifest=manifest,
        num_missing=result.num_missing,
        cells=cells,
    )


def _ambiguous_names(cells: Iterable[ReportCell]) -> set[str]:
    """The endpoint names that need their run beside them: another model, or a cell twice."""
    digests: dict[str, str] = {}
    seen: set[str] = set()
    ambiguous: set[str] = set()
    for cell in cells:
        key, name = cell.result.cell.key, cell.result.cell.endpoint
        if key in seen or digests.setdefault(name, cell.digest) != cell.digest:
            ambiguous.add(name)
        seen.add(key)
    return ambiguous


def _labelled(cell: ReportCell, ambiguous: set[str]) -> ReportCell:
    name = cell.result.cell.endpoint
    label = f"{name} (run {cell.number})" if name in ambiguous else name
    return replace(cell, label=label)
