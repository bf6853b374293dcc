"""What is asked of a model and what comes back: plain values, free of protobuf and torch."""

from dataclasses import dataclass
from typing import Final

from harnessapi.values import FinishReason, Mode, Outcome, Part

from harness_retrieval.abbreviations import Abbreviation

# Of a completion, where a server is told nothing else: as many as of a prompt.
MAX_NEW_TOKENS: Final = 131_072
# Likeliest tokens given at a place: what vLLM gives at most, unless it is told otherwise.
MAX_TOP_LOG_PROBS: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the next token is drawn. Temperature 0 is greedy; top_k 0 leaves every token."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopping:
    """When a completion ends, besides its end-of-sequence token."""

    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrieval:
    """The search channel is on, within these limits (a completion's, and one search's)."""

    mode: Mode
    max_searches: int = 1024
    max_inserted_tokens: int = 64
    top_k: int = 1
    # Queries that stand for a longer pattern (mode REGEX).
    abbreviations: tuple[Abbreviation, ...] = ()
    # What is searched besides the completion; None: the prompt.
    searched_text: str | None = None
    # Around what is inserted; and in the place of a result where nothing was found (None: as the
    # model's channel has it).
    result_prefix: str = ""
    result_suffix: str = ""
    failed_text: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One completion to be made: checked, tokenized and dated; times are of time.monotonic_ns.

    Or one that is given, to be scored: it is read and nothing is written; see Scored.
    """

    prompt_ids: tuple[int, ...]
    sampling: Sampling
    stopping: Stopping
    retrieval: Retrieval | None
    arrived_ns: int
    # When the completion ends with DEADLINE; None: never.
    deadline_ns: int | None = None
    # Likeliest tokens given with every token's log-probability; None: nothing of the kind.
    top_log_probs: int | None = None
    # At least one token, after a prompt that may be empty; None: the model writes.
    given_ids: tuple[int, ...] | None = None
    # Of the call, for logs and traces of its searches; and its span.
    request_id: str = ""
    traceparent: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """The first event: what the model reads, and what came of waiting in the queue."""

    prompt_ids: tuple[int, ...]
    num_cached_tokens: int
    queue_ns: int
    sampling: Sampling
    stopping: Stopping
    retrieval: Retrieval | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogProb:
    """How likely a token was at its place: natural logarithms of the model's own distribution."""

    token_id: int
    # None: nothing stands before it.
    log_prob: float | None
    # The likeliest tokens there with their own, the likeliest first.
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """The next tokens of a completion; a token may have no text (yet)."""

    part: Part
    text: str
    token_ids: tuple[int, ...]
    # Of those of the tokens that were generated, where they were asked for.
    log_probs: tuple[TokenLogProb, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A given completion, all of it; then there is no Delta."""

    log_probs: tuple[TokenLogProb, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalStep:
    """A search that the model asked for; what it inserted follows as a Delta.

    `start` and `end` are characters of the text as the model sees it: the decoded prompt ids and
    what followed. `expanded_query` is the pattern where the query is an abbreviation, else empty.
    """

    query: str
    expanded_query: str
    mode: Mode
    outcome: Outcome
    inserted_text: str
    num_inserted_tokens: int
    start: int
    end: int
    score: float | None
    detail: str
    elapsed_ns: int
    truncated: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The last event.

    The times are wall time by what the sequence was doing: reading its prompt up to its first
    token, writing, waiting for its searches. With `Started.queue_ns` they add up to its whole life;
    the work of neighbours in the same batch is in them.
    """

    reason: FinishReason
    num_prompt_tokens: int
    num_generated_tokens: int
    num_inserted_tokens: int
    num_searches: int
    prefill_ns: int
    decode_ns: int
    retrieval_ns: int


Event = Started | Delta | RetrievalStep | Scored | Finished
