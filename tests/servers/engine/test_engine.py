"""Batching, slots, ends and the prefix cache, stepped by hand."""

from dataclasses import replace

import pytest
import torch
from harnessapi.values import FinishReason, Part

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.pool import StatePool
from harness_servers.engine.prefix_cache import held_bytes
from harness_servers.engine.sampling import Sampler
from harness_servers.generation import Sampling, Started, Stopping

NUM_NEW = 48
LIMIT = Stopping(max_new_tokens=NUM_NEW, ignore_eos=True)


def prompts(num: int) -> list[list[int]]:
    """Lengths from 1 to a few chunks, mixed."""
    lengths = [1, 2, 9, 10, 33, 70, 3, 300]
    return [
        [(31 * row + 7 * i * i + i) % 800 for i in range(lengths[row % len(lengths)])]
        for row in range(num)
    ]


def complete(drive, model, codec, asked, *, options=None, **how):
    driver = drive(model, codec, options=options)
    received = [driver.ask(prompt, **how) for prompt in asked]
    driver.run()
    return [one.tokens for one in received]


def test_a_completion_does_not_depend_on_its_neighbours(drive, model, codec) -> None:
    asked = prompts(64)
    alone = [complete(drive, model, codec, [p], stopping=LIMIT)[0] for p in asked[:16]]
    assert complete(drive, model, codec, asked[:7], stopping=LIMIT) == alone[:7]
    assert complete(drive, model, codec, asked, stopping=LIMIT)[:16] == alone
    assert len({tuple(tokens) for tokens in alone}) > 8


def test_a_seeded_draw_does_not_depend_on_its_neighbours(drive, model, codec) -> None:
    sampling = Sampling(temperature=1.0, top_k=50, top_p=0.9, seed=11)
    asked = prompts(12)
    how = {"stopping": LIMIT, "sampling": sampling}
    alone = [complete(drive, model, codec, [prompt], **how)[0] for prompt in asked]
    assert complete(drive, model, codec, asked, **how) == alone
    other = complete(
        drive, model, codec, asked, stopping=LIMIT, sampling=replace(sampling, seed=12)
    )
    assert other != alone


def test_more_requests_than_slots_are_all_answered(drive, model, codec) -> None:
    asked = prompts(20)
    few = EngineOptions(num_slots=3)
    assert complete(drive, model, codec, asked, options=few, stopping=LIMIT) == complete(
        drive, model, codec, asked, stopping=LIMIT
    )


def test_how_prompts_are_cut_into_chunks_changes_nothing(drive, model, codec) -> None:
    asked = prompts(16)
    small = EngineOptions(prefill_tokens=7, snapshot_interval=5)
    assert complete(drive, model, codec, asked, options=small, stopping=LIMIT) == complete(
        drive, model, codec, asked, stopping=LIMIT
    )


def test_the_prefix_cache_changes_the_work_and_not_the_result(drive, model, codec) -> None:
    shared = prompts(8)[7]
    asked = [shared, [*shared, 5, 6], [*shared[:290], 9], shared]
    without = EngineOptions(prefix_cache_bytes=0, snapshot_interval=64)
    expected = complete(drive, model, codec, asked, options=without, stopping=LIMIT)
    driver = drive(model, codec, options=EngineOptions(snapshot_interval=64))
    received = []
    for prompt in asked:
        received.append(driver.ask(prompt, stopping=LIMIT))
        driver.run()
    assert [one.tokens for one in received] == expected
    cached = [one.of(Started)[0].num_cached_tokens for one in received]
    assert cached == [0, 300, 256, 299]


@pytest.mark.parametrize("length", [1, 2, 33, 256, 257, 300])
def test_a_prompt_that_begins_with_another_reads_only_what_is_new(
    drive, model, codec, length: int
) -> None:
    first = prompts(8)[7][:length]
    asked = [first, [*first, 5], [*first, 5, 6, 7], first]
    without = EngineOptions(prefix_cache_bytes=0)
    expected = complete(drive, model, codec, asked, options=without, stopping=LIMIT)
    driver = drive(model, codec)
    received = []
    for prompt in asked:
        received.append(driver.ask(prompt, stopping=LIMIT))
        driver.run()
    assert [one.tokens for one in received] == expected
    cached = [one.of(Started)[0].num_cached_tokens for one in received]
    # The last: all but the token that the next is drawn after.
    assert cached == [0, length, length + 1, length - 1]


def test_the_prefix_cache_keeps_to_its_bytes(drive, lstm, codec) -> None:
    one = held_bytes(StatePool(lstm, 1).snapshot(0))
    assert one > lstm.state_bytes()
    options = EngineOptions(prefix_cache_bytes=3 * one + 1)
    driver = drive(lstm, codec, options=options)
    for prompt in prompts(16):
        driver.ask(prompt, stopping=LIMIT)
    driver.run()
    assert len(driver.engine.runner.cache) == 3


def test_the_prefix_cache_counts_what_a_growing_state_really_takes(drive, hybrid, codec) -> None:
    def kept(prompt: list[int], max_bytes: int) -> int:
        options = EngineOptions(prefix_cache_bytes=max_bytes, snapshot_interval=64)
        driver = drive(hybrid, codec, options=options)
        driver.ask(prompt, stopping=Stopping(max_new_tokens=1))
        driver.run()
        assert driver.engine.runner.cache.num_bytes <= max_bytes
        return driver.engine.runner.cache.num_bytes

    prompt = prompts(8)[7]
    per_token, fixed = hybrid.state_bytes_per_token(), held_bytes(StatePool(hybrid, 1).snapshot(0))
    assert kept(prompt[:33], 10**7) == 2 * fixed + (32 + 33) * per_token
    assert kept(prompt[:100], 10**7) == 3 * fixed + (64 + 99 + 100) * per_token
    room = fixed + 100 * per_token
    assert kept(prompt, room) == fixed + 64 * per_token


@pytest.mark.parametrize("family", ["lstm", "ssm"])
def test_state_does_not_grow_with_the_context(drive, codec, request, family: str) -> None:
    model = request.getfixturevalue(family)
    sizes = []
    for length in (1_000, 50_000):
        driver = drive(model, codec, options=EngineOptions(num_slots=2))
        received = driver.ask([i % 700 for i in range(length)], stopping=Stopping(max_new_tokens=2))
        driver.run()
        assert received.finished.num_prompt_tokens == length
        state = driver.engine.runner.pool.state
        sizes.append({name: (tensor.shape, tensor.nbytes) for name, tensor in state.items()})
    assert sizes[0] == sizes[1]


def test_a_long_prompt_stalls_nobody_for_longer_than_one_chunk(drive, lstm, codec) -> None:
    options = EngineOptions(prefill_tokens=32)
    driver = drive(lstm, codec, options=options)
    writing = driver.ask([1, 2, 3], stopping=LIMIT)
    driver.step()
    driver.ask([i % 700 for i in range(5_000)], stopping=LIMIT)
    num_steps = 0
    while not writing.events or len(writing.tokens) < NUM_NEW:
        driver.step()
        num_steps += 1
    assert num_steps <= NUM_NEW + 1


def test_a_short_prompt_is_not_kept_waiting_by_long_ones(drive, lstm, codec) -> None:
    driver = drive(lstm, codec, options=EngineOptions(prefill_tokens=64))
    for _ in range(3):
        driver.ask([i % 700 for i in range(3_000)], stopping=LIMIT)
    driver.step()
    short = driver.ask([1] * 12, stopping=LIMIT)
    driver.step()
    assert short.tokens


def test_a_long_prompt_is_read_though_short_ones_keep_coming(drive, lstm, codec) -> None:
    driver = drive(lstm, codec, options=EngineOptions(prefill_tokens=64, num_slots=8))
    long = driver.ask([i % 700 for i in range(600)], stopping=LIMIT)
    num_steps = 0
    while not long.tokens:
        for _ in range(4):
            driver.ask([2] * 40, stopping=Stopping(max_new_tokens=1, ignore_eos=True))
        driver.step()
        num_steps += 1
    assert num_steps <= 600 / 32 + 1


def test_slots_are_given_out_and_decoded_from_the_lowest_up(drive, lstm, codec) -> None:
    driver = drive(lstm, codec, options=EngineOptions(num_slots=8))
    limit = Stopping(max_new_tokens=50, ignore_eos=True)
    asked = [driver.ask([1, 2], stopping=limit) for _ in range(8)]
    driver.step()
    for number in (6, 1, 4):
        driver.cancel(asked[number])
    driver.ask([1, 2], stopping=LIMIT)
    driver.step()
    batch = driver.engine.scheduler.plan_step().decode
    assert [sequence.slot for sequence in batch] == [0, 1, 2, 3, 5, 7]


def test_one_started_first_and_one_finished_last(drive, lstm, codec) -> None:
    driver = drive(lstm, codec)
    received = driver.ask([4, 5, 6], stopping=LIMIT)
    driver.run()
    kinds = [type(event).__name__ for event in received.events]
    assert (kinds[0], kinds[-1]) == ("Started", "Finished")
    assert kinds.count("Started") == kinds.count("Finished") == 1
    assert received.of(Started)[0].prompt_ids == (4, 5, 6)


def test_prompt_and_completion_text_are_the_text_of_all_ids(drive, lstm, codec) -> None:
    for prompt in prompts(8):
        driver = drive(lstm, codec)
        received = driver.ask(prompt, stopping=LIMIT)
        driver.run()
        assert codec.decode(prompt) + received.text == codec.decode(prompt + received.tokens)


def test_the_end_of_sequence_counts_and_has_no_text(drive, scripted, codec, tokenizer) -> None:
    driver = drive(scripted({"<direct>": "<answer> gik <eos>"}), codec)
    received = driver.ask("bab <direct>")
    driver.run()
    assert received.finished.reason is FinishReason.EOS
    assert received.finished.num_generated_tokens == 3
    assert received.text == " <answer> gik"
    assert received.tokens[-1] == tokenizer.token_to_id("<eos>")


def test_ignore_eos_goes_on_to_the_limit(drive, scripted, codec) -> None:
    driver = drive(scripted({"<direct>": "gik <eos> dok"}), codec)
    received = driver.ask("<direct>", stopping=Stopping(max_new_tokens=5, ignore_eos=True))
    driver.run()
    assert received.text == " gik <eos> dok dok dok"
    assert received.finished.reason is FinishReason.LENGTH


def test_text_from_the_answer_marker_on_is_the_answer(drive, scripted, codec) -> None:
    driver = drive(scripted({"<cot>": "bab dok <answer> gik <eos>"}), codec)
    received = driver.ask("<cot>")
    driver.run()
    texts = dict.fromkeys(Part, "")
    for delta in received.deltas:
        texts[delta.part] += delta.text
    assert texts[Part.REASONING] == " bab dok"
    assert texts[Part.ANSWER] == " <answer> gik"


def test_a_stop_string_ends_the_answer_and_is_cut_off(drive, scripted, codec) -> None:
    driver = drive(scripted({"<cot>": "dok gik <answer> bab dok gik fem <eos>"}), codec)
    received = driver.ask("<cot>", stopping=Stopping(stop=("k gi",)))
    driver.run()
    assert received.finished.reason is FinishReason.STOP
    assert received.text == " dok gik <answer> bab do"
    assert received.finished.num_generated_tokens == 6


def test_text_that_only_began_like_a_stop_string_is_sent(drive, scripted, codec) -> None:
    driver = drive(scripted({"<cot>": "<answer> bab dok <eos>"}), codec)
    received = driver.ask("<cot>", stopping=Stopping(stop=(" dok gik",)))
    driver.run()
    assert received.finished.reason is FinishReason.EOS
    assert received.text == " <answer> bab dok"


def test_cancel_frees_the_slot_for_the_next(drive, lstm, codec) -> None:
    driver = drive(lstm, codec, options=EngineOptions(num_slots=1))
    first = driver.ask([1, 2, 3])
    second = driver.ask([4, 5, 6], stopping=LIMIT)
    for _ in range(5):
        driver.step()
    assert not second.events
    driver.cancel(first)
    driver.cancel(first)
    driver.step()
    assert first.finished.reason is FinishReason.CANCELLED
    assert second.tokens
    driver.run()
    assert second.finished.reason is FinishReason.LENGTH


def test_a_deadline_ends_what_runs_and_what_waits(drive, lstm, codec) -> None:
    now = [0]
    driver = drive(lstm, codec, options=EngineOptions(num_slots=1), clock=lambda: now[0])
    running = driver.ask([1, 2, 3], deadline_ns=100, arrived_ns=0)
    waiting = driver.ask([1, 2, 3], deadline_ns=50, arrived_ns=0)
    unhurried = driver.ask([1, 2, 3], stopping=LIMIT, deadline_ns=10**9, arrived_ns=0)
    driver.step()
    now[0] = 60
    driver.step()
    assert waiting.finished.reason is FinishReason.DEADLINE
    assert waiting.of(Started)[0].queue_ns == 60
    assert driver.runner.next_wake_ns == 100
    now[0] = 100
    driver.step()
    assert running.finished.reason is FinishReason.DEADLINE
    assert running.finished.num_generated_tokens == len(running.tokens) == 2
    driver.run()
    assert unhurried.finished.reason is FinishReason.LENGTH


def test_who_gets_a_slot_when_its_time_is_over_spends_none_in_it(drive, lstm, codec) -> None:
    now = [0]

    def clock() -> int:
        now[0] += 10
        return now[0]

    driver = drive(lstm, codec, options=EngineOptions(num_slots=1), clock=clock)
    asked = [driver.ask([1, 2, 3], deadline_ns=200, arrived_ns=0) for _ in range(3)]
    now[0] = 1_000
    driver.run()
    for received in asked:
        assert received.finished.reason is FinishReason.DEADLINE
        assert received.of(Started)[0].queue_ns >= 0
        assert received.finished.prefill_ns >= 0


def test_the_times_add_up_to_the_whole_life(drive, lstm, codec) -> None:
    now = [1_000]

    def clock() -> int:
        now[0] += 10
        return now[0]

    driver = drive(lstm, codec, clock=clock)
    received = driver.ask([1] * 700, stopping=LIMIT, arrived_ns=1_000)
    driver.run()
    end = received.finished
    queue_ns = received.of(Started)[0].queue_ns
    assert min(queue_ns, end.prefill_ns, end.decode_ns) > 0
    assert queue_ns + end.prefill_ns + end.decode_ns + end.retrieval_ns <= now[0] - 1_000
    assert queue_ns + end.prefill_ns + end.decode_ns + end.retrieval_ns >= now[0] - 1_100


@pytest.mark.parametrize("limit", [5, 12])
def test_a_full_context_ends_the_completion(drive, scripted, codec, limit: int) -> None:
    model = scripted({"<cot>": "bab dok"})
    model.context_limit = limit
    driver = drive(model, codec)
    received = driver.ask("fem gik <cot>")
    driver.run()
    assert received.finished.reason is FinishReason.CONTEXT_FULL
    assert received.finished.num_generated_tokens == limit - 3


def drawn(logits: torch.Tensor, sampling: Sampling, position: int) -> int:
    return int(Sampler([sampling], [position]).draw(logits, 0)[0])


def test_tokens_are_drawn_with_the_probabilities_asked_for() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    counts = torch.zeros(4)
    for position in range(2_000):
        counts[drawn(logits, Sampling(temperature=1.0), position)] += 1
    torch.testing.assert_close(counts / 2_000, logits.exp()[0], atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("sampling", "possible"),
    [
        (Sampling(temperature=1.0, top_k=2), {0, 1}),
        (Sampling(temperature=1.0, top_p=0.79), {0, 1}),
        (Sampling(temperature=1.0, top_p=0.81), {0, 1, 2}),
        (Sampling(temperature=1.0, top_p=1e-9), {0}),
        (Sampling(temperature=1e-30), {0}),
        (Sampling(temperature=0.0, top_k=3), {0}),
    ],
)
def test_top_k_and_top_p_leave_the_likeliest(sampling: Sampling, possible: set[int]) -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert {drawn(logits, sampling, i) for i in range(300)} == possible
