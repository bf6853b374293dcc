"""Classifiers on simple features against the chance that tasks state: none may beat it.

    pip install scikit-learn
    python -m benchmarks.simple_guesses [--task NAME ...] [--size N ...] [--seed N]
        [--write docs/chance.md]

Needs scikit-learn (1.9 was used), which the project does not. Each classifier learns from samples
of the train split and answers those of the test split that a run of as many would ask. Exits with
1 where one is better than chance by more than noise: three standard errors.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.simple_features import OF_CANDIDATES, OF_SAMPLES, rows_of_candidates
from harness.errors import InputError
from harness.sample import Sample, Split
from harness.tasks import TASKS, make_task
from harness.tasks.distinct import asked_indices
from harness.tasks.parameters import is_balanceable
from harness.tasks.task import Task

_SIZES: Final = (4, 5, 6, 8, 16, 32, 64, 128)
_NUM_TEST: Final = 2_000
# Rows that a classifier of candidates learns from, about.
_NUM_ROWS: Final = 100_000
_NUM_TRAIN: Final = 4_000
_NOISE: Final = 3.0
_TASKS: Final = tuple(name for name in TASKS if name in {**OF_SAMPLES, **OF_CANDIDATES})
_MARK: Final = "<!-- made by benchmarks/simple_guesses.py -->"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The best of the classifiers at a task."""

    task: str
    size: int
    balanced: int
    chance: float
    n: int
    accuracy: float
    by: str

    @property
    def is_beaten(self) -> bool:
        """Chance is, by more than noise."""
        spread = math.sqrt(max(self.chance * (1 - self.chance), 1 / self.n) / self.n)
        return self.accuracy > self.chance + _NOISE * spread

    @property
    def row(self) -> str:
        """Of the table in docs."""
        drawn = "evenly" if self.balanced else "as they come"
        return (
            f"| {self.task} | {self.size} | {drawn if is_balanceable(TASKS[self.task]) else ''} | "
            f"{self.chance:.3f} | {self.accuracy:.3f} | {self.n} | {self.by} |"
        )


def classifiers() -> Mapping[str, Any]:
    """By name, untrained."""
    from sklearn.ensemble import (  # noqa: PLC0415  (no dependency of the project)
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    return {
        "logistic regression": LogisticRegression(max_iter=1_000),
        "random forest": RandomForestClassifier(n_estimators=200, random_state=0),
        "gradient boosting": HistGradientBoostingClassifier(random_state=0),
    }


def measure(task: Task, seed: int) -> Measured:
    """Raises InputError where the task draws no such samples."""
    test = [task.sample(Split.TEST, seed, i) for i in asked_indices(task, seed, _NUM_TEST)]
    found = dict(_of_samples(task, test) if task.name in OF_SAMPLES else _of_candidates(task, test))
    by = max(found, key=lambda name: found[name])
    return Measured(
        task=task.name,
        size=task.size,
        balanced=task.balanced,
        chance=task.chance,
        n=len(test),
        accuracy=found[by],
        by=by,
    )


def _train(task: Task, number: int) -> list[Sample]:
    return [task.sample(Split.TRAIN, 0, index) for index in range(number)]


def _of_samples(task: Task, test: Sequence[Sample]) -> Iterator[tuple[str, float]]:
    train = _train(task, _NUM_TRAIN)
    for features, vector in OF_SAMPLES[task.name].items():
        x, y = [vector(one) for one in train], [one.target for one in train]
        x_test, y_test = [vector(one) for one in test], [one.target for one in test]
        for name, model in classifiers().items():
            if len(set(y)) > 2 and name != "random forest":
                continue  # 120 classes: minutes, and no other answer
            model.fit(x, y)
            yield f"{name}, {features}", float(model.score(x_test, y_test))


def _of_candidates(task: Task, test: Sequence[Sample]) -> Iterator[tuple[str, float]]:
    candidates = OF_CANDIDATES[task.name]
    num_each = len(candidates(test[0]))
    train = _train(task, max(500, min(_NUM_TRAIN, _NUM_ROWS // num_each)))
    _, x, y = zip(*rows_of_candidates(train, candidates), strict=True)
    owners, x_test, y_test = zip(*rows_of_candidates(test, candidates), strict=True)
    if not any(y) or all(y):
        yield "nothing to learn", sum(y_test) / len(test)
        return
    for name, model in classifiers().items():
        if name == "random forest":
            continue  # with so many rows slower than both others, and no better
        model.fit(list(x), list(y))
        best: dict[int, tuple[float, bool]] = {}
        scores = model.predict_proba(list(x_test))[:, 1]
        for owner, score, is_right in zip(owners, scores, y_test, strict=True):
            if owner not in best or score > best[owner][0]:
                best[owner] = (score, is_right)
        yield f"{name} of candidates", sum(right for _, right in best.values()) / len(test)


def _tasks(names: Sequence[str], sizes: Sequence[int]) -> Iterator[Task]:
    for name in names:
        kind = TASKS[name]
        for size in sizes:
            if kind.min_size <= size <= kind.max_size:
                yield make_task(name, size=size)
                if is_balanceable(kind):
                    yield make_task(name, size=size, balanced=1)


def main() -> int:
    """Prints a line a cell; 1 where chance is beaten."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", nargs="+", default=list(_TASKS), choices=_TASKS)
    parser.add_argument("--size", nargs="+", type=int, default=list(_SIZES))
    parser.add_argument("--seed", type=int, default=0, help="Of the test samples.")
    parser.add_argument("--write", type=Path, help="Put the table into this page, at its mark.")
    given = parser.parse_args()
    found: list[Measured] = []
    for task in _tasks(given.task, given.size):
        if task.chance * _NUM_TEST < 1:
            continue  # so many samples would not show it
        try:
            found.append(measure(task, given.seed))
        except InputError as error:
            print(f"{task.name} at size {task.size} is left out: {error}", file=sys.stderr)
            continue
        print(found[-1].row, "BEATEN" if found[-1].is_beaten else "", flush=True)
    if given.write is not None:
        head, _, _ = given.write.read_text(encoding="utf-8").partition(_MARK)
        table = "\n".join(one.row for one in found)
        columns = "| task | size | targets | chance | best classifier | n | which |\n" + "|---" * 7
        text = f"{head}{_MARK}\n\n{columns}|\n{table}\n"
        given.write.write_text(text, encoding="utf-8")
    return int(any(one.is_beaten for one in found))


if __name__ == "__main__":
    sys.exit(main())
