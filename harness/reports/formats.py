"""Writes flat rows to files: Parquet, CSV, lines of JSON. A file is there whole, or not at all."""

import csv
import importlib
import json
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final

from harness.errors import InputError
from harness.reports.flat import COLUMNS, Row
from harness.runs.writing import replacing

# Rows held at once.
_BATCH: Final = 2000


def write_parquet(path: Path, rows: Iterable[Row]) -> int:
    """Returns how many. Raises InputError without pyarrow, and where the file cannot be written."""
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise InputError(
            "--parquet needs pyarrow, the extra `export`: pip install 'recall-harness[export]'. "
            "--csv and --jsonl need nothing"
        ) from None
    types = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
    schema = arrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    num_rows = 0
    remaining = iter(rows)
    with replacing(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        while batch := list(islice(remaining, _BATCH)):
            try:
                table = arrow.Table.from_pylist(batch, schema=schema)
            except OverflowError:
                raise _too_large(batch) from None
            writer.write_table(table)
            num_rows += len(batch)
    return num_rows


def _too_large(rows: Iterable[Row]) -> InputError:
    """Names the first number that Parquet's integers, as every reader has them, do not reach."""
    run, name, value = next(
        (row["run"], name, value)
        for row in rows
        for name, value in row.items()
        if COLUMNS[name] is int and isinstance(value, int) and not -(2**63) <= value < 2**63
    )
    return InputError(
        f"run {run}: {name} is {value}, and an integer of Parquet ends at {2**63 - 1}; "
        "--csv and --jsonl have it"
    )


def write_csv(path: Path, rows: Iterable[Row]) -> int:
    """With a heading; None is empty. Returns how many. Raises InputError."""
    num_rows = 0
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            num_rows += 1
    return num_rows


def write_jsonl(path: Path, rows: Iterable[Row]) -> int:
    """An object a line. Returns how many. Raises InputError."""
    num_rows = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            num_rows += 1
    return num_rows


FORMATS: Final[dict[str, Callable[[Path, Iterable[Row]], int]]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "jsonl": write_jsonl,
}
