"""Scores the stored completions of a run anew, without a model."""

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from harness.errors import InputError, unknown_name
from harness.runs.judging import score
from harness.runs.manifest import Manifest, copy_manifest, read_manifest
from harness.runs.store import ERRORS_NAME, SAMPLES_NAME, RunStore, create_run
from harness.runs.stored_samples import read_failed, read_sample_lines
from harness.runs.summary import summarize, write_summary
from harness.runs.writing import replacing
from harness.scoring.exact import Verdict
from harness.scoring.wording import AS_IT_STANDS
from harness.tasks import TASKS

# Of the samples that went from one verdict to another, so many are named.
_MAX_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Samples of a cell that went from one verdict to another, or to another answer of the same."""

    cell: str
    before: Verdict
    after: Verdict
    num_samples: int
    # The first few.
    addresses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescored:
    """What scoring a run anew came to; `folder` None: nothing changed, and no run was written."""

    manifest: Manifest
    folder: Path | None
    num_samples: int
    changes: tuple[Change, ...]
    # What was taken out of the run's files first, in place.
    mended: tuple[str, ...] = ()

    @property
    def num_changed(self) -> int:
        """Samples with another verdict, or another answer."""
        return sum(change.num_samples for change in self.changes)


def rescore(folder: Path, *, in_place: bool) -> Rescored:
    """Writes a run's verdicts anew, into a new run beside it or `in_place`; all else stays.

    Until all is written the run is as it was. Raises InputError for a damaged run, one that is
    worked on (in place), and one with a task that is not known here.
    """
    manifest = read_manifest(folder)
    _require_known_tasks(manifest)
    read_failed(folder)  # what the summary needs besides is whole
    store = RunStore(folder) if in_place else create_run(folder.resolve().parent)
    mended = store.mended
    try:
        with replacing(store.folder / SAMPLES_NAME) as temporary:
            num_samples, changes = _write_samples(folder, manifest, temporary)
        if not in_place and changes:
            _write_manifest(folder, manifest, store)
        # A new run that nothing changed in has no manifest, and so leaves nothing behind.
        is_kept = in_place or bool(changes)
        if is_kept:
            write_summary(store.folder, summarize(store.folder))
    finally:
        store.close()
    return Rescored(
        manifest=manifest,
        folder=store.folder if is_kept else None,
        num_samples=num_samples,
        changes=changes,
        mended=mended,
    )


def _require_known_tasks(manifest: Manifest) -> None:
    for cell in manifest.cells:
        if manifest.wording(cell.task) is None:
            raise InputError(
                f"run {manifest.run}: {unknown_name('task', cell.task, TASKS)}. How its answers "
                "are scored is not known here; nothing was changed"
            )


def _write_samples(folder: Path, manifest: Manifest, path: Path) -> tuple[int, tuple[Change, ...]]:
    """Each line as it stands, but for an answer and a verdict that are others now."""
    cells = {cell.key: cell for cell in manifest.cells}
    wordings = {cell.task: manifest.wording(cell.task) or AS_IT_STANDS for cell in manifest.cells}
    num_changed: Counter[tuple[str, Verdict, Verdict]] = Counter()
    named: dict[tuple[str, Verdict, Verdict], tuple[str, ...]] = {}
    num_samples = 0
    with path.open("wb") as file:
        for line in read_sample_lines(folder, manifest):
            record = line.value
            num_samples += 1
            cell = cells[record.cell]
            answer, verdict = score(record, record.target, cell, wordings[cell.task])
            if (answer, verdict) == (record.answer, record.verdict):
                file.write(line.text)
                continue
            file.write(_changed(line.text, answer=answer, verdict=verdict))
            key = (record.cell, record.verdict, verdict)
            num_changed[key] += 1
            named[key] = (*named.get(key, ()), record.address)[:_MAX_NAMED]
        file.flush()
        os.fsync(file.fileno())
    changes = (
        Change(cell=key[0], before=key[1], after=key[2], num_samples=num, addresses=named[key])
        for key, num in num_changed.items()
    )
    return num_samples, tuple(changes)


def _changed(line: bytes, **fields: Any) -> bytes:
    """Other values of some fields; the rest stays byte for byte, known here or not."""
    stored = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**stored, **fields}) + b"\n"


def _write_manifest(folder: Path, manifest: Manifest, store: RunStore) -> None:
    if (folder / ERRORS_NAME).exists():
        with replacing(store.folder / ERRORS_NAME) as temporary:
            shutil.copyfile(folder / ERRORS_NAME, temporary)
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    changes = {"run": store.run, "created_at": created_at, "rescored_from": manifest.run}
    copy_manifest(folder, store.folder, changes)
