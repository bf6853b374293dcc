"""What ends a run before all of its samples are asked: what it may spend, and what is enough."""

from dataclasses import dataclass
from typing import Final

from harness.errors import InputError, unknown_name
from harness.scoring.sequential import sequential_interval

# Lifts the rule of a run that goes on.
NO_RULE: Final = "none"
_WIDTH: Final = "width"


@dataclass(frozen=True, kw_only=True, slots=True)
class StopRule:
    """A cell is done once the sequential interval of its accuracy is at most so wide."""

    width: float

    def __str__(self) -> str:
        return f"{_WIDTH}={self.width:g}"

    def holds(self, successes: float, n: float) -> bool:
        """Whether so many samples are enough."""
        low, high = sequential_interval(successes, n)
        return high - low <= self.width


def parse_stop_rule(text: str) -> StopRule | None:
    """`width=0.02`; None for `none`. Raises InputError for anything else."""
    if text == NO_RULE:
        return None
    name, equals, value = text.partition("=")
    if name != _WIDTH:
        raise unknown_name("rule of --stop-when", name, (f"{_WIDTH}=W", NO_RULE))
    try:
        width = float(value)
    except ValueError:
        width = 0.0
    if not equals or not 0 < width < 1:
        raise InputError(
            f"--stop-when {text}: the width of an interval is a number over 0 and below 1"
        )
    return StopRule(width=width)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Of a whole run, however often it is gone on with; None: there is no such limit."""

    # Of prompts, completions and insertions.
    max_tokens_total: int | None = None
    # In the currency of the endpoints' prices.
    max_cost: float | None = None
    # As a StopRule is written.
    stop_when: str | None = None

    @property
    def rule(self) -> StopRule | None:
        """Raises InputError for one that is not known here."""
        return None if self.stop_when is None else parse_stop_rule(self.stop_when)
