"""A promise of the API, and what became of it when a server was held to it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from harness.conformance.trial import Trial
from harness.errors import printable, shortened

# Of what a stranger's server says, as much as a line can use.
_MAX_SHOWN: Final = 300


class Judgement(StrEnum):
    """What became of a promise; only FAILED is a fault of the server."""

    OK = "ok"
    FAILED = "failed"
    # The server says that it does not have this.
    NOT_OFFERED = "not offered"
    # It depends on a promise that failed, or this model gave no occasion.
    NOT_TRIED = "not tried"


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """`attempt` returns what was seen. Raises BrokenPromise, NotOffered or NoOccasion."""

    name: str
    # What a server that keeps it does.
    right: str
    attempt: Callable[[Trial], Awaitable[str]]
    # Names of promises that have to be kept before this one can be looked at.
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One promise as it was found; all texts are printable, of a few hundred characters."""

    name: str
    verdict: Judgement
    seen: str
    right: str


def finding(promise: Promise, verdict: Judgement, seen: str) -> Finding:
    """With what the server said made fit to be shown."""
    return Finding(name=promise.name, verdict=verdict, seen=shown(seen), right=promise.right)


def shown(text: str) -> str:
    """One printable line of bounded length."""
    return shortened(printable(text[: 2 * _MAX_SHOWN]), _MAX_SHOWN)
