"""What the samples of a cell come to: added up one at a time, so that of each only numbers stay."""

import statistics
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass

from harness.clients.completion import COUNTS
from harness.runs.records import SampleRecord
from harness.runs.repeats import Repeats
from harness.scoring.exact import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """The figures of one cell. `n` are the scored samples; errored ones are never among them.

    Where each is asked several times, `n` counts completions, accuracy is their mean, and the
    interval is that of so many samples: repeats of one are not independent.
    """

    n: int
    correct: int
    accuracy: float | None
    ci95: tuple[float, float]
    no_answer: int
    truncated: int
    errored: int
    tokens_per_s: float | None
    ttft_ms_p50: float | None
    # Of each count of a completion its mean.
    searches_per_sample: float | None
    prompt_tokens_per_sample: float | None = None
    generated_tokens_per_sample: float | None = None
    inserted_tokens_per_sample: float | None = None
    # Kept back by a filter of the endpoint; in the denominator.
    filtered: int = 0
    # So often each sample is asked.
    repeats: int = 1
    # Of the samples with all their repeats the share that was right once or more. None: asked once.
    pass_at_k: float | None = None
    # How often two completions of one sample give the same answer. None: asked once.
    agreement: float | None = None


class Accumulator:
    """Takes the samples of one cell in any order; 16 to 24 bytes of each are kept.

    Of those that are asked several times, so many bytes and their answers' hashes.
    """

    def __init__(self, repeats: int = 1) -> None:
        self.n = 0
        self._repeats = Repeats(repeats)
        self._verdicts: Counter[Verdict] = Counter()
        self._totals = dict.fromkeys(COUNTS, 0)
        self._ttfts_ms = array("d")
        self._busy = BusyTime()

    def add(self, record: SampleRecord) -> None:
        """Counts one finished sample."""
        self.n += 1
        self._verdicts[record.verdict] += 1
        for name in COUNTS:
            self._totals[name] += getattr(record, name)
        if record.times.ttft_ms is not None:
            self._ttfts_ms.append(record.times.ttft_ms)
        self._repeats.add(record)
        self._busy.add(record.times.started_at_s, record.times.finished_at_s)

    def metrics(self, *, errored: int) -> Metrics:
        """So far; what cannot be computed from no samples is None."""
        n, busy_s = self.n, self._busy.seconds
        correct = self._verdicts[Verdict.CORRECT]
        filtered = self._verdicts[Verdict.FILTERED]
        return Metrics(
            n=n,
            correct=correct,
            accuracy=correct / n if n else None,
            ci95=self._repeats.interval(correct, n),
            no_answer=self._verdicts[Verdict.NO_ANSWER],
            truncated=self._verdicts[Verdict.TRUNCATED],
            errored=errored,
            tokens_per_s=self._totals["num_generated_tokens"] / busy_s if busy_s > 0 else None,
            ttft_ms_p50=statistics.median(self._ttfts_ms) if self._ttfts_ms else None,
            filtered=filtered,
            repeats=self._repeats.k,
            pass_at_k=self._repeats.pass_at_k,
            agreement=self._repeats.agreement,
            # What was kept back has no counts.
            **{
                f"{name.removeprefix('num_')}_per_sample": (
                    total / (n - filtered) if n > filtered else None
                )
                for name, total in self._totals.items()
            },
        )


class BusyTime:
    """Length of the union of intervals: the pause before a resume is not working time.

    Kept as its separate pieces in their order; samples that overlap or touch make one.
    """

    def __init__(self) -> None:
        self._starts = array("d")
        self._ends = array("d")

    def add(self, start: float, end: float) -> None:
        """A clock that was set back makes nothing of an interval."""
        if end <= start:
            return
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = array("d", [start])
        self._ends[first:last] = array("d", [end])

    @property
    def seconds(self) -> float:
        """Every second counts once."""
        return sum(end - start for start, end in zip(self._starts, self._ends, strict=True))
