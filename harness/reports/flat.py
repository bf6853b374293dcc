"""A stored sample as one flat row, for data frames and spreadsheets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from harness.reports.collect import Line
from harness.runs.cell import Cell
from harness.runs.manifest import Manifest, read_manifest
from harness.runs.reading import read_samples
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
    "address": str,
    "cell": str,
    "prompt": str,
    "target": str,
    "answer": str,
    "verdict": str,
    "is_correct": bool,
    "finish_reason": str,
    "num_prompt_tokens": int,
    "num_generated_tokens": int,
    "num_inserted_tokens": int,
    "num_searches": int,
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
}


def flat_rows(folder: Path) -> Iterator[Row]:
    """A row a stored sample, read one at a time; errored samples have none.

    `transcript` is all text with `[CHANNEL]` before each piece, `generated` what the model wrote.
    Raises InputError for a damaged run.
    """
    manifest = read_manifest(folder)
    cells = {cell.key: cell for cell in manifest.cells}
    for line in read_samples(folder, manifest):
        yield _row(manifest, cells[line["cell"]], line)


def _row(manifest: Manifest, cell: Cell, line: Line) -> Row:
    address = Address.from_key(line["address"])
    model = manifest.model(cell.endpoint)
    pieces = [(str(channel), _clean(text)) for channel, text in line["transcript"]]
    found: dict[str, Any] = {
        **line,
        **line["times"],
        **{name: model.get(name) for name in COLUMNS if name in model},
        "run": manifest.run,
        "endpoint": cell.endpoint,
        "task": cell.task,
        "size": cell.size,
        "prompting": cell.prompting.value,
        "retrieval": cell.retrieval.value if cell.retrieval else None,
        "style": cell.style.value,
        "split": address.split.value,
        "seed": address.seed,
        "index": address.index,
        "is_correct": line["verdict"] == "correct",
        "transcript": "".join(f"[{channel}]{text}" for channel, text in pieces),
        "generated": "".join(" " if channel == "inserted" else text for channel, text in pieces),
    }
    return {name: _typed(found.get(name), kind) for name, kind in COLUMNS.items()}


def _typed(value: Any, kind: type) -> Value:
    if value is None:
        return None
    converted: Value = _clean(value) if kind is str else kind(value)
    return converted


def _clean(value: object) -> str:
    """Half of a surrogate pair is no text that a file could hold."""
    return str(value).encode("utf-8", "replace").decode("utf-8")
