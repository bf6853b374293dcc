"""What a cell asked for: how common its commonest target is, and how well each is found."""

from collections import Counter
from collections.abc import Sequence

from harness.runs.records import SampleRecord


class Targets:
    """Of the scored samples of one cell. `few`: all targets of its task, where those are few.

    Targets are kept as hashes: what is kept grows with those that differ alone.
    """

    def __init__(self, few: Sequence[str] = ()) -> None:
        self._few = few
        self._num: Counter[int] = Counter()
        self._num_correct: Counter[int] = Counter()

    def add(self, record: SampleRecord) -> None:
        """Counts one completion."""
        target = hash(record.target)
        self._num[target] += 1
        self._num_correct[target] += record.is_correct

    @property
    def majority_rate(self) -> float | None:
        """What always giving the commonest target would reach. None of no samples."""
        return max(self._num.values()) / self._num.total() if self._num else None

    @property
    def balanced_accuracy(self) -> float | None:
        """The mean over targets of the share that is right. None where targets are not few.

        Of those that were asked: one of two is all that it is the mean of, where the other was not.
        """
        asked = [one for one in map(hash, self._few) if self._num[one]]
        recalls = [self._num_correct[one] / self._num[one] for one in asked]
        return sum(recalls) / len(recalls) if recalls else None
