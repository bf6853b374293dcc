"""Sequences that pause, go on and are closed, each as if it were alone."""

from dataclasses import replace

import pytest

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.generation import Sampling
from harness_servers.token_source import Closing, Extension, Opening

RANDOM = Sampling(temperature=1.3, top_k=50, top_p=0.9, seed=11)


def prompt(salt: int, length: int = 20) -> list[int]:
    return [(31 * salt + 7 * i * i + i) % 800 for i in range(length)]


@pytest.mark.parametrize("num_added", [0, 1, 8, 9, 40])
@pytest.mark.parametrize("sampling", [Sampling(), RANDOM])
def test_after_a_stop_it_goes_on_with_what_it_is_extended_by(
    by_hand, alone, model, num_added: int, sampling: Sampling
) -> None:
    stop_ids = range(0, 812, 9)
    turns = [((), 40), (prompt(3, num_added), 40), (prompt(4, num_added), 40)]
    driver = by_hand(model)
    asked = [prompt(salt) for salt in range(6)]
    ids = [driver.open(one, sampling=sampling, stop_ids=stop_ids) for one in asked]
    driver.run()
    ends = [len(driver.told[one].tokens) for one in ids]
    assert min(ends) < 40
    for _, (added, _) in enumerate(turns[1:]):
        for sequence_id in ids:
            assert driver.told[sequence_id].is_paused
            driver.extend(sequence_id, added)
        driver.run()
    for sequence_id, one in zip(ids, asked, strict=True):
        expected = alone(model, one, turns, sampling=sampling, stop_ids=stop_ids)
        assert driver.told[sequence_id].tokens == expected


def test_only_what_was_added_is_read(by_hand, hash_model) -> None:
    read = []

    class Watched:
        def __getattr__(self, name):
            return getattr(hash_model, name)

        def prefill(self, tokens_BL, lengths_B, *where):
            read.append(int(lengths_B.sum()))
            return hash_model.prefill(tokens_BL, lengths_B, *where)

        def decode(self, tokens_B, *where):
            read.append(len(tokens_B))
            return hash_model.decode(tokens_B, *where)

    driver = by_hand(Watched())
    sequence_id = driver.open([1] * 100, max_new_tokens=5)
    driver.run()
    assert sum(read) == 100 + 4
    # The fifth token has been written and not read.
    driver.extend(sequence_id, [2] * 30, max_new_tokens=3)
    driver.run()
    assert sum(read) == 100 + 5 + 30 + 2


def test_a_limit_counts_from_the_extension_and_a_draw_from_the_beginning(
    by_hand, hash_model, alone
) -> None:
    driver = by_hand(hash_model)
    sequence_id = driver.open([1, 2, 3], max_new_tokens=7, sampling=RANDOM)
    driver.run()
    for limit in (1, 1, 5):
        driver.extend(sequence_id, [], max_new_tokens=limit)
        driver.run()
    at_once = driver.open([1, 2, 3], max_new_tokens=14, sampling=RANDOM)
    driver.run()
    assert driver.told[sequence_id].tokens == driver.told[at_once].tokens
    assert driver.told[at_once].tokens == alone(hash_model, [1, 2, 3], [((), 14)], sampling=RANDOM)


def test_a_pause_is_told_once_with_the_last_token(by_hand, hash_model) -> None:
    driver = by_hand(hash_model)
    sequence_id = driver.open([4], max_new_tokens=9)
    driver.run()
    chunks = driver.told[sequence_id].chunks
    assert [chunk.is_paused for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].token_ids
    assert driver.engine.take_news() is None
    assert not driver.engine.has_work


def test_the_first_chunk_comes_before_anything_is_read(by_hand, hash_model) -> None:
    driver = by_hand(hash_model)
    for number, cached in ((0, 0), (1, 299)):
        driver.open([5] * 300, max_new_tokens=3)
        [first] = driver.told[number].chunks
        assert (first.num_cached, first.token_ids) == (cached, [])
        driver.run()
        assert [chunk.num_cached for chunk in driver.told[number].chunks[1:]] == [None] * (
            len(driver.told[number].chunks) - 1
        )


def test_closing_frees_the_slot_at_once_and_troubles_nobody(by_hand, alone, model) -> None:
    driver = by_hand(model, options=EngineOptions(num_slots=2))
    closed, stays = driver.open(prompt(1, 300)), driver.open(prompt(2))
    driver.step()
    driver.close(closed)
    driver.close(closed)
    num_chunks = len(driver.told[closed].chunks)
    after = driver.open(prompt(3, 9))
    driver.run()
    driver.extend(closed, [1, 2])
    driver.close(12345)
    assert len(driver.told[closed].chunks) == num_chunks
    for sequence_id, one in ((stays, prompt(2)), (after, prompt(3, 9))):
        assert driver.told[sequence_id].tokens == alone(model, one)
        driver.close(sequence_id)
    assert driver.engine.scheduler.num_free == 2


def test_one_that_is_closed_among_the_commands_that_opened_it_leaves_no_trace(
    by_hand, hash_model, alone
) -> None:
    driver = by_hand(hash_model, options=EngineOptions(num_slots=1))
    first = Opening(sequence_id=7, token_ids=[1], sampling=Sampling(), max_new_tokens=3)
    driver.open([9])
    driver.take(
        Closing(sequence_id=0),
        first,
        Closing(sequence_id=7),
        Closing(sequence_id=8),
    )
    other = driver.open([2, 3])
    driver.run()
    assert driver.told[other].tokens == alone(hash_model, [2, 3])


def test_what_no_runner_may_ask_is_an_error(by_hand, hash_model) -> None:
    driver = by_hand(hash_model, options=EngineOptions(num_slots=2))
    opening = Opening(sequence_id=0, token_ids=[1], sampling=Sampling(), max_new_tokens=3)
    driver.open([1])
    with pytest.raises(ValueError, match="sequence 0 is open"):
        driver.take(opening)
    with pytest.raises(ValueError, match="does not wait"):
        driver.extend(0, [1])
    driver.open([1])
    with pytest.raises(ValueError, match="no slot is free for sequence 2"):
        driver.open([1])


def test_news_that_can_wait_gather_until_they_are_due(by_hand, hash_model) -> None:
    now = [0]
    options = EngineOptions(news_interval_ns=100)
    driver = by_hand(hash_model, options=options, clock=lambda: now[0], is_interrupted=lambda: True)
    driver.open([1], max_new_tokens=1000)
    driver.open([2], max_new_tokens=1000)
    for _ in range(6):
        driver.step()
    told = driver.told[0].chunks
    # Its state, and its first token.
    assert [len(chunk.token_ids) for chunk in told] == [0, 1]
    now[0] = 100
    driver.step()
    assert [len(chunk.token_ids) for chunk in told] == [0, 1, 6]
    assert [len(chunk.token_ids) for chunk in driver.told[1].chunks] == [0, 1, 6]


def test_news_that_are_due_end_a_row_of_steps(by_hand, hash_model) -> None:
    now = [0]

    def clock() -> int:
        now[0] += 1
        return now[0]

    driver = by_hand(hash_model, options=EngineOptions(news_interval_ns=50), clock=clock)
    driver.open([1], max_new_tokens=1000)
    driver.step()
    driver.step()
    assert 10 < len(driver.told[0].tokens) <= 50


def test_neighbours_with_other_stop_ids_do_not_stop(by_hand, hash_model, alone) -> None:
    driver = by_hand(hash_model)
    asked = [(row % 5, replace(RANDOM, seed=row)) for row in range(10)]
    ids = [
        driver.open([row], sampling=sampling, stop_ids=[row, row + 5]) for row, sampling in asked
    ]
    driver.run()
    for sequence_id, (row, sampling) in zip(ids, asked, strict=True):
        expected = alone(hash_model, [row], sampling=sampling, stop_ids=[row, row + 5])
        assert driver.told[sequence_id].tokens == expected


def test_commands_are_done_in_their_order(by_hand, hash_model, alone) -> None:
    driver = by_hand(hash_model, options=EngineOptions(num_slots=1))
    driver.open([1], max_new_tokens=2)
    driver.run()
    driver.take(Extension(sequence_id=0, token_ids=[3], max_new_tokens=2))
    driver.run()
    assert driver.told[0].tokens == alone(hash_model, [1], [((), 2), ([3], 2)])
