"""What an endpoint is asked, and what it answers, as it is stored: values free of protobuf."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final

from harnessapi.values import FinishReason, Mode, Part
from msgspec import Meta, Struct

from harness.clients.scored_token import ScoredToken
from harness.sample import Prompt
from harness_retrieval.abbreviations import Abbreviation

# The finish reason of a prompt or an answer that a filter of the endpoint kept back.
CONTENT_FILTER: Final = "content_filter"
# Ours, and what servers of others say in their place; compared in small letters.
_TRUNCATIONS: Final = frozenset(
    {
        *(reason.value for reason in FinishReason if reason.is_truncation),
        "max_new_tokens",
        "max_output_tokens",
        "max_tokens",
        "model_length",
        "token_limit",
    }
)


def is_truncation(finish_reason: str) -> bool:
    """The model would have gone on."""
    return finish_reason.lower() in _TRUNCATIONS


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
    # Log-probabilities of the generated tokens, with so many of the likeliest; None: not asked.
    top_log_probs: int | None = None
    # Searches that find something; later ones fail. None: all may.
    max_searches: int | None = None

    @property
    def most_searches(self) -> int:
        """What a server is told: each takes several tokens, so that their number is what counts."""
        return self.max_new_tokens if self.max_searches is None else self.max_searches


Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


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
    # Characters of the completion before what it inserted; None: not told, or the search is ours.
    place: Count | None = None
    num_inserted_tokens: Count = 0
    # There was more than may be inserted.
    truncated: bool = False


class SearchCheck(Struct, frozen=True, kw_only=True):
    """How the searches of a completion compare with our own of the same text; see search_replay.

    `num_disagreements` counts also what was inserted, or left out, without a word of it.
    """

    num_checked: Count
    num_disagreements: Count
    num_unchecked: Count


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
    # Of the last attempt, as a TokenIntervals counts them; None: stored before they were.
    token_intervals: dict[int, Count] | None = None


class Counts(Struct, frozen=True, kw_only=True):
    """Of a completion, under the names that every message and record has."""

    num_prompt_tokens: Count
    num_generated_tokens: Count
    num_inserted_tokens: Count
    num_searches: Count


class TurnUsage(Struct, frozen=True, kw_only=True):
    """What a server says that one request took; None where it does not say.

    Each request sends the whole dialogue, so the prompts of later turns hold the earlier ones.
    """

    num_prompt_tokens: Count | None = None
    num_generated_tokens: Count | None = None
    # Of the generated ones.
    num_reasoning_tokens: Count | None = None


class Completion(Counts, frozen=True, kw_only=True):
    """One whole completion. `finish_reason`: a FinishReason, or as another server or a newer

    version has it.
    """

    # In the order they came.
    transcript: tuple[TextPiece, ...]
    searches: tuple[SearchStep, ...] = ()
    finish_reason: str
    # The server counts no tokens: each piece of text that came counts as one.
    are_counts_estimated: bool = False
    times: CompletionTimes
    prompt_token_ids: tuple[int, ...] = ()
    num_attempts: Count = 1
    # Of the last attempt, as the logs of a server of ours have it; empty where it was not sent.
    request_id: str = ""
    # The fault of every attempt but the last.
    faults: tuple[str, ...] = ()
    # Which address gave it, where the endpoint has several. None: it has one.
    answered_by: str | None = None
    # Of every request that was answered; empty where the server is one of ours.
    usage: tuple[TurnUsage, ...] = ()
    # What the server calls its model and its configuration in the replies; each name once.
    reply_models: tuple[str, ...] = ()
    system_fingerprints: tuple[str, ...] = ()
    # Of the generated tokens, in their order; None: not asked.
    log_probs: tuple[ScoredToken, ...] | None = None
    # Of a server that searches itself; None: we made the searches, or there is no channel.
    search_check: SearchCheck | None = None

    @property
    def is_truncated(self) -> bool:
        """The model would have gone on."""
        return is_truncation(self.finish_reason)

    @property
    def is_filtered(self) -> bool:
        """A filter of the endpoint kept it back: there is no text."""
        return self.finish_reason == CONTENT_FILTER

    @property
    def generated_text(self) -> str:
        """What the model wrote itself; a space stands where something was inserted."""
        return _generated(self.transcript, " ")

    @property
    def reply_text(self) -> str:
        """What it wrote for the reader: without what a server gives apart as reasoning.

        What follows an insertion begins a line: a reply to it is a message of its own.
        """
        pieces = (piece for piece in self.transcript if piece.part != Part.REASONING)
        return _generated(pieces, "\n")


COUNTS: Final = Counts.__struct_fields__


def _generated(pieces: Iterable[TextPiece], gap: str) -> str:
    """All text but the inserted; pieces on both sides of an insertion never join to one word."""
    return "".join(gap if piece.part == Part.INSERTED else piece.text for piece in pieces)
