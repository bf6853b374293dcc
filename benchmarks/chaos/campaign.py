"""What every fault is given and gives back, and how one after another is made and told of."""

import random
import time
import traceback
from collections.abc import Callable, Container, Mapping
from concurrent.futures import ThreadPoolExecutor
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """What became of one fault."""

    checks: list[Check]
    seconds: float
    # Why it was not made, where it was not.
    skipped: str = ""

    @property
    def holds(self) -> bool:
        """All that was looked at."""
        return all(check.is_kept for check in self.checks)


def carry_out(
    faults: Mapping[str, Fault], setting: Setting, *, beside: Container[str] = ()
) -> bool:
    """Makes them, and prints what was seen; whether every check holds.

    One after another in their order, but for those that go on beside the others from the beginning.
    """
    began_s = time.monotonic()
    made: dict[str, _Made] = {}
    with ThreadPoolExecutor(max(1, len(faults))) as executor:
        going_on = {
            name: executor.submit(_make, fault, setting)
            for name, fault in faults.items()
            if name in beside
        }
        for name, fault in faults.items():
            if name not in beside:
                made[name] = _make(fault, setting)
                _tell(name, made[name])
        for name, future in going_on.items():
            made[name] = future.result()
            _tell(name, made[name])
    _summarize(made, setting, time.monotonic() - began_s)
    return all(one.holds for one in made.values())


def _make(fault: Fault, setting: Setting) -> _Made:
    """A fault whose script fails is a check that does not hold; the others are made."""
    began_s, skipped, checks = time.monotonic(), "", list[Check]()
    try:
        checks = fault(setting)
    except SkippedError as reason:
        skipped = str(reason)
    except Exception as error:
        traceback.print_exc()
        what = "the script runs to its end"
        checks = [Check(what=what, is_kept=False, figures=repr(error))]
    return _Made(checks=checks, seconds=time.monotonic() - began_s, skipped=skipped)


def _tell(name: str, made: _Made) -> None:
    if made.skipped:
        print(f"{name}: skipped: {made.skipped}", flush=True)
        return
    print(f"{name}: {made.seconds:.0f} s")
    for check in made.checks:
        print(f"  {'ok  ' if check.is_kept else 'FAIL'}  {check.what}: {check.figures}", flush=True)


def _summarize(made: Mapping[str, _Made], setting: Setting, seconds: float) -> None:
    """The last line."""
    checks = [check for one in made.values() for check in one.checks]
    num_kept = sum(check.is_kept for check in checks)
    num_made = sum(not one.skipped for one in made.values())
    quick = ", quick" if setting.is_quick else ""
    parts = [
        f"chaos: {num_kept} of {len(checks)} checks hold under {num_made} faults "
        f"(seed {setting.seed}{quick}, {seconds:.0f} s)",
        *[f"{name} skipped: {one.skipped}" for name, one in made.items() if one.skipped],
    ]
    if broken := [name for name, one in made.items() if not one.holds]:
        parts.append(f"BROKEN: {', '.join(broken)}")
    print("; ".join(parts), flush=True)
