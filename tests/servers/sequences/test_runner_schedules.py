"""Whatever comes when: a sequence has its tokens, as it has them alone, and slots become free."""

import copy
import functools
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from harnessapi.values import FinishReason, Mode
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from harness_retrieval.local import LocalRetriever
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import UnavailableError
from harness_servers.generation import Retrieval, Sampling, Stopping

NUM_SLOTS = 3
CUT_OFF = {FinishReason.CANCELLED, FinishReason.DEADLINE}
NUM_KINDS = 6


class Patient(LocalRetriever):
    """The deadlines of these tests are on a clock of their own."""

    def search(self, requests):
        return super().search([replace(request, deadline_ns=None) for request in requests])


def kind_of_job(number: int) -> dict:
    """A prompt, and how it is gone on from; some are searched, drawn at random or long."""
    length = [1, 2, 9, 33, 70, 300][number % NUM_KINDS]
    return {
        "prompt": [(37 * i + 11 * number) % 800 for i in range(length)],
        "stopping": Stopping(max_new_tokens=5 + 7 * number, ignore_eos=number % 2 == 0),
        "sampling": Sampling(temperature=3.0 * (number % 3 > 0), seed=number),
        "retrieval": Retrieval(mode=Mode.REGEX) if number % 2 == 0 else None,
    }


@pytest.fixture(params=["lstm", "hybrid"])
def searching(request, tokenizer):
    """A random model that likes the markers: it searches at random places for random words."""
    model = copy.deepcopy(request.getfixturevalue(request.param))
    if request.param == "lstm":
        for word in ("<search>", "</search>", r"(\S+)"):
            model.head_bias.data[tokenizer.token_to_id(word)] += 20
    return model


def test_schedules(drive, searching, codec) -> None:
    @functools.cache
    def alone(number: int) -> list[int]:
        driver = drive(searching, codec)
        received = driver.ask(**kind_of_job(number))
        driver.run()
        return received.tokens

    class Schedules(RuleBasedStateMachine):
        @initialize(chunk=st.sampled_from([7, 32, 512]), cached=st.booleans())
        def begin(self, chunk: int, *, cached: bool) -> None:
            self.now = 0
            options = EngineOptions(
                num_slots=NUM_SLOTS,
                prefill_tokens=chunk,
                snapshot_interval=16,
                prefix_cache_bytes=2**20 * cached,
            )
            self.driver = drive(
                searching,
                codec,
                options=options,
                retriever=Patient(),
                clock=lambda: self.now,
            )
            self.asked = []

        @rule(number=st.integers(0, NUM_KINDS - 1), hurry=st.none() | st.integers(1, 200))
        def submit(self, number: int, hurry: int | None) -> None:
            deadline_ns = None if hurry is None else self.now + hurry
            how = kind_of_job(number)
            received = self.driver.ask(**how, deadline_ns=deadline_ns, arrived_ns=self.now)
            self.asked.append((number, received))

        @rule(number=st.integers(0, 5))
        def score(self, number: int) -> None:
            prompt = kind_of_job(number)["prompt"]
            self.driver.ask(prompt, given_ids=[5, 6, 7], top_log_probs=1, arrived_ns=self.now)

        @rule(which=st.integers(0, 100))
        def cancel(self, which: int) -> None:
            if self.asked:
                self.driver.cancel(self.asked[which % len(self.asked)][1])

        @rule(num=st.integers(1, 20), ns=st.integers(0, 20))
        def step(self, num: int, ns: int) -> None:
            for _ in range(num):
                self.now += ns
                self.driver.step()

        @rule()
        def search(self) -> None:
            self.driver.search()

        @rule()
        def lose_a_search(self) -> None:
            if self.driver.searches:
                sequence_id, _ = self.driver.searches.pop()
                self.driver.runner.take_result(sequence_id, UnavailableError("gone"))

        def teardown(self) -> None:
            self.driver.run()
            for number, received in self.asked:
                tokens, whole = received.tokens, alone(number)
                if received.error is not None or received.finished.reason in CUT_OFF:
                    assert tokens == whole[: len(tokens)]
                else:
                    assert tokens == whole
            assert self.driver.engine.scheduler.running == []
            assert self.driver.searches == []
            # All slots at once, for who comes next.
            again = [self.driver.ask(**kind_of_job(number)) for number in range(NUM_SLOTS)]
            self.driver.step()
            assert len(self.driver.engine.scheduler.running) == NUM_SLOTS
            self.driver.run()
            assert [one.tokens for one in again] == [alone(number) for number in range(NUM_SLOTS)]

    run_state_machine_as_test(
        Schedules,
        settings=settings(
            max_examples=15,
            phases=[Phase.generate],
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
