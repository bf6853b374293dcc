"""The lines of samples.jsonl and errors.jsonl: written and read by these classes alone.

Fields that a newer version adds are passed over here; where a line is written anew they stay.
"""

from msgspec import Struct

from harness.clients.completion import Completion, CompletionTimes, Count
from harness.scoring.exact import Verdict

# Tells the samples of a run apart.
Key = tuple[str, str, int]


class SampleKey(Struct, frozen=True, kw_only=True):
    """Which sample of which cell a line is about, and which time it was asked, from 0."""

    cell: str
    address: str
    repeat: Count = 0

    @property
    def key(self) -> Key:
        """All three."""
        return self.cell, self.address, self.repeat


class SampleTimes(CompletionTimes, frozen=True, kw_only=True):
    """And the Unix time of the first sending, and of the end."""

    started_at_s: float
    finished_at_s: float


class SampleRecord(Completion, frozen=True, kw_only=True):
    """A completion with what it was asked and its verdict: all that scoring and reports need."""

    cell: str
    address: str
    repeat: Count = 0
    prompt: str
    target: str
    # What is right of the false copy that a lying search looks through.
    lie: str | None = None
    answer: str | None = None
    verdict: Verdict
    times: SampleTimes

    @property
    def key(self) -> Key:
        """As a SampleKey's."""
        return self.cell, self.address, self.repeat

    @property
    def name(self) -> str:
        """The address; of a sample that was asked again, with the number of the repeat."""
        return f"{self.address}/repeat={self.repeat}" if self.repeat else self.address

    @property
    def is_correct(self) -> bool:
        """The answer is the target."""
        return self.verdict is Verdict.CORRECT


class ErrorRecord(SampleKey, frozen=True, kw_only=True):
    """A sample that has no completion; a resumed run asks it again."""

    code: str
    detail: str
    num_attempts: int
    faults: tuple[str, ...]
    backoff_ms: float
    started_at_s: float
    failed_at_s: float
    # The end of what the server had sent, in at most 2,000 characters, the key masked.
    raw: str = ""
    # Of the last attempt, as in a Completion.
    request_id: str = ""
