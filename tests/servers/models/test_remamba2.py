"""ReMamba over Mamba2: where prompts end, and what is trained; as a reader of prompts that have not
ended it is in test_models.py.
"""

import copy

import pytest
import torch
from torch import Tensor

from harness_servers.engine.pool import StatePool
from harness_servers.models.mamba2 import Mamba2Model
from harness_servers.models.protocol import ConfigError
from harness_servers.models.remamba2 import ReMamba2Model
from harness_servers.models.remamba2_reference import reference_logits

from ..conftest import make_random
from .architectures import REMAMBA2

TOKENS = [(7 * i * i + 3 * i + 5) % 800 for i in range(60)]
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
SHARES = {
    "a stretch in the middle": {},
    "from the first token": {"stretch_start": 0.0, "stretch_share": 0.18, "kept_share": 0.1},
    "all of it kept": {"kept_share": 1.0},
    "to the end": {"stretch_start": 0.5, "stretch_share": 0.5},
    "the whole prompt": {"stretch_start": 0.0, "stretch_share": 1.0, "kept_share": 0.01},
}


@pytest.fixture(scope="module", params=SHARES)
def remamba2(request, tokenizer) -> ReMamba2Model:
    config = {**REMAMBA2, **SHARES[request.param]}
    model = make_random(ReMamba2Model, config, tokenizer.get_vocab_size())
    generator = torch.Generator().manual_seed(1)
    # As training leaves them: not zero, and values that tell.
    model.selection.dt_shift.data.normal_(generator=generator)
    model.selection.value.weight.data *= 5
    return model


def read(model, state, slots: list[int], rows: list[list[int]]) -> Tensor:
    length = max(len(row) for row in rows)
    tokens = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return model.prefill(tokens, lengths, state, torch.tensor(slots))


@pytest.mark.parametrize(("num_prompt", "chunks"), [(1, 1), (2, 60), (10, 1), (41, 7)])
def test_after_a_prompt_it_says_what_the_equations_say(remamba2, num_prompt, chunks) -> None:
    expected = reference_logits(remamba2, TOKENS, num_prompt)
    state, slot = remamba2.init_state(1), torch.tensor([0])
    for start in range(0, num_prompt, chunks):
        read(remamba2, state, [0], [TOKENS[start : min(num_prompt, start + chunks)]])
    logits_BV = remamba2.end_prompts(state, slot)
    torch.testing.assert_close(logits_BV[0], expected[num_prompt - 1], **CLOSE)
    after = TOKENS[num_prompt:]
    for place, token in enumerate(after[:3], num_prompt):
        logits_BV = remamba2.decode(torch.tensor([token]), state, slot)
        torch.testing.assert_close(logits_BV[0], expected[place], **CLOSE)
    lengths = torch.tensor([len(after) - 3])
    logits_TV = remamba2.read_all(torch.tensor([after[3:]]), lengths, state, slot)
    torch.testing.assert_close(logits_TV, expected[num_prompt + 3 :], **CLOSE)


def test_the_end_of_a_prompt_changes_what_follows(remamba2) -> None:
    plain, read_again = reference_logits(remamba2, TOKENS), reference_logits(remamba2, TOKENS, 41)
    torch.testing.assert_close(plain[:40], read_again[:40])
    assert (plain[40:] - read_again[40:]).abs().amax() > 0.01


@pytest.mark.parametrize("prompts", [[1, 41], [60, 2]])
def test_it_is_trained_on_what_the_equations_say(remamba2, prompts) -> None:
    tokens = torch.tensor([TOKENS, TOKENS[::-1]])
    is_wanted = torch.zeros_like(tokens, dtype=torch.bool)
    expected = []
    for row, num_prompt in enumerate(prompts):
        is_wanted[row, num_prompt - 1 :: 4] = True
        logits_LV = reference_logits(remamba2, tokens[row].tolist(), num_prompt)
        expected.append(logits_LV[num_prompt - 1 :: 4])
    with torch.no_grad():
        logits_TV = remamba2(tokens, is_wanted)
    torch.testing.assert_close(logits_TV, torch.cat(expected), **CLOSE)


def test_it_is_trained_in_chunks_too_as_on_a_gpu(remamba2) -> None:
    tokens = torch.tensor([TOKENS, TOKENS[::-1]])
    is_wanted = torch.zeros_like(tokens, dtype=torch.bool)
    is_wanted[0, 30:] = is_wanted[1, 50:] = True
    with torch.no_grad():
        expected = remamba2(tokens, is_wanted)
        found = copy.deepcopy(remamba2).double()(tokens, is_wanted)
    torch.testing.assert_close(found.float(), expected, **CLOSE)


def test_rows_that_nothing_is_wanted_of_change_nothing(remamba2) -> None:
    tokens = torch.tensor([TOKENS, TOKENS[::-1]])
    is_wanted = torch.zeros_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        assert remamba2(tokens, is_wanted).shape == (0, remamba2.vocabulary_size)
        is_wanted[1, 20:23] = True
        logits_TV = remamba2(tokens, is_wanted)
    expected = reference_logits(remamba2, TOKENS[::-1], 21)[20:23]
    torch.testing.assert_close(logits_TV, expected, **CLOSE)


def test_gradients_reach_every_weight(remamba2) -> None:
    tokens = torch.tensor([TOKENS, TOKENS[::-1]])
    is_wanted = torch.zeros_like(tokens, dtype=torch.bool)
    is_wanted[:, 50:] = True
    remamba2.zero_grad()
    remamba2(tokens, is_wanted).logsumexp(-1).sum().backward()
    untold = [n for n, one in remamba2.named_parameters() if one.grad is None or not one.grad.any()]
    remamba2.zero_grad()
    assert untold == []


def test_ends_in_one_call_and_beside_others_are_those_of_each_alone(remamba2) -> None:
    rows = [TOKENS[:41], TOKENS[5:6], TOKENS[3:30], TOKENS[9:]]
    pool = StatePool(remamba2, 6)
    read(remamba2, pool.state, [4, 1, 3, 0], rows)
    other = pool.snapshot(0)
    logits_BV = remamba2.end_prompts(pool.state, torch.tensor([3, 4, 1]))
    for logits_V, slot, row in zip(logits_BV, [3, 4, 1], [rows[2], rows[0], rows[1]], strict=True):
        alone = StatePool(remamba2, 1)
        read(remamba2, alone.state, [0], [row])
        assert torch.equal(remamba2.end_prompts(alone.state, torch.tensor([0]))[0], logits_V)
        found = pool.snapshot(slot)
        assert all(torch.equal(one, found[name]) for name, one in alone.snapshot(0).items())
    assert all(torch.equal(one, other[name]) for name, one in pool.snapshot(0).items())


def test_nothing_is_kept_of_a_prompt_that_has_ended(remamba2) -> None:
    pool = StatePool(remamba2, 2)
    read(remamba2, pool.state, [0, 1], [TOKENS, TOKENS])
    assert len(pool.snapshot(0)["cache.hidden"]) == len(TOKENS)
    remamba2.end_prompts(pool.state, torch.tensor([0]))
    read(remamba2, pool.state, [0], [TOKENS])
    assert len(pool.snapshot(0)["cache.hidden"]) == 0
    assert not pool.state["cache.hidden"][0].any()
    assert not pool.state["cache.token"][0].any()
    pool.reset([0, 1])
    fresh = remamba2.init_state(2)
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in pool.state.items())


def test_prompts_grow_beyond_the_first_room(tokenizer) -> None:
    model = make_random(ReMamba2Model, REMAMBA2, tokenizer.get_vocab_size())
    tokens = TOKENS * 5
    state = model.init_state(3)
    for start in range(0, len(tokens), 100):
        read(model, state, [2], [tokens[start : start + 100]])
    logits_BV = model.end_prompts(state, torch.tensor([2]))
    expected = reference_logits(model, tokens, len(tokens))
    torch.testing.assert_close(logits_BV[0], expected[-1], **CLOSE)


def test_a_mamba2s_weights_fit(remamba2, tokenizer) -> None:
    plain = make_random(Mamba2Model, REMAMBA2, tokenizer.get_vocab_size(), seed=3)
    own = {name: one for name, one in remamba2.state_dict().items() if "selection." not in name}
    assert {name: one.shape for name, one in own.items()} == {
        name: one.shape for name, one in plain.state_dict().items()
    }


def test_equal_scores_keep_the_first(tokenizer) -> None:
    model = make_random(ReMamba2Model, REMAMBA2, tokenizer.get_vocab_size())
    embedded_LD = torch.randn(20, 32, generator=torch.Generator().manual_seed(0))
    same_LD = torch.ones(20, 32)
    start, end, num_kept = model.selection.shape.stretch(20)
    assert (start, end, num_kept) == (2, 14, 4)
    with torch.no_grad():
        compressed = model.selection.compress(embedded_LD, same_LD)
    assert compressed.is_kept_M1[:, 0].tolist() == [0.0] * 2 + [1.0] * 4 + [0.0] * 6
    assert torch.equal(compressed.inputs_MD[6:], embedded_LD[14:])


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("selection_rank", 0, "selection_rank is 0"),
        ("selection_rank", 33, "selection_rank is 33"),
        ("kept_share", 0, "kept_share is 0"),
        ("kept_share", 1.5, "kept_share is 1.5"),
        ("kept_share", None, "kept_share is None"),
        ("stretch_start", -0.1, "stretch_start is -0.1"),
        ("stretch_start", 0.5, "stretch_start 0.5 and stretch_share 0.6"),
        ("stretch_share", 0.0, "stretch_share is 0.0"),
        ("stretch_share", True, "stretch_share is True"),
        ("num_heads", 3, "num_heads 3"),
    ],
)
def test_a_config_that_it_cannot_be_made_from(key, value, told) -> None:
    with pytest.raises(ConfigError, match=told):
        ReMamba2Model.from_config({**REMAMBA2, "vocab_size": 100, key: value})


@pytest.mark.parametrize("key", ["selection_rank", "kept_share", "stretch_share"])
def test_a_config_without_what_it_needs(key) -> None:
    config = {**REMAMBA2, "vocab_size": 100}
    del config[key]
    with pytest.raises(ConfigError, match=f"no '{key}'"):
        ReMamba2Model.from_config(config)
