"""What an endpoint is asked, and what it answers, as it is stored: values free of protobuf."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final

from harnessapi.values import FinishReason, Mode, Part
from msgspec import Meta, Struct

from harness.sample import Prompt
from harness_retrieval.abbreviations import Abbreviation

# The finish reason of a prompt or an answer that a filter of the endpoint kept back.
CONTENT_FILTER: Final = "content_filter"
_TRUNCATIONS: Final = frozenset(reason for reason in FinishReason if reason.is_truncation)


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionRequest:
    """One prompt, decoded greedily; `mode` None closes the search channel."""

    prompt: Prompt
    mode: Mode | None
    max_new_tokens: int
    # Queries that stand for a longer pattern.
    abbreviations: tuple[Abbreviation, ...] = ()
    # Which time this sample is asked, from 0: each has a seed of its own.
    repeat: int = 0


class TextPiece(Struct, frozen=True, kw_only=True, array_like=True):
    """Neighbouring text of one `Part`, or of one that a newer version knows."""

    part: str
    text: str


class SearchStep(Struct, frozen=True, kw_only=True):
    """One search that the model asked for; `expanded_query`: the pattern that the query stood for.

    It is empty where the query is no abbreviation.
    """

    query: str
    expanded_query: str = ""
    mode: str = ""
    outcome: str
    inserted_text: str
    detail: str = ""
    elapsed_ms: float = 0.0


class CompletionTimes(Struct, frozen=True, kw_only=True):
    """The first three are the client's: of the last attempt from sending, and of the waiting

    between attempts. The server says the rest.
    """

    ttft_ms: float | None = None
    total_ms: float = 0.0
    backoff_ms: float = 0.0
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    retrieval_ms: float = 0.0


Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Counts(Struct, frozen=True, kw_only=True):
    """Of a completion, under the names that every message and record has."""

    num_prompt_tokens: Count
    num_generated_tokens: Count
    num_inserted_tokens: Count
    num_searches: Count


class Completion(Counts, frozen=True, kw_only=True):
    """One whole completion. `finish_reason`: a FinishReason, or one of a newer version."""

    # In the order they came.
    transcript: tuple[TextPiece, ...]
    searches: tuple[SearchStep, ...] = ()
    finish_reason: str
    # The server counts no tokens: each piece of text that came counts as one.
    are_counts_estimated: bool = False
    times: CompletionTimes
    prompt_token_ids: tuple[int, ...] = ()
    num_attempts: Count = 1
    # The fault of every attempt but the last.
    faults: tuple[str, ...] = ()

    @property
    def is_truncated(self) -> bool:
        """The model would have gone on."""
        return self.finish_reason in _TRUNCATIONS

    @property
    def is_filtered(self) -> bool:
        """A filter of the endpoint kept it back: there is no text."""
        return self.finish_reason == CONTENT_FILTER

    @property
    def generated_text(self) -> str:
        """What the model wrote itself; a space stands where something was inserted."""
        return _generated(self.transcript)

    @property
    def reply_text(self) -> str:
        """`generated_text` without what a server gives apart as the model's reasoning."""
        return _generated(piece for piece in self.transcript if piece.part != Part.REASONING)


COUNTS: Final = Counts.__struct_fields__


def _generated(pieces: Iterable[TextPiece]) -> str:
    """All text but the inserted; pieces on both sides of an insertion never join to one word."""
    return "".join(" " if piece.part == Part.INSERTED else piece.text for piece in pieces)
