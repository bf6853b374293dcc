"""Log-probabilities of what the engine writes and of what it is given, held to slow references."""

from collections.abc import Sequence

import pytest
import torch
from harnessapi.values import FinishReason, Part

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.likelihoods import token_log_probs
from harness_servers.generation import Finished, Sampling, Scored, Stopping
from harness_servers.models import bamba_reference, lstm_reference, mamba2_reference
from harness_servers.models.protocol import SequenceModel

REFERENCES = {"RNN": lstm_reference, "SSM": mamba2_reference, "HYBRID": bamba_reference}
TOLERANCE = 1e-4
WRITTEN = Stopping(max_new_tokens=30, ignore_eos=True)
RANDOM = Sampling(temperature=1.3, top_k=20, top_p=0.9, seed=5)


def text(length: int, salt: int = 0) -> list[int]:
    return [(11 * k * k + 5 * k + 37 * salt) % 800 for k in range(length)]


def reference(model: SequenceModel, ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities (L, V) after every token, read at once as in training."""
    tokens_BL = torch.tensor([ids])
    with torch.no_grad():
        return model(tokens_BL, torch.ones_like(tokens_BL, dtype=torch.bool)).log_softmax(-1)


def check(received, log_probs_LV: torch.Tensor, ids: Sequence[int], start: int, num_top: int):
    """Those of the tokens from `start` on are these; the likeliest stand beside them."""
    scored = received.log_probs
    assert [one.token_id for one in scored] == list(ids[start:])
    for place, one in enumerate(scored, start):
        if place == 0:
            assert (one.log_prob, one.top) == (None, ())
            continue
        before_V = log_probs_LV[place - 1]
        assert one.log_prob == pytest.approx(float(before_V[one.token_id]), abs=TOLERANCE)
        expected = before_V.topk(num_top).values if num_top else torch.zeros(0)
        given = torch.tensor([log_prob for _, log_prob in one.top])
        torch.testing.assert_close(given, expected, atol=TOLERANCE, rtol=0)
        for token, log_prob in one.top:
            assert log_prob == pytest.approx(float(before_V[token]), abs=TOLERANCE)


@pytest.mark.parametrize("num_prompt", [0, 1, 2, 11])
@pytest.mark.parametrize("num_given", [1, 2, 9])
def test_a_score_is_what_the_slow_reference_says(
    drive, model, codec, num_prompt: int, num_given: int
) -> None:
    driver = drive(model, codec, options=EngineOptions(prefill_tokens=6, min_chunk_tokens=3))
    ids = text(num_prompt + num_given)
    prompt, given = ids[:num_prompt], ids[num_prompt:]
    received = driver.ask(prompt, given_ids=given, top_log_probs=3)
    driver.run()
    logits_LV = REFERENCES[model.family].reference_logits(model, ids)
    check(received, logits_LV.log_softmax(-1), ids, num_prompt, 3)
    assert received.finished.num_generated_tokens == 0


def test_scores_among_neighbours_of_all_kinds_are_those_alone(drive, model, codec) -> None:
    options = EngineOptions(num_slots=5, prefill_tokens=24, min_chunk_tokens=5, scored_tokens=11)
    driver = drive(model, codec, options=options)
    asked = []
    for row in range(8):
        ids, num_prompt = text(20 + 7 * row, row), 9 * row
        driver.ask(text(13, row), stopping=WRITTEN)
        received = driver.ask(ids[:num_prompt], given_ids=ids[num_prompt:], top_log_probs=row % 3)
        asked.append((received, ids, num_prompt, row % 3))
    driver.run()
    for received, ids, num_prompt, num_top in asked:
        check(received, reference(model, ids), ids, num_prompt, num_top)


@pytest.mark.parametrize("sampling", [Sampling(), RANDOM])
@pytest.mark.parametrize("num_neighbours", [0, 5])
def test_what_is_written_comes_with_what_its_score_would_be(
    drive, model, codec, sampling: Sampling, num_neighbours: int
) -> None:
    driver = drive(model, codec)
    prompt = text(20)
    for row in range(num_neighbours):
        driver.ask(text(5 + row, row), stopping=WRITTEN, top_log_probs=row % 2 or None)
    received = driver.ask(prompt, stopping=WRITTEN, sampling=sampling, top_log_probs=4)
    driver.run()
    ids = prompt + received.tokens
    check(received, reference(model, ids), ids, len(prompt), 4)
    score = driver.ask(prompt, given_ids=received.tokens, top_log_probs=4)
    driver.run()
    for one, other in zip(received.log_probs, score.log_probs, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=TOLERANCE)
    if not sampling.temperature:
        assert all(one.token_id == one.top[0][0] for one in received.log_probs)


def test_who_does_not_ask_gets_none(drive, lstm, codec) -> None:
    driver = drive(lstm, codec)
    received = driver.ask(text(9), stopping=WRITTEN)
    driver.ask(text(9), stopping=WRITTEN, top_log_probs=2)
    driver.run()
    assert received.log_probs == []


def test_what_comes_after_an_insertion_is_likely_after_it(drive, scripted, codec, regex) -> None:
    model = scripted({"<regex>": r"<search> fem (\S+) </search> <answer> bab <eos>"})
    driver = drive(model, codec)
    prompt = codec.encode("bab dok ; fem gik ; fem <regex>").ids
    received = driver.ask(prompt, retrieval=regex, top_log_probs=1)
    driver.run()
    inserted = [d for d in received.deltas if d.part is Part.INSERTED]
    assert [delta.log_probs for delta in inserted] == [()]
    written = [d for d in received.deltas if d.part is not Part.INSERTED]
    for delta in written:
        assert [one.token_id for one in delta.log_probs] == list(delta.token_ids)
    ids = [*prompt, *received.tokens]
    # All of it given, what was inserted too: the same at the places of what was written.
    score = driver.ask(prompt, given_ids=received.tokens)
    driver.run()
    num_inserted = len(inserted[0].token_ids)
    start = ids.index(inserted[0].token_ids[0], len(prompt)) - len(prompt)
    scored = score.log_probs[:start] + score.log_probs[start + num_inserted :]
    assert [one.log_prob for one in scored] == [one.log_prob for one in received.log_probs]


def test_an_insertion_is_read_by_a_model_that_looks_at_it(drive, model, codec, regex) -> None:
    """A random model, made to search: what it writes then depends on what was inserted."""

    class Searches:
        """Writes a search first, whatever the model finds likely."""

        def __init__(self) -> None:
            self.ids = list(codec.encode(r"<search> fem (\S+) </search>").ids)

        def __getattr__(self, name):
            return getattr(model, name)

        def decode(self, *given):
            logits_BV = model.decode(*given).clone()
            if self.ids:
                logits_BV[:, self.ids.pop(0)] += 1000
            return logits_BV

    driver = drive(Searches(), codec)
    prompt = codec.encode("bab dok ; fem gik ; fem <regex>").ids
    received = driver.ask(prompt, retrieval=regex, stopping=WRITTEN, top_log_probs=2)
    driver.run()
    ids = [*prompt, *received.tokens]
    log_probs_LV = reference(model, ids)
    (inserted,) = [d.token_ids for d in received.deltas if d.part is Part.INSERTED]
    end = ids.index(codec.encode("</search>").ids[0]) + 1 + len(inserted)
    after = received.log_probs[-(len(ids) - end) :]
    assert len(after) > 20
    assert [one.token_id for one in after] == ids[end:]
    for place, one in enumerate(after, end):
        expected = float(log_probs_LV[place - 1, one.token_id])
        assert one.log_prob == pytest.approx(expected, abs=TOLERANCE)


def test_a_neighbour_writes_on_while_a_long_text_is_scored(drive, lstm, codec) -> None:
    driver = drive(lstm, codec, options=EngineOptions(prefill_tokens=32))
    writing = driver.ask([1, 2, 3], stopping=Stopping(max_new_tokens=40, ignore_eos=True))
    driver.step()
    scoring = driver.ask(text(100), given_ids=text(5000), top_log_probs=1)
    num_steps = 0
    while not writing.of(Finished):
        driver.step()
        num_steps += 1
    assert (writing.finished.num_generated_tokens, num_steps) == (40, 39)
    assert scoring.of(Scored) == []
    driver.run()
    assert len(scoring.log_probs) == 5000


def test_no_more_logits_are_made_at_once_than_fit(drive, lstm, codec) -> None:
    shapes = []

    class Watched:
        def __getattr__(self, name):
            return getattr(lstm, name)

        def read_all(self, *given):
            logits_TV = lstm.read_all(*given)
            shapes.append(logits_TV.shape)
            return logits_TV

    size = lstm.vocabulary_size
    options = EngineOptions(prefill_tokens=10**6, scored_logits=10 * size + 7)
    driver = drive(Watched(), codec, options=options)
    asked = [driver.ask(text(8), given_ids=text(35), top_log_probs=0) for _ in range(3)]
    driver.run()
    assert {len(one.log_probs) for one in asked} == {35}
    assert max(shape.numel() for shape in shapes) <= 10 * size + 7
    assert sum(shape[0] for shape in shapes) == 3 * 35


def test_the_state_after_a_prompt_is_kept_for_the_next_continuation(drive, model, codec) -> None:
    driver = drive(model, codec)
    prompt = text(300)
    for salt in range(3):
        given = text(4, salt)
        received = driver.ask(prompt, given_ids=given, top_log_probs=2)
        driver.run()
        check(received, reference(model, prompt + given), prompt + given, 300, 2)
        assert received.events[0].num_cached_tokens == (299 if salt else 0)


def test_a_deadline_and_a_cancel_end_it_and_free_the_slot(drive, lstm, codec) -> None:
    now = [0]
    driver = drive(lstm, codec, clock=lambda: now[0], options=EngineOptions(prefill_tokens=32))
    late = driver.ask(text(10), given_ids=text(3000), top_log_probs=0, deadline_ns=5, arrived_ns=0)
    other = driver.ask(text(10), given_ids=text(3000), top_log_probs=0, arrived_ns=0)
    driver.step()
    assert len(driver.engine.scheduler.running) == 2
    now[0] = 5
    driver.cancel(other)
    driver.step()
    assert late.finished.reason is FinishReason.DEADLINE
    assert late.log_probs == []
    assert driver.engine.scheduler.running == []


def test_more_of_the_likeliest_than_there_are_tokens_are_all_of_them() -> None:
    (one,) = token_log_probs(torch.tensor([[0.0, 2.0, 1.0]]), [0], [20])
    assert [token for token, _ in one.top] == [1, 2, 0]
    assert one.top[2][1] == pytest.approx(one.log_prob)
