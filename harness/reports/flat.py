"""A stored sample as one flat row, for data frames and spreadsheets."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from harnessapi.values import ModelDescription
from msgspec import json
from msgspec.structs import asdict

from harness.clients.completion import COUNTS
from harness.clients.scored_token import total_log_prob
from harness.runs.cell import Cell
from harness.runs.judging import Judge, lenient_judge, lie_judge
from harness.runs.manifest import Manifest, read_manifest
from harness.runs.records import SampleRecord
from harness.runs.results import CellResult
from harness.runs.stored_samples import read_samples
from harness.runs.summary import summarize
from harness.runs.waits import interval_fields
from harness.sample import Address

Value = str | int | float | bool | None
Row = dict[str, Value]

# Every column, in order, with the type of its values; any of them may be None.
COLUMNS: Final[dict[str, type]] = {
    "run": str,
    "endpoint": str,
    "family": str,
    "checkpoint_digest": str,
    "num_parameters": int,
    "state_bytes": int,
    "state_bytes_per_token": int,
    "task": str,
    "size": int,
    "prompting": str,
    "retrieval": str,
    "style": str,
    "split": str,
    "seed": int,
    "index": int,
    "repeat": int,
    "address": str,
    "cell": str,
    "prompt": str,
    "target": str,
    "answer": str,
    "verdict": str,
    "is_correct": bool,
    "finish_reason": str,
    **dict.fromkeys(COUNTS, int),
    "num_attempts": int,
    "started_at_s": float,
    "finished_at_s": float,
    "ttft_ms": float,
    "total_ms": float,
    "backoff_ms": float,
    "queue_ms": float,
    "prefill_ms": float,
    "decode_ms": float,
    "retrieval_ms": float,
    "transcript": str,
    "generated": str,
    # None in the symbolic style, which has no such verdict.
    "is_lenient": bool,
    # Of all generated tokens together, and token by token as JSON; None where not asked for.
    "log_prob": float,
    "log_probs": str,
    # From token to token; None where nothing is stored of it.
    "token_interval_ms_p50": float,
    "token_interval_ms_p90": float,
    "token_interval_ms_p99": float,
    # Of a server that searches itself, see SearchCheck; None where nothing was checked.
    "search_disagreements": int,
    "searches_unchecked": int,
    # The arm of an experiment (search: None where nothing is searched); of a lying search its lie,
    # and whether that is the answer.
    "reading": str,
    "filler": int,
    "search": str,
    "lie": str,
    "is_lie": bool,
    # Of the sample's cell.
    "majority_rate": float,
    "balanced_accuracy": float,
    "chance": float,
    # The training that made the checkpoint, where its server says so.
    "recipe": str,
    "recipe_model": str,
    "training_seed": int,
    # The address that gave it, of an endpoint with several.
    "answered_by": str,
}
_OF_MODEL: Final = tuple(f.name for f in fields(ModelDescription) if f.name in COLUMNS)
_OF_CELL: Final = tuple(f.name for f in fields(Cell) if f.name in COLUMNS)


def flat_rows(folder: Path) -> Iterator[Row]:
    """A row a stored sample, read one at a time; errored samples have none.

    The run is read twice: what stands beside each sample is of all samples of its cell.
    `transcript` is all text with `[CHANNEL]` before each piece, `generated` what the model wrote.
    Raises InputError for a damaged run.
    """
    manifest = read_manifest(folder)
    results = {result.asked.key: result for result in summarize(folder).cells}
    judges = {
        cell.key: {
            "is_lenient": lenient_judge(cell, manifest.wording(cell.task)),
            "is_lie": lie_judge(cell, manifest.wording(cell.task)),
        }
        for cell in manifest.cells
    }
    for record in read_samples(folder, manifest):
        yield _row(manifest, results[record.cell], judges[record.cell], record)


def _row(
    manifest: Manifest,
    result: CellResult,
    judges: Mapping[str, Judge | None],
    record: SampleRecord,
) -> Row:
    cell = result.asked
    address = Address.from_key(record.address)
    model = manifest.model(cell.endpoint)
    scored, check, training = record.log_probs, record.search_check, model.trained_by
    found: dict[str, Any] = {
        **{name: getattr(model, name) for name in _OF_MODEL},
        **{name: getattr(cell, name) for name in _OF_CELL},
        "search": cell.search if cell.retrieval else None,
        **asdict(record),
        **asdict(record.times),
        "run": manifest.run,
        "split": address.split,
        "seed": address.seed,
        "index": address.index,
        "is_correct": record.is_correct,
        **{name: None if judge is None else judge(record) for name, judge in judges.items()},
        "transcript": "".join(f"[{piece.part}]{piece.text}" for piece in record.transcript),
        "generated": record.generated_text,
        "log_prob": None if scored is None else total_log_prob(scored),
        **interval_fields(record.times.token_intervals or {}),
        "search_disagreements": check and check.num_disagreements,
        "searches_unchecked": check and check.num_unchecked,
        "majority_rate": result.metrics.majority_rate,
        "balanced_accuracy": result.metrics.balanced_accuracy,
        "chance": result.chance,
        "recipe": training and training.recipe,
        "recipe_model": training and training.model,
        "training_seed": training and training.seed,
        "log_probs": None if scored is None else json.encode(scored).decode(),
    }
    return {name: _typed(found[name], kind) for name, kind in COLUMNS.items()}


def _typed(value: Any, kind: type) -> Value:
    converted: Value = None if value is None else kind(value)
    return converted
