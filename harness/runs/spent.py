"""What completions took, as it is paid for; and how far the stored samples of a run have come."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.clients.completion import Completion
from harness.endpoints.prices import Prices
from harness.runs.manifest import Manifest
from harness.runs.records import SampleRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """Tokens that were read and written, and what they cost."""

    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(tokens=self.tokens + other.tokens, cost=self.cost + other.cost)

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(tokens=self.tokens - other.tokens, cost=self.cost - other.cost)


def paid(num_read: int, num_written: int, prices: Prices | None) -> Spent:
    """Without prices nothing costs anything."""
    cost = 0.0 if prices is None else prices.cost(num_read, num_written)
    return Spent(tokens=num_read + num_written, cost=cost)


def paid_tokens(completion: Completion) -> tuple[int, int]:
    """Those that were read and those that were written; a dialogue reads its prompt in every turn.

    What retries took is not known.
    """
    prompts = [turn.num_prompt_tokens for turn in completion.usage if turn.num_prompt_tokens]
    if len(prompts) > 1:
        return sum(prompts), completion.num_generated_tokens
    read = completion.num_prompt_tokens + completion.num_inserted_tokens
    return read, completion.num_generated_tokens


@dataclass(kw_only=True, slots=True)
class CellTally:
    """Completions of a cell, and the right ones among them."""

    n: int = 0
    correct: int = 0

    def add(self, record: SampleRecord) -> None:
        """Counts one."""
        self.n += 1
        self.correct += record.is_correct


class SoFar:
    """Takes the stored samples of a run: a session that resumes it goes on from there."""

    def __init__(self, manifest: Manifest) -> None:
        self.tallies = {cell.key: CellTally() for cell in manifest.cells}
        self._endpoints = {cell.key: cell.endpoint for cell in manifest.cells}
        # By endpoint: read and written.
        self._tokens: dict[str, tuple[int, int]] = {}

    def add(self, record: SampleRecord) -> None:
        """Counts one."""
        self.tallies[record.cell].add(record)
        endpoint = self._endpoints[record.cell]
        read, written = self._tokens.get(endpoint, (0, 0))
        more_read, more_written = paid_tokens(record)
        self._tokens[endpoint] = (read + more_read, written + more_written)

    def spent(self, prices: Mapping[str, Prices | None]) -> Spent:
        """At these prices, by endpoint."""
        found = (paid(*each, prices.get(name)) for name, each in self._tokens.items())
        return sum(found, Spent())
