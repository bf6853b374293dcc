"""The fault campaign: `python -m benchmarks.chaos`. docs/chaos.md says what is done and asserted.

Prints every check with its figures, and a summary; exits with 1 where one does not hold.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.chaos.campaign import Setting, carry_out
from benchmarks.chaos.faults import BESIDE, FAULTS


def main() -> None:
    """Makes one fault after another."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", choices=FAULTS, metavar="NAME", help=f"of {', '.join(FAULTS)}"
    )
    parser.add_argument("--quick", action="store_true", help="a few of everything")
    options = parser.parse_args()
    chosen = {name: fault for name, fault in FAULTS.items() if name in (options.only or FAULTS)}
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        setting = Setting(seed=options.seed, is_quick=options.quick, folder=Path(temporary))
        holds = carry_out(chosen, setting, beside=BESIDE)
    sys.exit(not holds)


if __name__ == "__main__":
    main()
