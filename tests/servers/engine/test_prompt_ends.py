"""A model that is told where a prompt ends: ReMamba, with random tiny weights, stepped by hand."""

import pytest
import torch

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.model_runner import ModelRunner
from harness_servers.generation import Sampling
from harness_servers.models.remamba2 import ReMamba2Model
from harness_servers.models.remamba2_reference import reference_logits

from ..conftest import make_random
from ..models.architectures import REMAMBA2

NUM_NEW = 20
RANDOM = Sampling(temperature=1.0, top_k=50, seed=5)


@pytest.fixture(scope="module")
def model(tokenizer) -> ReMamba2Model:
    made = make_random(ReMamba2Model, REMAMBA2, tokenizer.get_vocab_size())
    made.selection.dt_shift.data.normal_(generator=torch.Generator().manual_seed(1))
    made.selection.value.weight.data *= 5
    return made


def prompts(num: int) -> list[list[int]]:
    """Lengths from 1 to a few chunks, mixed."""
    lengths = [1, 2, 9, 10, 33, 70, 3, 300]
    return [
        [(31 * row + 7 * i * i + i) % 800 for i in range(lengths[row % len(lengths)])]
        for row in range(num)
    ]


def written(by_hand, model, asked, options=None, **how) -> list[list[int]]:
    driver = by_hand(model, options=options)
    opened = [driver.open(prompt, max_new_tokens=NUM_NEW, **how) for prompt in asked]
    driver.run()
    return [driver.told[one].tokens for one in opened]


OPTIONS = {
    "at once": EngineOptions(),
    "in chunks": EngineOptions(prefill_tokens=7, min_chunk_tokens=3, snapshot_interval=5),
    "without prefixes": EngineOptions(prefix_cache_bytes=0),
    # Of these none has room that was not ended, and some have where it was.
    "with room for few": EngineOptions(prefix_cache_bytes=9000),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("sampling", [Sampling(), RANDOM], ids=["likeliest", "drawn"])
def test_alone_among_neighbours_and_in_chunks_it_writes_the_same(
    by_hand, alone, model, options, sampling
) -> None:
    asked = prompts(16)
    expected = [alone(model, one, [((), NUM_NEW)], sampling=sampling) for one in asked]
    assert len({tuple(tokens) for tokens in expected}) > 8
    assert written(by_hand, model, asked, options, sampling=sampling) == expected
    singly = [written(by_hand, model, [one], options, sampling=sampling)[0] for one in asked]
    assert singly == expected


def test_it_writes_what_the_equations_say(by_hand, model) -> None:
    prompt = prompts(6)[5]
    [tokens] = written(by_hand, model, [prompt])
    logits_LV = reference_logits(model, [*prompt, *tokens], len(prompt))
    assert logits_LV[len(prompt) - 1 : -1].argmax(-1).tolist() == tokens


@pytest.mark.parametrize("max_bytes", [2**20, 9000, 30_000, 0])
def test_a_prompt_that_begins_with_another_ends_where_it_ends_itself(
    by_hand, alone, model, max_bytes
) -> None:
    first = prompts(8)[7]
    asked = [first, [*first, 5, 6], first[:200], [*first[:150], 9], first]
    options = EngineOptions(snapshot_interval=64, prefix_cache_bytes=max_bytes)
    driver = by_hand(model, options=options)
    for prompt in asked:
        one = driver.open(prompt, max_new_tokens=NUM_NEW)
        driver.run()
        assert driver.told[one].tokens == alone(model, prompt, [((), NUM_NEW)])
        driver.close(one)
    if max_bytes == 2**20:
        cached = [driver.told[one].chunks[0].num_cached for one in driver.told]
        assert cached == [0, 300, 192, 128, 299]


@pytest.mark.parametrize("length", [0, 1, 5, 40])
def test_what_is_inserted_after_a_prompt_is_no_prompt(by_hand, alone, model, length) -> None:
    prompt, inserted = prompts(6)[5], [(11 * i + 3) % 800 for i in range(length)]
    driver = by_hand(model, options=EngineOptions(prefill_tokens=16, min_chunk_tokens=4))
    neighbour = driver.open(prompts(8)[7], max_new_tokens=60)
    one = driver.open(prompt, max_new_tokens=6)
    while not driver.told[one].is_paused:
        driver.step()
    driver.extend(one, inserted, 9)
    driver.run()
    assert driver.told[one].tokens == alone(model, prompt, [((), 6), (inserted, 9)])
    assert driver.told[neighbour].tokens == alone(model, prompts(8)[7], [((), 60)])
    # The same tokens read once, by the equations: none but the prompt is condensed.
    tokens = driver.told[one].tokens
    text = [*prompt, *tokens[:6], *inserted, *tokens[6:]]
    logits_LV = reference_logits(model, text, len(prompt))
    assert logits_LV[-10:-1].argmax(-1).tolist() == tokens[6:]


@pytest.mark.parametrize("scored_tokens", [1, 5, 512])
@pytest.mark.parametrize("first_scored", [1, 2, 30, 69, 70])
def test_what_is_given_to_be_scored_is_no_prompt(
    by_hand, score_alone, model, scored_tokens, first_scored
) -> None:
    text = prompts(6)[5]
    options = EngineOptions(
        scored_tokens=scored_tokens, prefill_tokens=16, min_chunk_tokens=4, snapshot_interval=8
    )
    driver = by_hand(model, options=options)
    driver.open(prompts(5)[4], max_new_tokens=60)
    asked = [
        driver.open(text, first_scored=place, top_log_probs=2)
        for place in (first_scored, 40, first_scored)
    ]
    driver.run()
    for one, place in zip(asked, (first_scored, 40, first_scored), strict=True):
        found, expected = driver.told[one].log_probs, score_alone(model, text, place)
        assert [each.token_id for each in found] == text[place:]
        assert [each.log_prob for each in found] == pytest.approx(
            [each.log_prob for each in expected], abs=1e-5
        )


def test_what_it_wrote_scores_as_it_was_written(by_hand, model) -> None:
    prompt = prompts(6)[5]
    driver = by_hand(model)
    one = driver.open(prompt, max_new_tokens=NUM_NEW, top_log_probs=0)
    driver.run()
    told = driver.told[one]
    other = driver.open([*prompt, *told.tokens], first_scored=len(prompt), top_log_probs=0)
    driver.run()
    assert [each.log_prob for each in driver.told[other].log_probs] == pytest.approx(
        [each.log_prob for each in told.log_probs], abs=1e-5
    )


def test_after_the_warm_up_and_on_two_threads_it_writes_the_same(by_hand, alone, model) -> None:
    driver = by_hand(model, options=EngineOptions(num_slots=32))
    driver.engine.runner.warm_up()
    driver.engine.runner.share_rows(2)  # so many rows that both have some
    opened = {driver.open(prompt, max_new_tokens=NUM_NEW): prompt for prompt in prompts(32)}
    driver.run()
    for one, prompt in opened.items():
        assert driver.told[one].tokens == alone(model, prompt, [((), NUM_NEW)])


def test_a_slot_is_as_large_after_a_prompt_however_long_it_was(by_hand, model) -> None:
    driver = by_hand(model)
    sizes = []
    for prompt in prompts(8)[6:]:
        one = driver.open(prompt, max_new_tokens=NUM_NEW)
        driver.run()
        slot = driver.engine.scheduler.running[0].slot
        snapshot = driver.engine.runner.pool.snapshot(slot)
        sizes.append(sum(tensor.nbytes for tensor in snapshot.values()))
        driver.close(one)
    assert sizes == [model.state_bytes()] * 2


def test_a_model_that_is_told_no_ends_is_asked_for_none(hash_model, ended_hash_model) -> None:
    runner = ModelRunner(hash_model, EngineOptions(num_slots=2))
    runner.warm_up()
    assert not hasattr(hash_model, "end_prompts")
    told = ModelRunner(ended_hash_model, EngineOptions(num_slots=2))
    told.warm_up()
    assert not torch.equal(told.pool.state["hash"], runner.pool.state["hash"])
