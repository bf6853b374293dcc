"""How fast tasks make samples, on one core: `python -m benchmarks.samples [SIZE ...]`."""

import sys
import time

from harness.sample import Split
from harness.tasks import TASKS, make_task

NUM_SAMPLES = 10_000


def seconds(name: str, size: int) -> float:
    """Processor time for the first samples of a task."""
    task = make_task(name, size=size)
    began = time.process_time()
    for index in range(NUM_SAMPLES):
        task.sample(Split.TEST, 0, index)
    return time.process_time() - began


def main() -> None:
    """Prints one line a task and size."""
    sizes = [int(argument) for argument in sys.argv[1:]] or [16, 64]
    for name in TASKS:
        for size in sizes:
            print(
                f"{name:<23} size {size:>3}  {NUM_SAMPLES} samples in {seconds(name, size):.2f} s"
            )


if __name__ == "__main__":
    main()
