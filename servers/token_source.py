"""What an engine is to the runner in front of it: it continues token ids, and nothing else.

Commands and news are values of msgspec: they travel between processes as they are.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from harness_servers.generation import Sampling, TokenLogProb


class Opening(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A sequence begins; there is a slot for it: no more are open than the engine has slots.

    The engine reads the tokens and writes on after them.
    """

    sequence_id: int
    token_ids: Sequence[int]
    sampling: Sampling
    # As in Extension.
    max_new_tokens: int
    # The engine pauses after one of these, which is the last that it gives.
    stop_ids: frozenset[int] = frozenset()
    # Likeliest tokens given with every token's log-probability; None: nothing of the kind.
    top_log_probs: int | None = None
    # Where the completion is given: the place of its first token that is to be scored, at least 1.
    # The engine then writes nothing: how likely these are is the news.
    first_scored: int | None = None


class Extension(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A sequence that paused goes on: the engine reads these, if any, and writes on after them."""

    sequence_id: int
    token_ids: Sequence[int]
    # The engine pauses after so many of its own, at least 1, counted from here.
    max_new_tokens: int


class Closing(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A sequence is over, whatever it was doing; its slot is free. Nothing more is heard of it."""

    sequence_id: int


Command = Opening | Extension | Closing


class TokenChunk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """News of one sequence: what it wrote, or how likely what it was given is."""

    sequence_id: int
    token_ids: Sequence[int] = ()
    # Of every token written, or of the next ones given, where they were asked for.
    log_probs: Sequence[TokenLogProb] = ()
    # In the first chunk, which comes as soon as there is a state for the sequence and may be empty:
    # tokens that had been read for it before.
    num_cached: int | None = None
    # It has stopped by itself, at its last token or at its limit, or all that was given is scored.
    # It keeps its slot and waits to be extended or closed.
    is_paused: bool = False
    # Why it cannot go on, where that is its own fault: it is closed.
    error: str = ""


class EngineCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine has done since it started, and what its states take now."""

    num_steps: int
    # Of the slots, and of the prefixes that are kept.
    slot_bytes: int
    cache_bytes: int


class News(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What there is to say of several sequences, and since when (time.monotonic_ns)."""

    at_ns: int
    chunks: Sequence[TokenChunk]
    # Where they are asked for.
    counts: EngineCounts | None = None


class TokenSource(Protocol):
    """An engine, driven from one event loop. Its draws depend on a sequence's seed and on how many
    tokens it has written, and on nothing else.
    """

    async def start(self, listen: Callable[[News], None]) -> None:
        """Returns once the engine is warm; its news come to `listen`, on this event loop."""
        ...

    def send(self, command: Command) -> None:
        """Returns at once; what is sent in one turn of the event loop travels together."""
        ...

    async def wait_failed(self) -> str:
        """Returns when the engine has died, and says of what."""
        ...

    async def close(self) -> None:
        """Ends the engine."""
        ...
