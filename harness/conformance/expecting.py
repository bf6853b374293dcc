"""What promises compare with, in few words: an expectation that is not met is a broken promise."""

from typing import Any

from harness.conformance.verdicts import BrokenPromise


def expect(is_so: bool, seen: str) -> None:
    """Raises BrokenPromise with what was seen in place of it."""
    if not is_so:
        raise BrokenPromise(seen)


def expect_same(what: str, found: Any, right: Any) -> None:
    """Raises BrokenPromise where the two differ, with both."""
    if found != right:
        raise BrokenPromise(f"{what} is {_told(found)}, not {_told(right)}")


def expect_ids(what: str, found: list[int], right: list[int]) -> None:
    """As `expect_same`, with the first place where two lists of token ids differ."""
    if found == right:
        return
    place = next(
        (i for i, (a, b) in enumerate(zip(found, right, strict=False)) if a != b),
        min(len(found), len(right)),
    )
    raise BrokenPromise(
        f"{what}: {len(found)} ids and {len(right)}, which differ from number {place + 1} on: "
        f"{_told(found[place : place + 3])} and {_told(right[place : place + 3])}"
    )


def _told(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[:100])
    return str(value)[:100] if str(value) != "" else "empty"
