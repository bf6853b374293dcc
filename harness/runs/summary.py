"""summary.json, and the rows that `--json` prints: recomputed from the stored samples alone."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from harness.runs.cell import Cell
from harness.runs.manifest import Manifest, read_manifest
from harness.runs.reading import read_failed, read_samples
from harness.runs.records import scored_from_json
from harness.runs.refused import Refused
from harness.scoring.aggregate import Metrics, Scored, aggregate

FILE_NAME: Final = "summary.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class CellResult:
    """One row of a result, with what the endpoint's GetModel said of its model."""

    run: str
    family: str
    num_parameters: int
    state_bytes: int
    cell: Cell
    metrics: Metrics
    # What a sequence's state grows by with every token, on top of `state_bytes`.
    state_bytes_per_token: int = 0

    def as_json(self) -> dict[str, Any]:
        """The keys are a contract (docs: Command line)."""
        cell, metrics = self.cell, self.metrics
        return {
            "run": self.run,
            "endpoint": cell.endpoint,
            "family": self.family,
            "task": cell.task,
            "size": cell.size,
            "parameters": cell.parameters,
            "prompting": cell.prompting.value,
            "retrieval": cell.retrieval.value if cell.retrieval else None,
            "style": cell.style.value,
            "n": metrics.n,
            "correct": metrics.correct,
            "accuracy": metrics.accuracy,
            "ci95": list(metrics.ci95),
            "no_answer": metrics.no_answer,
            "truncated": metrics.truncated,
            "errored": metrics.errored,
            "tokens_per_s": _rounded(metrics.tokens_per_s),
            "ttft_ms_p50": _rounded(metrics.ttft_ms_p50),
            "searches_per_sample": metrics.searches_per_sample,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """All rows; complete where every sample of every cell is there. `refused` have no row."""

    cells: tuple[CellResult, ...]
    num_missing: int
    refused: tuple[Refused, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Nothing is left for `--resume`."""
        return self.num_missing == 0


def _pass_by(_line: dict[str, Any]) -> None:
    pass


def summarize(folder: Path, visit: Callable[[dict[str, Any]], None] = _pass_by) -> RunResult:
    """Reads a run sample by sample, and shows each stored one to `visit`.

    Raises InputError for a damaged run.
    """
    manifest = read_manifest(folder)
    scored: dict[str, list[Scored]] = defaultdict(list)
    failed = read_failed(folder)
    for line in read_samples(folder, manifest):
        scored[line["cell"]].append(scored_from_json(line))
        failed.discard((line["cell"], line["address"]))
        visit(line)
    results = tuple(
        _cell_result(manifest, cell, scored[cell.key], failed) for cell in manifest.cells
    )
    return RunResult(
        cells=results,
        num_missing=manifest.options.samples * len(manifest.cells) - sum(map(len, scored.values())),
        refused=manifest.refused,
    )


def write_summary(folder: Path, result: RunResult) -> None:
    """Writes summary.json; whatever it said before is of no interest."""
    value = {
        "complete": result.is_complete,
        "missing": result.num_missing,
        "cells": [cell.as_json() for cell in result.cells],
        "refused": [asdict(one) for one in result.refused],
    }
    (folder / FILE_NAME).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _cell_result(
    manifest: Manifest, cell: Cell, scored: list[Scored], failed: set[tuple[str, str]]
) -> CellResult:
    errored = sum(key == cell.key for key, _ in failed)
    model = manifest.model(cell.endpoint)
    return CellResult(
        run=manifest.run,
        family=model["family"],
        num_parameters=model["num_parameters"],
        state_bytes=model["state_bytes"],
        state_bytes_per_token=model.get("state_bytes_per_token", 0),
        cell=cell,
        metrics=aggregate(scored, errored=errored),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
