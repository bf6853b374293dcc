"""The fault campaign: `python -m benchmarks.chaos`. docs/chaos.md says what is done and asserted.

Prints every check with its figures, and a summary; exits with 1 where one does not hold.
"""

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks.chaos.campaign import Check, Fault, Setting, SkippedError
from benchmarks.chaos.faults import FAULTS


def main() -> None:
    """Makes one fault after another."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", choices=FAULTS, metavar="NAME", help=f"of {', '.join(FAULTS)}"
    )
    parser.add_argument("--quick", action="store_true", help="a few of everything")
    options = parser.parse_args()
    began_s = time.monotonic()
    checks: list[Check] = []
    broken: list[str] = []
    skipped: list[str] = []
    chosen = {name: fault for name, fault in FAULTS.items() if name in (options.only or FAULTS)}
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        setting = Setting(seed=options.seed, is_quick=options.quick, folder=Path(temporary))
        for name, fault in chosen.items():
            print(name, flush=True)
            fault_began_s = time.monotonic()
            try:
                found = made(fault, setting)
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
    print(
        f"chaos: {num_kept} of {len(checks)} checks hold under {len(chosen) - len(skipped)} faults"
        f" (seed {options.seed}{', quick' if options.quick else ''},"
        f" {time.monotonic() - began_s:.0f} s)"
        + "".join(f"; {reason}" for reason in skipped)
        + (f"; BROKEN: {', '.join(broken)}" if broken else "")
    )
    sys.exit(bool(broken))


def made(fault: Fault, setting: Setting) -> list[Check]:
    """A fault whose script fails is a check that does not hold; the others are made."""
    try:
        return fault(setting)
    except SkippedError:
        raise
    except Exception as error:
        traceback.print_exc()
        return [Check(what="the script runs to its end", is_kept=False, figures=repr(error))]


if __name__ == "__main__":
    main()
