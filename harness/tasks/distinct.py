"""Which of a seed's samples are asked: where a task has few different ones, each of them once.

The same context again tells nothing new: a cell of 200 samples of 8 contexts is one of 8.
"""

from collections.abc import Sequence
from functools import cache
from itertools import takewhile
from typing import Final

from harness.sample import Split
from harness.tasks.foreign import naming
from harness.tasks.task import Task

# With fewer in both splits a run of the usual 200 samples would ask some of them again.
_FEW: Final = 1_000
# Of so many draws of each sample there is, none is likely to be missed: the rest is not drawn.
_ENOUGH: Final = 20


def few_samples(kind: type[Task]) -> str:
    """`at most 96 samples differ at size 4: ...`; empty where that many always do.

    Raises InputError where other people's task cannot say.
    """
    all_sizes = range(kind.min_size, kind.max_size + 1)
    with naming(f"task '{kind.name}'", "num_distinct"):
        sizes = takewhile(lambda size: (kind(size=size).num_distinct or _FEW) < _FEW, all_sizes)
        told = ", ".join(f"{kind(size=size).num_distinct} at size {size}" for size in sizes)
    return f"samples that differ, at most: {told}; a run asks each once" if told else ""


@cache
def asked_indices(task: Task, seed: int, num_samples: int) -> Sequence[int]:
    """All of the first `num_samples`, or where fewer differ the first of each.

    Of a balanced task as many of each target. Raises InputError where the task draws none.
    """
    most = task.num_distinct
    # About half of them are of the test split.
    if most is None or most >= 2 * num_samples:
        return range(num_samples)
    firsts: dict[tuple[str, str], int] = {}
    by_target: dict[str, list[int]] = {}
    for index in range(min(num_samples, _ENOUGH * most)):
        sample = task.sample(Split.TEST, seed, index)
        what = (sample.context, sample.question)
        if firsts.setdefault(what, index) == index:
            by_target.setdefault(sample.target, []).append(index)
    if task.draws_evenly:
        least = min(map(len, by_target.values()))
        return sorted(index for found in by_target.values() for index in found[:least])
    return sorted(firsts.values())
