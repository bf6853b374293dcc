"""How many samples a comparison takes to see a difference, cell by cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import InputError
from harness.reports.comparison import Comparison
from harness.scoring.sample_size import ALPHA, POWER, pairs_needed


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """Of one row: what is to be seen, and the samples that it takes.

    `discordant`: the share of pairs assumed that only one side has right.
    """

    difference: float
    discordant: float
    num_samples: int

    def as_json(self) -> dict[str, Any]:
        """With level and power."""
        return {
            "difference": self.difference,
            "discordant": self.discordant,
            "samples": self.num_samples,
            "alpha": ALPHA,
            "power": POWER,
        }


def power(comparison: Comparison, difference: float | None) -> Power | None:
    """For this difference, or the one that was seen; None where none was.

    As many pairs are assumed discordant as were, but no fewer than the difference needs.
    """
    pairs = comparison.pairs
    wanted = pairs.difference if difference is None else difference
    if not wanted:
        return None
    seen = (pairs.only_first + pairs.only_second) / pairs.n if pairs.n else 0.0
    discordant = max(seen, abs(wanted))
    return Power(
        difference=wanted,
        discordant=discordant,
        num_samples=pairs_needed(wanted, discordant),
    )


def require_differences(comparisons: Sequence[Comparison], powers: Sequence[Power | None]) -> None:
    """Raises InputError naming the rows of which no number can be said."""
    lacking = [
        f"  {row.first.key} and {row.second.key}: "
        + (f"{row.pairs.only_first} pairs each way" if row.pairs.n else "no pairs")
        for row, found in zip(comparisons, powers, strict=True)
        if found is None
    ]
    if lacking:
        listed = "\n".join(lacking)
        raise InputError(
            f"--power has no difference to see in {len(lacking)} of {len(powers)} rows; all are "
            f"printed. Say how small a one you want to see, as --difference 0.05:\n{listed}"
        )
