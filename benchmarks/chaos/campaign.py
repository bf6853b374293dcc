"""What every fault is given, and what it gives back: checks with figures."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class SkippedError(Exception):
    """The fault cannot be made here; says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that is to hold under a fault, whether it did, and what was seen."""

    what: str
    is_kept: bool
    figures: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a fault is made from; `folder` is its campaign's, and gone afterwards."""

    seed: int
    is_quick: bool
    folder: Path

    def num(self, full: int, quick: int) -> int:
        """How many of something there are."""
        return quick if self.is_quick else full

    def random(self, name: str) -> random.Random:
        """A generator of its own for each fault: leaving one out changes no other."""
        return random.Random(f"{self.seed}/{name}")

    def own_folder(self, name: str) -> Path:
        """A new one."""
        folder = self.folder / name
        folder.mkdir()
        return folder


# Starts what it needs, stops it, and may take its time.
Fault = Callable[[Setting], list[Check]]
