"""Append-only files of one JSON object a line; a line is whole once its newline is there."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import InputError


def repair(path: Path) -> int:
    """Cuts off a torn last line, left by a process that was killed; returns the bytes removed."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        end = _end_of_last_line(file, size)
        file.truncate(end)
        return size - end


def _end_of_last_line(file: Any, size: int) -> int:
    position = size
    while position > 0:
        step = min(65536, position)
        file.seek(position - step)
        newline = file.read(step).rfind(b"\n")
        if newline >= 0:
            return int(position - step + newline + 1)
        position -= step
    return 0


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of the whole lines, one at a time; nothing where the file does not exist.

    Raises InputError for a whole line that is no JSON object: the file was damaged.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                value = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: {error}") from None
            if not isinstance(value, dict):
                raise InputError(f"{path}, line {number}: not a JSON object")
            yield value
