"""Samples that are asked several times: how many are right at least once, and how they agree."""

from collections import Counter

from harness.runs.records import SampleRecord
from harness.scoring.intervals import wilson_interval
from harness.scoring.sequential import sequential_interval


class Repeats:
    """Of one cell, each sample asked `k` times. Where k is 1 nothing is kept, and all is None."""

    def __init__(self, k: int) -> None:
        self.k = k
        # By address: the number that is right, and how often each answer was given.
        self._found: dict[str, tuple[list[int], Counter[int]]] = {}

    def add(self, record: SampleRecord) -> None:
        """Counts one completion."""
        if self.k == 1:
            return
        num_correct, answers = self._found.setdefault(record.address, ([0], Counter()))
        num_correct[0] += record.is_correct
        answers[hash((record.answer, record.verdict if record.answer is None else None))] += 1

    def interval(self, correct: int, n: int) -> tuple[float, float]:
        """Wilson's, of so many samples as there are: a sample's repeats are like each other."""
        return wilson_interval(*self._counted(correct, n))

    def sequential_interval(self, correct: int, n: int) -> tuple[float, float]:
        """The same, however often it was looked at."""
        return sequential_interval(*self._counted(correct, n))

    def _counted(self, correct: int, n: int) -> tuple[float, int]:
        if self.k == 1 or not n:
            return correct, n
        num_samples = len(self._found)
        return correct / n * num_samples, num_samples

    @property
    def pass_at_k(self) -> float | None:
        """Of the samples with all k completions the share that has a right one."""
        whole = [num for (num,), answers in self._found.values() if answers.total() == self.k]
        return sum(num > 0 for num in whole) / len(whole) if whole else None

    @property
    def agreement(self) -> float | None:
        """Mean over samples of the share of pairs of completions with the same answer."""
        shares = [
            sum(num * (num - 1) for num in answers.values()) / (total * (total - 1))
            for _, answers in self._found.values()
            if (total := answers.total()) > 1
        ]
        return sum(shares) / len(shares) if shares else None
