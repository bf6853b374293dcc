"""The engine's tokens are those of each sequence alone, however they are batched and cut up."""

import itertools
import random
from dataclasses import replace

import pytest

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.generation import Sampling

RANDOM = Sampling(temperature=1.3, top_k=50, top_p=0.9, seed=11)
NO_LIMIT = 10_000


def prompts(num: int) -> list[list[int]]:
    """Lengths from 1 to a few chunks, mixed."""
    lengths = [1, 2, 9, 10, 33, 70, 3, 300]
    return [
        [(31 * row + 7 * i * i + i) % 800 for i in range(lengths[row % len(lengths)])]
        for row in range(num)
    ]


def never_due() -> int:
    """A clock that stands: nothing is due but what is urgent."""
    return 0


@pytest.mark.parametrize("sampling", [Sampling(), RANDOM])
def test_tokens_are_those_of_one_row_at_a_time(by_hand, alone, model, sampling: Sampling) -> None:
    asked = prompts(64)
    driver = by_hand(model)
    ids = [driver.open(prompt, sampling=sampling) for prompt in asked]
    driver.run()
    for prompt, sequence_id in itertools.islice(zip(asked, ids, strict=True), 16):
        expected = alone(model, prompt, sampling=sampling)
        single = by_hand(model)
        single.open(prompt, sampling=sampling)
        single.run()
        assert driver.told[sequence_id].tokens == single.told[0].tokens == expected
    assert len({tuple(driver.told[one].tokens) for one in ids}) > 8


@pytest.mark.parametrize("seed", range(3))
def test_how_many_steps_are_made_in_a_row_changes_nothing(by_hand, model, seed: int) -> None:
    def complete(is_interrupted) -> list[tuple]:
        driver = by_hand(model, clock=never_due, is_interrupted=is_interrupted)
        for row, prompt in enumerate(prompts(12)):
            sampling = replace(RANDOM, seed=row) if row % 3 == 0 else Sampling()
            driver.open(
                prompt,
                sampling=sampling,
                stop_ids=range(20 * row, 20 * row + 20),
                top_log_probs=row % 4 or None,
            )
        driver.run()
        for sequence_id in driver.told:
            driver.extend(sequence_id, [5] * sequence_id)
        driver.run()
        return [(told.tokens, told.log_probs) for told in driver.told.values()]

    drawn = random.Random(seed)
    at_random = complete(lambda: drawn.random() < 0.3)
    assert complete(lambda: True) == complete(lambda: False) == at_random


@pytest.mark.parametrize("num_prompt", [1, 2, 40])
def test_a_score_is_what_one_row_at_a_time_says(
    by_hand, score_alone, model, num_prompt: int
) -> None:
    options = EngineOptions(prefill_tokens=24, min_chunk_tokens=5, scored_tokens=11)
    driver = by_hand(model, options=options)
    asked = [text for text in prompts(16) if len(text) >= num_prompt]
    ids = []
    for text in asked:
        ids.append(driver.open(text, first_scored=num_prompt, top_log_probs=2))
        driver.open(text, max_new_tokens=9, top_log_probs=1)
    driver.run()
    for text, sequence_id in zip(asked, ids, strict=True):
        told = driver.told[sequence_id]
        expected = score_alone(model, text, num_prompt)
        assert [one.token_id for one in told.log_probs] == text[num_prompt:]
        assert (told.tokens, told.is_paused) == ([], True)
        for one, other in zip(told.log_probs, expected, strict=True):
            assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
            assert [p for _, p in one.top] == pytest.approx([p for _, p in other.top], abs=1e-4)


def test_what_is_written_comes_with_its_log_probabilities(by_hand, score_alone, model) -> None:
    driver = by_hand(model)
    asked = prompts(8)
    for prompt in asked:
        driver.open(prompt, top_log_probs=2)
    without = driver.open(asked[0])
    driver.run()
    for sequence_id, prompt in enumerate(asked):
        told = driver.told[sequence_id]
        expected = score_alone(model, [*prompt, *told.tokens], len(prompt))
        assert [one.token_id for one in told.log_probs] == told.tokens
        for one, other in zip(told.log_probs, expected, strict=True):
            assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
    assert driver.told[without].log_probs == []
