"""What a foreign engine does for us: it continues token ids. Text and searches stay ours."""

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from harness_servers.generation import Sampling, TokenLogProb


@dataclass(frozen=True, kw_only=True, slots=True)
class Continuation:
    """What is asked of the engine: to write on after these tokens, up to a search or to the end."""

    token_ids: list[int]
    sampling: Sampling
    max_new_tokens: int
    # The engine stops by itself after one of these; it gives that token too.
    stop_ids: frozenset[int]
    # As Job.top_log_probs.
    top_log_probs: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenText:
    """What the engine is to read: how likely are the tokens from `first` (at least 1) on?"""

    token_ids: list[int]
    first: int
    top_log_probs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The next tokens; and of those that they continue, how many the engine had read before."""

    token_ids: list[int]
    num_cached: int
    # One of each token, where they were asked for.
    log_probs: list[TokenLogProb] = field(default_factory=list)


class TokenSource(Protocol):
    """An engine, driven from one event loop. Errors are UnavailableError."""

    async def start(self) -> None:
        """Returns once the engine is warm."""
        ...

    def generate(self, continuation: Continuation) -> AsyncGenerator[Written]:
        """The tokens as they come. Closing it aborts the engine's work on them."""
        ...

    async def score(self, text: GivenText) -> list[TokenLogProb]:
        """Of the tokens asked for, in their order. Cancelling it aborts the engine's work."""
        ...

    async def wait_failed(self) -> None:
        """Returns when the engine has died."""
        ...

    async def close(self) -> None:
        """Ends the engine."""
        ...


def continuation_sampling(sampling: Sampling, num_generated: int) -> Sampling:
    """The sampling of a continuation that begins after `num_generated` tokens.

    With the seed as it is, every continuation of a sequence would repeat the draws of the first.
    """
    digest = hashlib.blake2b(f"{sampling.seed}/{num_generated}".encode(), digest_size=8).digest()
    seed = int.from_bytes(digest, "big") >> 1
    return Sampling(
        temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p, seed=seed
    )
