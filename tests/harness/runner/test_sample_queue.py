"""When a cell has samples enough, and what may be spent on the way: in the order of the samples."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from harness.endpoints.prices import Prices
from harness.errors import InputError
from harness.runner.budget import Budget, BudgetError
from harness.runner.sample_queue import Queued, SampleQueue
from harness.runs.run_limits import Limits, StopRule, parse_stop_rule
from harness.runs.spent import CellTally, Spent, paid

HALF = StopRule(width=0.5)
RIGHT: Any = SimpleNamespace(is_correct=True)
WRONG: Any = SimpleNamespace(is_correct=False)
ENOUGH = next(n for n in range(1, 1000) if HALF.holds(n, n))


def samples(*, num_due: int = 0, num: int = 1000) -> Iterator[Queued]:
    none: Any = None
    return (Queued(none, 0, number >= num_due) for number in range(num))


async def test_no_more_are_begun_than_are_enough() -> None:
    queue = SampleQueue(samples(), HALF, CellTally())
    num_asked = 0
    while await queue.next() is not None:
        num_asked += 1
        queue.ended(RIGHT)
    assert (num_asked, queue.is_over, queue.tally.n) == (ENOUGH, True, ENOUGH)


async def test_without_a_rule_all_are_asked() -> None:
    queue = SampleQueue(samples(num=50), None, CellTally())
    while await queue.next() is not None:
        queue.ended(RIGHT)
    assert (queue.tally.n, queue.is_over) == (50, False)


async def test_those_under_way_have_their_say_before_it_is_over() -> None:
    """Right answers came first; the wrong ones are slower, and no less of the sample."""
    queue = SampleQueue(samples(), HALF, CellTally())
    for _ in range(ENOUGH + 5):
        assert await queue.next() is not None
    for _ in range(ENOUGH):
        queue.ended(RIGHT)
    waiting = asyncio.create_task(queue.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    for _ in range(5):
        queue.ended(WRONG)
    assert not HALF.holds(ENOUGH, ENOUGH + 5)
    assert await waiting is not None
    assert not queue.is_over


async def test_gaps_before_a_stored_sample_are_filled_whatever_the_rule_says() -> None:
    queue = SampleQueue(samples(num_due=3), HALF, CellTally(n=100, correct=100))
    num_asked = 0
    while await queue.next() is not None:
        num_asked += 1
        queue.ended(RIGHT)
    assert num_asked == 3


async def test_an_errored_sample_counts_for_nothing() -> None:
    queue = SampleQueue(samples(num=3), HALF, CellTally())
    while await queue.next() is not None:
        queue.ended(None)
    assert queue.tally == CellTally()


async def test_repeats_of_a_sample_are_one_observation() -> None:
    none: Any = None
    samples = (Queued(none, repeat, repeat == 0) for _ in range(1000) for repeat in range(3))
    queue = SampleQueue(samples, HALF, CellTally(), repeats=3)
    while await queue.next() is not None:
        queue.ended(RIGHT)
    assert queue.tally.n == 3 * ENOUGH


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width=0", "--stop-when width=0: the width of an interval is a number over 0"),
        ("width=1", "below 1"),
        ("width=-0.1", "over 0"),
        ("width=nan", "over 0"),
        ("width=wide", "--stop-when width=wide"),
        ("width", "over 0"),
        ("widht=0.1", "unknown rule of --stop-when 'widht'; did you mean width=W"),
        ("", "unknown rule of --stop-when ''"),
    ],
)
def test_a_rule_that_is_none_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_stop_rule(text)


def test_a_rule_is_written_as_it_is_read() -> None:
    assert parse_stop_rule("width=0.02") == StopRule(width=0.02)
    assert str(StopRule(width=0.02)) == "width=0.02"
    assert parse_stop_rule("none") is None


def test_tokens_cost_what_a_million_of_their_kind_does() -> None:
    prices = Prices(prompt=0.5, completion=2)
    assert paid(1_000_000, 500_000, prices) == Spent(tokens=1_500_000, cost=1.5)
    assert paid(7, 3, None) == Spent(tokens=10)


async def test_nothing_is_begun_that_may_cost_more_than_is_left() -> None:
    budget = Budget(Limits(max_cost=1.0), Spent(tokens=5, cost=0.5))
    most = Spent(tokens=10, cost=0.3)
    await budget.reserve(most)
    waiting = asyncio.create_task(budget.reserve(most))
    await asyncio.sleep(0)
    assert not waiting.done()
    budget.settle(most, Spent(tokens=2, cost=0.1))
    await waiting
    budget.settle(most, most)
    with pytest.raises(BudgetError, match=r"0\.9 of 1 \(--max-cost\), and the next .* 0\.3"):
        await budget.reserve(most)
    assert budget.spent == Spent(tokens=17, cost=pytest.approx(0.9))


async def test_spent_tokens_of_an_earlier_session_lift_at_the_beginning_or_not_at_all() -> None:
    said: list[str] = []
    limits, most = Limits(max_tokens_total=100), Spent(tokens=30)
    lifted = Budget(limits, Spent(tokens=90), may_lift=True, say=said.append)
    for _ in range(9):
        await lifted.reserve(most)
    assert ["it goes on without a limit of tokens" in line for line in said] == [True]
    with pytest.raises(BudgetError):
        await Budget(limits, Spent(tokens=90), say=said.append).reserve(most)
    kept = Budget(limits, Spent(tokens=60), may_lift=True, say=said.append)
    await kept.reserve(most)
    kept.settle(most, most)
    with pytest.raises(BudgetError, match=r"90 of 100 tokens \(--max-tokens-total\)"):
        await kept.reserve(most)
    assert len(said) == 1
