"""What the samples of a cell come to: added up one at a time, so that of each only numbers stay."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.clients.completion import COUNTS
from harness.endpoints.prices import Prices
from harness.runs.checked_searches import CheckedSearches
from harness.runs.judging import Judge
from harness.runs.records import SampleRecord
from harness.runs.repeats import Repeats
from harness.runs.reply_facts import ReplyFacts
from harness.runs.run_limits import StopRule
from harness.runs.spent import paid_tokens
from harness.runs.targets import Targets
from harness.runs.waits import Waits
from harness.scoring.exact import Verdict

WILSON: Final = "wilson"
SEQUENTIAL: Final = "sequential"


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
    # Of the lenient verdict, beside the exact one; None where there is none.
    lenient_correct: int | None = None
    lenient_accuracy: float | None = None
    # Of all requests, as they are paid for; see ReplyFacts.
    prompt_tokens_total: int = 0
    generated_tokens_total: int = 0
    reasoning_tokens_total: int | None = None
    # The first few names that the server gave its model and its configuration.
    reply_models: tuple[str, ...] = ()
    system_fingerprints: tuple[str, ...] = ()
    # Kept back by a filter of the endpoint; in the denominator.
    filtered: int = 0
    # So often each sample is asked.
    repeats: int = 1
    # Of the samples with all their repeats the share that was right once or more. None: asked once.
    pass_at_k: float | None = None
    # How often two completions of one sample give the same answer. None: asked once.
    agreement: float | None = None
    ttft_ms_p90: float | None = None
    ttft_ms_p99: float | None = None
    # Of all tokens of all samples, see TokenIntervals. None: nothing is stored of them.
    token_interval_ms_p50: float | None = None
    token_interval_ms_p90: float | None = None
    token_interval_ms_p99: float | None = None
    # Of a server that searches itself: see SearchCheck. None: nothing was checked.
    search_disagreements: int | None = None
    searches_unchecked: int | None = None
    # Answers that are the lie that a lying search told, and their share; None where none lies.
    lies: int | None = None
    lie_rate: float | None = None
    # Of the scored samples the share that has the commonest target.
    majority_rate: float | None = None
    # The mean over targets of the share that is right. None: the task's targets are not few.
    balanced_accuracy: float | None = None
    # Of `ci95`: wilson, or sequential where a rule says when a cell is done.
    ci95_method: str = WILSON
    # That rule, where it ended the cell: `width=0.02`.
    stopped_by: str | None = None
    # All that was read and written, and what it cost; None: the endpoint has no prices.
    tokens_spent: int = 0
    cost: float | None = None


class Accumulator:
    """Takes the samples of one cell in any order; 16 to 24 bytes of each are kept.

    Of those that are asked several times, so many bytes and their answers' hashes; of all, the
    hashes of targets that differ. `few_targets` are the task's.
    """

    def __init__(
        self,
        lenient: Judge | None = None,
        *,
        lying: Judge | None = None,
        repeats: int = 1,
        few_targets: Sequence[str] = (),
        rule: StopRule | None = None,
        prices: Prices | None = None,
    ) -> None:
        self.n = 0
        self._lenient = lenient
        self._num_lenient = 0
        self._lying = lying
        self._num_lies = 0
        self._repeats = Repeats(repeats)
        self._targets = Targets(few_targets)
        self._verdicts: Counter[Verdict] = Counter()
        self._totals = dict.fromkeys(COUNTS, 0)
        self._waits = Waits()
        self._busy = BusyTime()
        self._replies = ReplyFacts()
        self._searches = CheckedSearches()
        self._rule = rule
        self._prices = prices
        self._num_read = self._num_written = 0

    def add(self, record: SampleRecord) -> None:
        """Counts one finished sample."""
        self.n += 1
        self._verdicts[record.verdict] += 1
        self._num_lenient += self._lenient is not None and self._lenient(record)
        self._num_lies += self._lying is not None and self._lying(record)
        for name in COUNTS:
            self._totals[name] += getattr(record, name)
        self._waits.add(record.times)
        self._replies.add(record)
        self._searches.add(record)
        self._repeats.add(record)
        self._targets.add(record)
        read, written = paid_tokens(record)
        self._num_read += read
        self._num_written += written
        self._busy.add(record.times.started_at_s, record.times.finished_at_s)

    def metrics(self, *, errored: int) -> Metrics:
        """So far; what cannot be computed from no samples is None."""
        n, busy_s, prices = self.n, self._busy.seconds, self._prices
        correct = self._verdicts[Verdict.CORRECT]
        filtered = self._verdicts[Verdict.FILTERED]
        # What was kept back has no counts.
        num_counted = n - filtered
        means: dict[str, Any] = {
            f"{name.removeprefix('num_')}_per_sample": total / num_counted if num_counted else None
            for name, total in self._totals.items()
        }
        waits: dict[str, Any] = self._waits.fields()
        return Metrics(
            n=n,
            correct=correct,
            accuracy=correct / n if n else None,
            **self._interval(correct, n),
            no_answer=self._verdicts[Verdict.NO_ANSWER],
            truncated=self._verdicts[Verdict.TRUNCATED],
            errored=errored,
            tokens_per_s=self._totals["num_generated_tokens"] / busy_s if busy_s > 0 else None,
            lenient_correct=None if self._lenient is None else self._num_lenient,
            lenient_accuracy=self._num_lenient / n if n and self._lenient else None,
            lies=None if self._lying is None else self._num_lies,
            lie_rate=self._num_lies / n if n and self._lying else None,
            filtered=filtered,
            repeats=self._repeats.k,
            pass_at_k=self._repeats.pass_at_k,
            agreement=self._repeats.agreement,
            majority_rate=self._targets.majority_rate,
            balanced_accuracy=self._targets.balanced_accuracy,
            **means,
            **waits,
            **self._replies.fields(),
            **self._searches.fields(),
            tokens_spent=self._num_read + self._num_written,
            cost=prices.cost(self._num_read, self._num_written) if prices else None,
        )

    def _interval(self, correct: int, n: int) -> dict[str, Any]:
        """One that holds where a run stops because of it, if this one may."""
        rule = self._rule
        if rule is None:
            return {"ci95": self._repeats.interval(correct, n)}
        low, high = self._repeats.sequential_interval(correct, n)
        stopped_by = str(rule) if high - low <= rule.width else None
        return {"ci95": (low, high), "ci95_method": SEQUENTIAL, "stopped_by": stopped_by}


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
