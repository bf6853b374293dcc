"""What can go wrong, as a tree; each kind has the exit status that the command line gives it."""

import difflib
import errno
import re
from collections.abc import Iterable
from typing import ClassVar, Final

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# What a terminal obeys instead of showing it: control characters but for tab and newline, and marks
# that turn the direction of what follows.
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """What a server or a file says, for a terminal: control sequences are shown, not obeyed."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def shortened(text: str, most: int) -> str:
    """On one line, and of a longer one the first `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}..."


class HarnessError(Exception):
    """Anything that a user is told in one line instead of a traceback."""

    exit_status: ClassVar[int] = 1

    def __str__(self) -> str:
        """Printable, whoever said it first."""
        return printable(super().__str__())


class InputError(HarnessError):
    """The command, or a file that it names, is wrong; nothing was lost."""

    exit_status = 2


class UnreachableError(HarnessError):
    """An endpoint could not be reached, or could not be started."""

    exit_status = 3


class IncompleteError(HarnessError):
    """Something was left undone; what was done is stored."""

    exit_status = 4


class NoRoomError(IncompleteError):
    """A disk is full, or what stands for one; what was written before is whole."""


class EndpointLostError(IncompleteError):
    """One endpoint is gone for good, or is another one; the others can still be asked."""


def cannot_write(what: object, error: OSError) -> HarnessError:
    """The error for a file or a folder: NoRoomError where the disk is full, else InputError."""
    if error.errno in _NO_ROOM:
        return NoRoomError(
            f"cannot write {what}: no room left on the disk. Make room first; what was stored "
            "before is whole"
        )
    return InputError(f"cannot write {what}: {error.strerror or error}")


def one_line(error: HarnessError) -> str:
    """The first line of a message and its last: of what a program said, that tells the most."""
    lines = str(error).splitlines() or [""]
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1].strip()}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that does not exist; it suggests near ones and lists them all."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    listed = ", ".join(names) or "none"
    return InputError(f"unknown {kind} '{name}'{hint} Known: {listed}")
