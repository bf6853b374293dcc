"""Parameters of a task besides its size: each is a field that says what it means and may be."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """`allowed` may depend on the size of the task; the default is allowed at every size."""

    default: int
    about: str
    allowed: Callable[[int], range]
    # It came when there were addresses already: they have it where it is not 0.
    is_late: bool = False

    def allows(self, value: int, size: int) -> bool:
        """Whether the task can have it."""
        return value == self.default or value in self.allowed(size)

    def limits(self, size: int) -> str:
        """`1 to 32`."""
        allowed = self.allowed(size)
        return f"{allowed[0]} to {allowed[-1]}"


def parameter(
    default: int, about: str, allowed: Callable[[int], range], *, is_late: bool = False
) -> Any:
    """A field of a task's class."""
    known = Parameter(default=default, about=about, allowed=allowed, is_late=is_late)
    return field(default=default, metadata={"parameter": known})


# Of every task that has few targets.
BALANCED: Final = Parameter(
    default=0,
    about="1: of every two samples (of as many as there are targets) each target once, in random "
    "order; 0: as they come. New runs have 1.",
    allowed=lambda _: range(2),
    is_late=True,
)


def balanced_parameter() -> Any:
    """A field; a parameter only where targets are few."""
    return field(default=BALANCED.default, metadata={"parameter": BALANCED})


def parameters_of(kind: type[Any]) -> dict[str, Parameter]:
    """By name, in the order of the task's class."""
    known = {one.name: one.metadata["parameter"] for one in fields(kind) if one.metadata}
    return {name: one for name, one in known.items() if one is not BALANCED or kind.few_targets}


@cache
def is_balanceable(kind: type[Any]) -> bool:
    """Whether `balanced` is a parameter of the task, and means what it means here."""
    return parameters_of(kind).get("balanced") is BALANCED


def parameter_texts(kind: type[Any], size: int) -> dict[str, str]:
    """Range, default and meaning, by name: `1 to 32, default 4. Keys that have needles.`"""
    texts = {}
    for name, one in parameters_of(kind).items():
        at = "" if one.allowed(size) == one.allowed(kind.max_size) else f" at size {size}"
        texts[name] = f"{one.limits(size)}{at}, default {one.default}. {one.about}"
    return texts
