"""A first token alone is likely after nothing: its score needs no engine, and waits for nobody."""

import pytest
from harnessapi.values import FinishReason

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.generation import Finished

# More than Python has room for on its stack.
NUM_SCORES = 700


@pytest.mark.parametrize("ends_by", ["a reader", "a deadline"])
def test_each_ends_once_however_many_there_are_and_whoever_has_the_slot(
    drive, lstm, codec, ends_by: str
) -> None:
    now = [0]
    driver = drive(lstm, codec, options=EngineOptions(num_slots=1), clock=lambda: now[0])
    first = driver.ask([1, 2, 3], deadline_ns=10, arrived_ns=0)
    driver.step()
    scores = [
        driver.ask((), given_ids=[5], deadline_ns=10, arrived_ns=0) for _ in range(NUM_SCORES)
    ]
    if ends_by == "a reader":
        driver.cancel(first)
    else:
        now[0] = 20
    driver.run()
    for one in scores:
        assert [token.token_id for token in one.log_probs] == [5]
        assert [finished.reason for finished in one.of(Finished)] == [FinishReason.LENGTH]
    assert len(first.of(Finished)) == 1
