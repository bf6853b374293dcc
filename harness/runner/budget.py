"""So much may be spent: a sample is begun only where there is room for all of it."""

import asyncio
from collections.abc import Callable

from harness.errors import IncompleteError
from harness.runs.run_limits import Limits
from harness.runs.spent import Spent


class BudgetError(IncompleteError):
    """The budget is spent; what was done is stored."""


class Budget:
    """Of one run, over all endpoints, from what it has `spent` before.

    Before its end a sample counts as the longest that it can be. Over a limit are at most what
    retries take, and the further turns of dialogues that are under way.
    """

    def __init__(
        self,
        limits: Limits,
        spent: Spent | None = None,
        *,
        may_lift: bool = False,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """`may_lift`: of tokens that have no room for one more sample at the beginning; it is told

        to `say`. So `--resume` by itself goes on where they were spent.
        """
        self.spent = spent or Spent()
        self._max_tokens = limits.max_tokens_total
        self._max_cost = limits.max_cost
        self._reserved = Spent()
        self._num_reserved = 0
        self._changed = asyncio.Event()
        self._say = say
        self._may_lift = may_lift

    async def reserve(self, most: Spent) -> None:
        """Waits for those that are begun, where they may leave room. Raises BudgetError."""
        while (reason := self._too_much(most)) is not None:
            if not self._num_reserved:
                raise BudgetError(reason)
            self._changed.clear()
            await self._changed.wait()
        self._may_lift = False
        self._reserved += most
        self._num_reserved += 1

    def settle(self, most: Spent, used: Spent) -> None:
        """The sample that `most` was reserved for is over."""
        self._reserved -= most
        self._num_reserved -= 1
        self.spent += used
        self._changed.set()

    def _too_much(self, most: Spent) -> str | None:
        """Why a sample that takes so much cannot be begun now."""
        total = self.spent + self._reserved + most
        if self._max_cost is not None and total.cost > self._max_cost:
            return (
                f"the budget is spent: {self.spent.cost:,.4g} of {self._max_cost:,.4g} "
                f"(--max-cost), and the next sample may cost {most.cost:,.4g}; --resume takes a "
                "larger --max-cost"
            )
        if self._max_tokens is None or total.tokens <= self._max_tokens:
            return None
        if self._may_lift:
            self._say(
                f"the tokens of the run ({self._max_tokens:,}) are spent: it goes on without a "
                "limit of tokens (--max-tokens-total N: with N more)"
            )
            self._max_tokens = None
            return None
        return (
            f"the budget is spent: {self.spent.tokens:,} of {self._max_tokens:,} tokens "
            f"(--max-tokens-total), and the next sample may take {most.tokens:,}"
        )
