"""What a foreign engine does for us: it continues token ids. Text and searches stay ours."""

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from harness_servers.generation import Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class Continuation:
    """What is asked of the engine: to write on after these tokens, up to a search or to the end."""

    token_ids: list[int]
    sampling: Sampling
    max_new_tokens: int
    # The engine stops by itself after one of these; it gives that token too.
    stop_ids: frozenset[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The next tokens; and of those that they continue, how many the engine had read before."""

    token_ids: list[int]
    num_cached: int


class TokenSource(Protocol):
    """An engine, driven from one event loop. Errors are UnavailableError."""

    async def start(self) -> None:
        """Returns once the engine is warm."""
        ...

    def generate(self, continuation: Continuation) -> AsyncGenerator[Written]:
        """The tokens as they come. Closing it aborts the engine's work on them."""
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
