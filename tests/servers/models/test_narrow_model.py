"""A state that passes through so many bits where a question begins."""

from collections.abc import Sequence

import pytest
import torch

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.generation import Started, Stopping
from harness_servers.models.narrow_model import NarrowModel

MARK = 800
LIMIT = Stopping(max_new_tokens=12, ignore_eos=True)


def texts(num: int, seed: int = 0, length: int = 40) -> list[list[int]]:
    """Of lengths from 1 on, without a question."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(1, 700, (1 + row % length,), generator=generator).tolist()
        for row in range(num)
    ]


@pytest.fixture(scope="module", params=["lstm", "ssm"])
def narrow(request: pytest.FixtureRequest) -> NarrowModel:
    return narrowed(request.getfixturevalue(request.param), 32)


def narrowed(model, num_bits: int) -> NarrowModel:
    return NarrowModel(model, num_bits=num_bits, question_ids=[MARK], contexts=texts(60, seed=1))


def read(model, *pieces: Sequence[int]) -> torch.Tensor:
    """The logits after them, in a slot beside others."""
    state, slot = model.init_state(3), torch.tensor([1])
    for piece in pieces:
        logits = model.prefill(torch.tensor([piece]), torch.tensor([len(piece)]), state, slot)
    return logits[0]


@pytest.mark.parametrize("family", ["lstm", "ssm"])
def test_what_follows_a_question_is_a_function_of_a_code_of_so_many_bits(request, family) -> None:
    model = narrowed(request.getfixturevalue(family), 8)
    answers = {tuple(read(model, [*text, MARK, 5]).tolist()) for text in texts(600)}
    assert 8 < len(answers) <= 2**8
    whole = request.getfixturevalue(family)
    assert len({tuple(read(whole, [*text, MARK, 5]).tolist()) for text in texts(600)}) > 2**8


def test_nothing_changes_before_a_question(narrow) -> None:
    for text in texts(8):
        assert torch.equal(read(narrow, text), read(narrow._model, text))
        assert not torch.allclose(
            read(narrow, [*text, MARK, 5]), read(narrow._model, [*text, MARK, 5])
        )


def test_how_a_text_is_cut_into_pieces_changes_nothing(narrow) -> None:
    text = [*texts(30)[-1], MARK, 5, 6, MARK, 7]
    expected = read(narrow, text)
    for cut in (1, 12, 29, 30, 31, 33, 34):
        assert torch.allclose(read(narrow, text[:cut], text[cut:]), expected, atol=1e-5)
    state, slot = narrow.init_state(1), torch.tensor([0])
    for token in text:
        logits = narrow.decode(torch.tensor([token]), state, slot)
    assert torch.allclose(logits[0], expected, atol=1e-5)


def test_all_logits_are_those_after_each_token(narrow) -> None:
    rows = [[*texts(9)[-1], MARK, 5, 6], [MARK, 9, MARK], [3, 4]]
    lengths = torch.tensor([*map(len, rows)])
    padded = torch.tensor([row + [MARK] * (int(lengths.max()) - len(row)) for row in rows])
    found = narrow.read_all(padded, lengths, narrow.init_state(3), torch.arange(3))
    expected = [read(narrow, row[: end + 1]) for row in rows for end in range(len(row))]
    assert torch.allclose(found, torch.stack(expected), atol=1e-5)


def asked(num: int) -> list[list[int]]:
    return [[*text, MARK, 5 + row % 3] for row, text in enumerate(texts(num, seed=2))]


def complete(drive, model, codec, prompts, options=None):
    driver = drive(model, codec, options=options)
    received = [driver.ask(prompt, stopping=LIMIT) for prompt in prompts]
    driver.run()
    return [one.tokens for one in received]


def test_a_completion_does_not_depend_on_its_neighbours(drive, narrow, codec) -> None:
    alone = [complete(drive, narrow, codec, [prompt])[0] for prompt in asked(12)]
    assert complete(drive, narrow, codec, asked(40))[:12] == alone
    chunks = EngineOptions(num_slots=3, prefill_tokens=7, min_chunk_tokens=2, snapshot_interval=5)
    assert complete(drive, narrow, codec, asked(12), chunks) == alone
    assert len({*map(tuple, alone)}) > 4


def test_the_prefix_cache_changes_the_work_and_not_the_result(drive, narrow, codec) -> None:
    context = texts(40)[-1]
    questions = [[MARK, 5], [MARK, 6], [MARK, 5], [MARK, 5, MARK, 6], [9, MARK, 5]]
    prompts = [context, *([*context, *question] for question in questions)]
    options = EngineOptions(prefix_cache_bytes=0)
    expected = [complete(drive, narrow, codec, [prompt], options)[0] for prompt in prompts]
    driver = drive(narrow, codec)
    received = []
    for prompt in prompts:
        received.append(driver.ask(prompt, stopping=LIMIT))
        driver.run()
    assert [one.tokens for one in received] == expected
    assert [one.of(Started)[0].num_cached_tokens for one in received] == [0, 40, 41, 41, 42, 40]


def test_its_bytes_are_those_of_the_code(narrow) -> None:
    assert (narrow.state_bytes(), narrow.state_bytes_per_token()) == (4, 0)
