"""What is particular to a state that grows: its caches, and the end of its context."""

import pytest
import torch
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.values import FinishReason

from harness_retrieval.local import LocalRetriever
from harness_servers.backends.in_process import backend_in_process
from harness_servers.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.pool import StatePool
from harness_servers.errors import InvalidRequestError
from harness_servers.generation import Started, Stopping
from harness_servers.models.bamba import BambaModel
from harness_servers.rpc.intake import Intake

ENDLESS = Stopping(max_new_tokens=10_000, ignore_eos=True)
LIMIT = 1024


def test_only_the_caches_grow_and_by_doubling(drive, hybrid, codec) -> None:
    driver = drive(hybrid, codec, options=EngineOptions(num_slots=2))
    state = driver.engine.runner.pool.state
    before = {name: tensor.shape for name, tensor in state.items()}
    driver.ask([i % 700 for i in range(600)], stopping=Stopping(max_new_tokens=1))
    driver.run()
    grown = {name for name, tensor in state.items() if tensor.shape != before[name]}
    assert grown == {"cache.key.1", "cache.value.1"}
    assert {state[name].shape[:2] for name in grown} == {(2, 1024)}


def test_a_cache_that_grows_keeps_what_the_others_have_read(hybrid) -> None:
    state = hybrid.init_state(3)
    tokens = torch.arange(10)[None].expand(3, 10)
    hybrid.prefill(tokens, torch.tensor([10, 7, 3]), state, torch.tensor([0, 1, 2]))
    short = {name: tensor.clone() for name, tensor in state.items()}
    hybrid.prefill(torch.zeros(1, 300).long(), torch.tensor([300]), state, torch.tensor([0]))
    for name, tensor in state.items():
        if name.startswith("cache."):
            assert tensor.shape[1] == 512
            assert torch.equal(tensor[1:, :256], short[name][1:])
            assert not tensor[1:, 256:].any()
        else:
            assert torch.equal(tensor[1:], short[name][1:])


def test_a_snapshot_holds_only_the_rows_in_use(hybrid) -> None:
    pool = StatePool(hybrid, 2)
    hybrid.prefill(torch.ones(1, 300).long(), torch.tensor([300]), pool.state, torch.tensor([1]))
    hybrid.prefill(torch.ones(1, 5).long(), torch.tensor([5]), pool.state, torch.tensor([0]))
    assert len(pool.snapshot(0)["cache.key.1"]) == 5
    assert len(pool.snapshot(1)["cache.key.1"]) == 300
    other = StatePool(hybrid, 1)
    other.restore(0, pool.snapshot(1))
    assert other.state["cache.key.1"].shape[1] == 512
    tokens, slot = torch.tensor([4]), torch.tensor([0])
    expected = hybrid.decode(tokens, pool.state, torch.tensor([1]))
    assert torch.equal(hybrid.decode(tokens, other.state, slot), expected)


def test_nothing_of_an_earlier_sequence_is_left_in_a_slot(drive, hybrid, codec) -> None:
    driver = drive(hybrid, codec, options=EngineOptions(num_slots=1, prefix_cache_bytes=0))
    limit = Stopping(max_new_tokens=30, ignore_eos=True)
    first = driver.ask([5, 6, 7], stopping=limit)
    driver.run()
    driver.ask([i % 700 for i in range(400)], stopping=limit)
    driver.run()
    again = driver.ask([5, 6, 7], stopping=limit)
    driver.run()
    assert again.tokens == first.tokens
    assert again.of(Started)[0].num_cached_tokens == 0


@pytest.mark.parametrize("length", [1, 700, LIMIT - 1])
def test_a_completion_ends_where_the_context_is_full(drive, hybrid, codec, length: int) -> None:
    driver = drive(hybrid, codec, options=EngineOptions(num_slots=2))
    received = driver.ask([i % 700 for i in range(length)], stopping=ENDLESS)
    driver.run()
    assert received.finished.reason is FinishReason.CONTEXT_FULL
    assert len(received.tokens) == LIMIT - length


async def test_a_prompt_over_the_context_is_refused_with_its_length(
    tmp_path, hybrid, hybrid_config, tokenizer
) -> None:
    model = BambaModel.from_config(hybrid_config)
    save_checkpoint(tmp_path / "hybrid", hybrid_config, model.state_dict(), tokenizer)
    backend = backend_in_process(
        load_checkpoint(tmp_path / "hybrid"),
        retriever=LocalRetriever(),
        options=EngineOptions(num_slots=2),
        max_prompt_tokens=10**6,
        name="hybrid",
    )
    described = backend.description
    assert described.context_limit == LIMIT
    assert described.state_bytes_per_token == 2 * 2 * 8 * 4
    request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=[3] * LIMIT))
    with pytest.raises(InvalidRequestError, match="has 1024 tokens and fills the context of 1024"):
        await Intake(backend.codec, described).read(request, None)
