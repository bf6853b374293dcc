"""Files of one JSON object a line, and how files are replaced whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from msgspec import MsgspecError
from msgspec.json import Decoder

from harness.errors import InputError

Kind = TypeVar("Kind")


class DamagedError(InputError):
    """A file of a run does not say what it should; the message says what to do."""


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


def read_lines(path: Path, kind: type[Kind]) -> Iterator[tuple[bytes, Kind]]:
    """The whole lines as they are and as values, one at a time; nothing where there is no file.

    A line is whole once its newline is there. Raises DamagedError for one that is no `kind`.
    """
    if not path.exists():
        return
    decoder = Decoder(kind)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    value = decoder.decode(line)
                except (MsgspecError, RecursionError) as error:
                    raise damaged_line(path, number, str(error)) from None
                yield line, value
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error}") from None


def damaged_line(path: Path, number: int, reason: str) -> DamagedError:
    """The error for the n-th line of a file of a run, counted from 1."""
    return DamagedError(
        f"{path}, line {number}: {reason}. The file is damaged. Restore it from a copy, or delete "
        "what is wrong in it: what is missing then is asked again by harness eval --resume "
        f"{path.parent}"
    )


def remove_unfinished(path: Path) -> None:
    """What a process that was killed left behind of a `replacing`."""
    for unfinished in path.parent.glob(f".{path.name}.*.new"):
        unfinished.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside the path that takes its place when all is written. Raises InputError.

    A link stays one, and who may read the file may read it afterwards.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        yield temporary
        if target.is_file():
            temporary.chmod(target.stat().st_mode)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)
