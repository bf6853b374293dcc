"""summary.json, and the rows that `--json` prints: recomputed from the stored samples alone."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from harness.errors import HarnessError, IncompleteError
from harness.runs.cell import Cell
from harness.runs.judging import lenient_judge, lie_judge
from harness.runs.manifest import Manifest, read_manifest
from harness.runs.metrics import Accumulator
from harness.runs.records import SampleRecord
from harness.runs.refused import Refused
from harness.runs.results import CellResult
from harness.runs.stored_samples import read_failed, read_samples
from harness.runs.writing import replacing
from harness.sample import Address

FILE_NAME: Final = "summary.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """All rows; `refused` have none.

    Missing are also the samples of cells that were left out because their endpoint was away.
    """

    cells: tuple[CellResult, ...]
    num_missing: int
    refused: tuple[Refused, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Nothing is left for `--resume`."""
        return self.num_missing == 0


def _pass_by(_record: SampleRecord) -> None:
    pass


def summarize(folder: Path, visit: Callable[[SampleRecord], None] = _pass_by) -> RunResult:
    """Reads a run sample by sample, and shows each stored one to `visit`.

    Raises InputError for a damaged run.
    """
    manifest = read_manifest(folder)
    found = {cell.key: _accumulator(manifest, cell) for cell in manifest.cells}
    addresses: dict[str, str] = {}
    failed = read_failed(folder)
    for record in read_samples(folder, manifest):
        found[record.cell].add(record)
        addresses.setdefault(record.cell, record.address)
        failed.discard(record.key)
        visit(record)
    num_stored = sum(cell.n for cell in found.values())
    return RunResult(
        cells=_results(manifest, found, addresses, Counter(cell for cell, *_ in failed)),
        num_missing=manifest.num_samples - num_stored,
        refused=manifest.refused,
    )


def write_summary(folder: Path, result: RunResult) -> None:
    """Writes summary.json; whatever it said before is of no interest.

    Raises IncompleteError where it cannot be written: the samples are stored nevertheless.
    """
    value = {
        "complete": result.is_complete,
        "missing": result.num_missing,
        "prompt_tokens_total": sum(c.metrics.prompt_tokens_total for c in result.cells),
        "generated_tokens_total": sum(c.metrics.generated_tokens_total for c in result.cells),
        "cells": [cell.as_json() for cell in result.cells],
        "refused": [asdict(one) for one in result.refused],
    }
    try:
        with replacing(folder / FILE_NAME) as temporary:
            temporary.write_text(
                json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8"
            )
    except HarnessError as error:
        raise IncompleteError(
            f"{error}. All samples are stored: harness report {folder} shows what they come to"
        ) from None


def _accumulator(manifest: Manifest, cell: Cell) -> Accumulator:
    wording = manifest.wording(cell.task)
    return Accumulator(
        lenient_judge(cell, wording),
        lying=lie_judge(cell, wording),
        repeats=manifest.options.repeats,
        few_targets=manifest.few_targets(cell.task),
    )


def _results(
    manifest: Manifest,
    found: dict[str, Accumulator],
    addresses: dict[str, str],
    num_errored: Counter[str],
) -> tuple[CellResult, ...]:
    return tuple(
        CellResult(
            run=manifest.run,
            asked=cell,
            model=manifest.model(cell.endpoint),
            metrics=found[cell.key].metrics(errored=num_errored[cell.key]),
            seed=manifest.options.seed,
            parameters=_parameters(addresses.get(cell.key)),
            label=cell.endpoint,
        )
        for cell in manifest.cells
    )


def _parameters(address: str | None) -> dict[str, int]:
    return {} if address is None else dict(Address.from_key(address).parameters)
