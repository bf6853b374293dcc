"""So many tokens may be spent: a sample is begun only where there is room for all of it."""

import asyncio

from harness.clients.completion import Completion
from harness.errors import IncompleteError


class BudgetError(IncompleteError):
    """The budget is spent; what was done is stored."""


class Budget:
    """Of one session, over all endpoints; `total` None has no end.

    Counted are the tokens of prompts, completions and insertions. Before its end a sample counts
    as the longest that it can be, so that no budget is exceeded.
    """

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.spent = 0
        self._reserved = 0
        self._changed = asyncio.Event()

    async def reserve(self, most: int) -> None:
        """Waits for those that are begun, where they may leave room. Raises BudgetError."""
        while self.total is not None and self.spent + self._reserved + most > self.total:
            if not self._reserved:
                raise BudgetError(
                    f"the budget is spent: {self.spent:,} of {self.total:,} tokens "
                    f"(--max-tokens-total), and the next sample may take {most:,}"
                )
            self._changed.clear()
            await self._changed.wait()
        self._reserved += most

    def settle(self, most: int, completion: Completion | None) -> None:
        """The sample that `most` was reserved for is over."""
        self._reserved -= most
        if completion is not None:
            self.spent += num_tokens(completion)
        self._changed.set()


def num_tokens(completion: Completion) -> int:
    """All that one completion took; a dialogue pays for its prompt in every turn."""
    prompts = [turn.num_prompt_tokens for turn in completion.usage if turn.num_prompt_tokens]
    if len(prompts) > 1:
        return sum(prompts) + completion.num_generated_tokens
    return (
        completion.num_prompt_tokens
        + completion.num_generated_tokens
        + completion.num_inserted_tokens
    )
