"""Files of one JSON object a line: what of them can be read, and what is said where one cannot.

A crash or a copy leaves behind what is no line: a half one, NULs, garbage at the end, a half line
with the next whole one behind it. That is passed over. Any other line that is no `kind` is damage.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import Final, Generic, NamedTuple, TypeVar

from msgspec import MsgspecError, ValidationError
from msgspec.json import Decoder

from harness.errors import InputError

Kind = TypeVar("Kind")

# No sample is longer: a prompt of the longest message there is, with its token ids.
_LONGEST_BYTES: Final = 2**28
# How every line begins that is written here. Inside a text its quotes would be escaped.
_BEGINNING: Final = b'{"cell":'


class DamagedError(InputError):
    """A file of a run does not say what it should; the message says what to do."""


def is_there(path: Path) -> bool:
    """Whether a run has this file. Raises DamagedError for what cannot be read as one."""
    if not os.path.lexists(path):
        return False
    try:
        kind = path.stat().st_mode
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}") from None
    if not S_ISREG(kind):
        # A pipe would be waited for.
        raise DamagedError(f"{path} cannot be read: it is no regular file")
    return True


class Line(NamedTuple, Generic[Kind]):
    """A whole line of a file, counted from 1, with its newline; `end` is the place behind that.

    Behind the file, where the last line is whole and lacks it.
    """

    number: int
    text: bytes
    value: Kind
    end: int
    # What stood before it on the same line: half of another one, or NULs.
    lead: bytes = b""


def read_lines(path: Path, kind: type[Kind]) -> Iterator[Line[Kind]]:
    """The whole lines, one at a time; nothing where there is no file.

    Raises DamagedError for one that is no `kind`. Malformed ones with no whole line behind them are
    passed over: they are garbage at the end.
    """
    if not is_there(path):
        return
    decoder = Decoder(kind)
    malformed: DamagedError | None = None
    end = 0
    try:
        with path.open("rb") as file:
            texts = iter(partial(file.readline, _LONGEST_BYTES), b"")
            for number, text in enumerate(texts, start=1):
                end += len(text)
                try:
                    line = _line(number, text, end, decoder)
                except (MsgspecError, RecursionError) as error:
                    if not _may_be_left_over(text, error):
                        raise damaged_line(path, number, str(error)) from None
                    if len(text) == _LONGEST_BYTES:
                        return  # of NULs: a file that grew, and was never written
                    malformed = malformed or damaged_line(path, number, str(error))
                    continue
                if malformed:
                    raise malformed
                yield line
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error}") from None


def _line(number: int, text: bytes, end: int, decoder: Decoder[Kind]) -> Line[Kind]:
    """Raises MsgspecError or RecursionError where it is none, nor ends with one."""
    whole = text
    if not text.endswith(b"\n"):
        whole, end = text + b"\n", end + 1
    try:
        return Line(number, whole, decoder.decode(whole), end)
    except (MsgspecError, RecursionError):
        start = whole.rfind(_BEGINNING, 1)
        if start < 0:
            raise
        rest = whole[start:]
        with suppress(MsgspecError, RecursionError):
            value = decoder.decode(rest)
            return Line(number, rest, value, end, lead=whole[:start])
        raise


def _may_be_left_over(text: bytes, error: Exception) -> bool:
    """A half line, NULs, or no JSON at all: JSON of another kind was written so."""
    if not text.endswith(b"\n"):
        return len(text) < _LONGEST_BYTES or not text.strip(b"\0")
    return not isinstance(error, ValidationError | RecursionError)


def damaged_line(path: Path, number: int, reason: str) -> DamagedError:
    """The error for the n-th line of a file of a run, counted from 1."""
    return DamagedError(
        f"{path}, line {number}: {reason}. The file is damaged. Restore it from a copy, or delete "
        "what is wrong in it: what is missing then is asked again by harness eval --resume "
        f"{path.parent}"
    )
