"""What every fault is given and gives back, and how one after another is made and told of."""

import random
import time
import traceback
from collections.abc import Callable, Mapping
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


def carry_out(faults: Mapping[str, Fault], setting: Setting) -> bool:
    """Makes them in their order, and prints what was seen; whether every check holds."""
    began_s = time.monotonic()
    checks: list[Check] = []
    skipped: list[str] = []
    broken: list[str] = []
    for name, fault in faults.items():
        print(name, flush=True)
        fault_began_s = time.monotonic()
        try:
            found = _made(fault, setting)
        except SkippedError as reason:
            print(f"  skipped: {reason}", flush=True)
            skipped.append(f"{name} skipped: {reason}")
            continue
        for check in found:
            print(f"  {'ok  ' if check.is_kept else 'FAIL'}  {check.what}: {check.figures}")
        print(f"  {time.monotonic() - fault_began_s:.0f} s", flush=True)
        checks += found
        if not all(check.is_kept for check in found):
            broken.append(name)
    num_kept = sum(check.is_kept for check in checks)
    summary = [
        f"chaos: {num_kept} of {len(checks)} checks hold under {len(faults) - len(skipped)} faults "
        f"(seed {setting.seed}{', quick' if setting.is_quick else ''}, "
        f"{time.monotonic() - began_s:.0f} s)",
        *skipped,
    ]
    if broken:
        summary.append(f"BROKEN: {', '.join(broken)}")
    print("; ".join(summary), flush=True)
    return not broken


def _made(fault: Fault, setting: Setting) -> list[Check]:
    """A fault whose script fails is a check that does not hold; the others are made."""
    try:
        return fault(setting)
    except SkippedError:
        raise
    except Exception as error:
        traceback.print_exc()
        return [Check(what="the script runs to its end", is_kept=False, figures=repr(error))]
