"""summary.json, and the rows that `--json` prints: recomputed from the stored samples alone."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
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
from harness.runs.run_limits import Limits
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
    limits: Limits = field(default_factory=Limits)

    @property
    def tokens_spent(self) -> int:
        """Of all rows."""
        return sum(cell.metrics.tokens_spent for cell in self.cells)

    @property
    def cost(self) -> float | None:
        """Of all rows; None where one has no prices."""
        costs = [cell.metrics.cost for cell in self.cells]
        return None if None in costs else sum(cost or 0.0 for cost in costs)

    @property
    def is_complete(self) -> bool:
        """Nothing is left for `--resume`."""
        return self.num_missing == 0


def _pass_by(_record: SampleRecord) -> None:
    pass


def summarize(
    folder: Path,
    visit: Callable[[SampleRecord], None] = _pass_by,
    *,
    limits: Limits | None = None,
) -> RunResult:
    """Reads a run sample by sample, and shows each stored one to `visit`.

    `limits`: in the place of the run's own. Raises InputError for a damaged run.
    """
    manifest = read_manifest(folder)
    manifest = manifest if limits is None else replace(manifest, limits=limits)
    found = {cell.key: _accumulator(manifest, cell) for cell in manifest.cells}
    addresses: dict[str, str] = {}
    failed = read_failed(folder)
    # The index of the last sample of each cell.
    last: dict[str, int] = {}
    for record in read_samples(folder, manifest):
        found[record.cell].add(record)
        addresses.setdefault(record.cell, record.address)
        last[record.cell] = max(last.get(record.cell, 0), int(record.address.rpartition("=")[2]))
        failed.discard(record.key)
        visit(record)
    num_stored = sum(cell.n for cell in found.values())
    cells = _results(manifest, found, addresses, Counter(cell for cell, *_ in failed))
    num_spared = sum(_num_spared(manifest, cell, last) for cell in cells)
    return RunResult(
        cells=cells,
        num_missing=manifest.num_samples - num_spared - num_stored,
        refused=manifest.refused,
        limits=manifest.limits,
    )


def _num_spared(manifest: Manifest, cell: CellResult, last: Mapping[str, int]) -> int:
    """Samples behind the last stored one, where a rule says that those before it are enough."""
    if cell.metrics.stopped_by is None:
        return 0
    num_asked = last[cell.asked.key] + 1
    return (manifest.options.samples - num_asked) * manifest.options.repeats


def write_summary(folder: Path, result: RunResult) -> None:
    """Writes summary.json; whatever it said before is of no interest.

    Raises IncompleteError where it cannot be written: the samples are stored nevertheless.
    """
    value = {
        "complete": result.is_complete,
        "missing": result.num_missing,
        "prompt_tokens_total": sum(c.metrics.prompt_tokens_total for c in result.cells),
        "generated_tokens_total": sum(c.metrics.generated_tokens_total for c in result.cells),
        "tokens_spent": result.tokens_spent,
        "cost": result.cost,
        "limits": asdict(result.limits),
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
        rule=manifest.rule(cell),
        prices=manifest.prices(cell.endpoint),
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
