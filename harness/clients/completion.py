"""What an endpoint is asked and what it answers: plain values, free of protobuf."""

from dataclasses import dataclass

from harnessapi.values import FinishReason, Mode, Part

from harness.sample import Prompt
from harness_retrieval.abbreviations import Abbreviation


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionRequest:
    """One prompt, decoded greedily; `mode` None closes the search channel."""

    prompt: Prompt
    mode: Mode | None
    max_new_tokens: int
    # Queries that stand for a longer pattern.
    abbreviations: tuple[Abbreviation, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSegment:
    """Neighbouring text of one part."""

    part: Part
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchStep:
    """One search that the model asked for; `expanded_query`: the pattern that the query stood for.

    It is empty where the query is no abbreviation.
    """

    query: str
    expanded_query: str
    mode: str
    outcome: str
    inserted_text: str
    detail: str
    elapsed_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerTimes:
    """Where the server says the time went."""

    queue_ms: float
    prefill_ms: float
    decode_ms: float
    retrieval_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """One whole completion; `ttft_ms` and `total_ms` are the client's, from sending."""

    prompt_token_ids: tuple[int, ...]
    segments: tuple[TextSegment, ...]
    searches: tuple[SearchStep, ...]
    finish_reason: FinishReason
    num_prompt_tokens: int
    num_generated_tokens: int
    num_inserted_tokens: int
    num_searches: int
    server: ServerTimes
    ttft_ms: float | None
    total_ms: float
    # The server counts no tokens: each piece of text that came counts as one.
    are_counts_estimated: bool = False

    @property
    def generated_text(self) -> str:
        """What the model wrote itself; a space stands where something was inserted."""
        return generated_text(self.segments)

    @property
    def reply_text(self) -> str:
        """`generated_text` without what a server gives apart as the model's reasoning."""
        return generated_text(tuple(s for s in self.segments if s.part is not Part.REASONING))


def generated_text(segments: tuple[TextSegment, ...]) -> str:
    """All text but the inserted; pieces on both sides of an insertion never join to one word."""
    return "".join(" " if segment.part is Part.INSERTED else segment.text for segment in segments)
