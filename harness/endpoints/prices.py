"""The part of endpoints.toml about money: what a million tokens cost, in any one currency."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.errors import InputError

KEYS: Final = ("prompt_price", "completion_price")
_MILLION: Final = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """Of a million tokens that are read, and of a million that are written."""

    prompt: float
    completion: float

    def cost(self, num_read: int, num_written: int) -> float:
        """In the currency of the prices."""
        return (num_read * self.prompt + num_written * self.completion) / _MILLION


def parse_prices(table: Mapping[str, Any]) -> Prices | None:
    """None where the table has none. Raises InputError for one alone, and for what is no price."""
    given = [key for key in KEYS if key in table]
    if not given:
        return None
    if len(given) < len(KEYS):
        [missing] = {*KEYS} - {*given}
        raise InputError(f"{given[0]} needs {missing} beside it (0 where it costs nothing)")
    prompt, completion = (_price(key, table[key]) for key in KEYS)
    return Prices(prompt=prompt, completion=completion)


def _price(key: str, value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:  # type: ignore[operator]
        raise InputError(f"{key} = {value!r}: it has to be the price of a million tokens, or 0")
    return float(value)  # type: ignore[arg-type]
