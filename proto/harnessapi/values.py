"""What both sides of the wire mean, as plain values: free of protobuf, gRPC and any library."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Mode(StrEnum):
    """How a query is understood: a regular expression, or text compared by embedding."""

    REGEX = "regex"
    DENSE = "dense"


class Outcome(StrEnum):
    """What became of one search; only FOUND carries text."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    INVALID_QUERY = "invalid_query"
    TOO_COSTLY = "too_costly"
    LIMIT_REACHED = "limit_reached"


class Part(StrEnum):
    """Which part of a completion a piece of text belongs to."""

    REASONING = "reasoning"
    QUERY = "query"
    INSERTED = "inserted"
    ANSWER = "answer"


class FinishReason(StrEnum):
    """Why a completion ended; what DEADLINE or CANCELLED cut off is no completion."""

    EOS = "eos"
    STOP = "stop"
    LENGTH = "length"
    CONTEXT_FULL = "context_full"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"

    @property
    def is_truncation(self) -> bool:
        """The model would have gone on."""
        return self in {FinishReason.LENGTH, FinishReason.CONTEXT_FULL}


@dataclass(frozen=True, kw_only=True, slots=True)
class Markers:
    """The words of a search channel. Raises ValueError where the two markers could be confused."""

    start: str = "<search>"
    end: str = "</search>"
    failed: str = "FAILED"
    passage_separator: str = ";"

    def __post_init__(self) -> None:
        # Without containment the marker that starts first also ends first, however text is split.
        if not self.start or not self.end or self.start in self.end or self.end in self.start:
            raise ValueError(f"markers {self.start!r} and {self.end!r} are empty or overlap")


# How a server decodes the sequences that it runs.
IN_BATCHES: Final = "in batches"
ROW_BY_ROW: Final = "row by row"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedOn:
    """Of a training: about so many contexts had a question of this task and way."""

    task: str
    # As Way.name has it: `cot`, `search regex`.
    way: str
    contexts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedBy:
    """The training that made a checkpoint: those that differ in the seed alone made one model."""

    recipe: str
    # Which of the recipe's models; empty where it has one.
    model: str = ""
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelDescription:
    """What is served; zero, empty and None stand for what a server does not tell, or has not."""

    name: str
    # RNN, SSM, TRANSFORMER or HYBRID; of servers that are not ours whatever endpoints.toml says.
    family: str
    engine: str = ""
    engine_version: str = ""
    # SHA-256 over the checkpoint's files, and over the tokenizer alone.
    checkpoint_digest: str = ""
    tokenizer_digest: str = ""
    num_parameters: int = 0
    # What a sequence carries whatever its length, and what every token of its context adds.
    state_bytes: int = 0
    state_bytes_per_token: int = 0
    # Where a question begins all that is known of its context are so many bits, and `state_bytes`
    # are these; 0: the whole state goes on.
    state_bits: int = 0
    # Which tokens its attention layers keep, as cache_policy.py reads it; empty: not told otherwise
    # than the checkpoint has it.
    cache_policy: str = ""
    context_limit: int | None = None
    # What is computed in, and how the weights are stored.
    dtype: str = ""
    stored_dtype: str = ""
    device: str = ""
    # IN_BATCHES or ROW_BY_ROW.
    decoding: str = ""
    vocabulary_size: int = 0
    num_slots: int = 0
    max_prompt_tokens: int = 0
    max_new_tokens: int = 0
    # The search channel: None and no mode where the model has none.
    markers: Markers | None = None
    modes: tuple[Mode, ...] = ()
    # Whether it can be told to search another text than the prompt.
    takes_searched_text: bool = False
    # The styles of prompts that it reads.
    styles: tuple[str, ...] = ()
    # Tasks that it was trained on; empty: not said.
    trained_tasks: tuple[str, ...] = ()
    # How much of each, by way; empty: not said.
    trained_on: tuple[TrainedOn, ...] = ()
    # None: not said.
    trained_by: TrainedBy | None = None
    # Its config.json; empty: not said.
    config_json: str = ""
    # Whether it can be asked with messages, which its checkpoint's chat template words.
    has_chat_template: bool = False
    # The most likeliest tokens that it gives at a place; None: no log-probabilities, no scores.
    max_top_log_probs: int | None = None
