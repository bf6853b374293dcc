"""Scores and log-probabilities over the wire of a real server, and what it refuses to score."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import torch
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.targets import parse_target

from harness.clients.completion import CompletionRequest
from harness.clients.faults import DeadlineError, RefusedError
from harness.clients.grpc_client import Client
from harness.sample import Prompt
from harness_servers.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from harness_servers.models.bamba import BambaModel

PROMPT = "assoc_recall bab dok ; fem gik ; fem"
SERVED = ("--slots", "2", "--max-prompt-tokens", "2000")
CONTEXT_LIMIT = 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory, hybrid: BambaModel, hybrid_config, tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "hybrid"
    config = {**hybrid_config, "tie_word_embeddings": True}
    save_checkpoint(folder, config, hybrid.state_dict(), tokenizer)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory) -> Iterator[str]:
    address = f"unix:{tmp_path_factory.mktemp('socket')}/s"
    command = [sys.executable, "-m", "harness_servers.command", str(folder), "--listen", address]
    process = subprocess.Popen([*command, *SERVED], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("listening")
    yield address
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=600)[1] == ""


@pytest.fixture
async def stub(address: str):
    async with grpc.aio.insecure_channel(address) as channel:
        yield inference_pb2_grpc.InferenceServiceStub(channel)


@pytest.fixture
async def client(address: str):
    client = Client(parse_target(address))
    yield client
    await client.close()


def log_probs(folder: Path, ids: list[int]) -> torch.Tensor:
    """(L, V), read at once as in training."""
    tokens_BL = torch.tensor([ids])
    with torch.no_grad():
        logits_LV = load_checkpoint(folder).model(tokens_BL, torch.ones_like(tokens_BL).bool())
    return logits_LV.log_softmax(-1)


async def refusal(stub, **fields) -> str:
    """The details of an INVALID_ARGUMENT."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Score(pb.ScoreRequest(**fields))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(caught.value.details())


def ids(number: int) -> pb.TokenIds:
    return pb.TokenIds(ids=[(11 * k * k) % 800 for k in range(number)])


async def test_the_model_says_how_many_of_the_likeliest_it_gives(client: Client) -> None:
    assert (await client.get_model()).max_top_log_probs == 20


async def test_texts_are_scored_as_they_are_read(client: Client, folder: Path, codec) -> None:
    given = "gik <answer> bab"
    score = await client.score(PROMPT, given, top_log_probs=20)
    read = [*codec.encode(PROMPT).ids, *codec.encode(given).ids]
    expected = log_probs(folder, read)
    assert [*score.prompt_token_ids, *(one.token_id for one in score.tokens)] == read
    assert [one.token for one in score.tokens] == given.split()
    for place, one in enumerate(score.tokens, len(score.prompt_token_ids)):
        before = expected[place - 1]
        assert one.log_prob == pytest.approx(float(before[one.token_id]), abs=1e-4)
        top = [likely.log_prob for likely in one.top]
        assert top == pytest.approx(before.topk(20).values.tolist(), abs=1e-4)
        assert codec.token_name(one.top[0].token_id) == one.top[0].token
    assert score.log_prob == pytest.approx(sum(one.log_prob for one in score.tokens))


async def test_without_a_prompt_the_first_token_is_likely_after_nothing(
    client: Client, codec
) -> None:
    whole = await client.score(None, PROMPT)
    assert whole.prompt_token_ids == ()
    assert [one.token_id for one in whole.tokens] == list(codec.encode(PROMPT).ids)
    assert whole.tokens[0].log_prob is None
    rest = await client.score(codec.encode(PROMPT).ids[:1], codec.encode(PROMPT).ids[1:])
    assert [one.log_prob for one in whole.tokens[1:]] == pytest.approx(
        [one.log_prob for one in rest.tokens], abs=1e-4
    )


async def test_what_is_generated_comes_with_its_score(client: Client) -> None:
    request = CompletionRequest(prompt=Prompt(text=PROMPT), mode=None, max_new_tokens=25)
    likely = await client.complete_with_log_probs(request, top_log_probs=1)
    generated = [one.token_id for one in likely.log_probs]
    assert len(generated) == likely.completion.num_generated_tokens
    score = await client.score(PROMPT, generated, top_log_probs=1)
    assert score.is_greedy
    assert [one.log_prob for one in score.tokens] == pytest.approx(
        [one.log_prob for one in likely.log_probs], abs=1e-4
    )


async def test_many_at_once_are_scored_as_alone(client: Client) -> None:
    texts = [ids(3 + 17 * k).ids for k in range(12)]
    alone = [await client.score(text[:k], text[k:]) for k, text in enumerate(texts, 1)]
    together = await asyncio.gather(
        *[client.score(text[:k], text[k:]) for k, text in enumerate(texts, 1)]
    )
    for one, other in zip(alone, together, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-3)


async def test_what_cannot_be_scored_is_named(stub, client: Client) -> None:
    missing = "the continuation is missing: neither continuation_text nor continuation_ids is set"
    assert await refusal(stub, text=PROMPT) == missing
    empty = "the continuation is empty: there is no token to score"
    assert await refusal(stub, text=PROMPT, continuation_text="") == empty
    assert await refusal(stub, continuation_text="") == empty
    assert await refusal(stub, continuation_ids=pb.TokenIds()) == empty
    assert await refusal(stub, text="", continuation_text="bab") == "the prompt is empty"
    bad = pb.TokenIds(ids=[5, 6, 5000])
    said = await refusal(stub, continuation_ids=bad)
    assert said.startswith("continuation token 2 has id 5000; ids end at")
    said = await refusal(stub, token_ids=bad, continuation_text="bab")
    assert said.startswith("prompt token 2 has id 5000; ids end at")
    said = await refusal(stub, text="bab", continuation_text="dok Dok fem")
    assert said == "word 2 of the continuation, 'Dok', is not in the vocabulary"
    said = await refusal(stub, text="bab", continuation_text="dok", top_log_probs=21)
    assert said == "top_log_probs is 21; at most 20 are given"
    with pytest.raises(RefusedError, match="top_log_probs is 21; at most 20 are given"):
        await client.complete_with_log_probs(
            CompletionRequest(prompt=Prompt(text="bab"), mode=None, max_new_tokens=1),
            top_log_probs=21,
        )


async def test_lengths_are_checked_at_their_edge(stub) -> None:
    said = await refusal(stub, token_ids=ids(24), continuation_ids=ids(CONTEXT_LIMIT - 23))
    assert said == "prompt and continuation have 1025 tokens; the context holds 1024"
    said = await refusal(stub, continuation_ids=ids(2001))
    assert said == "prompt and continuation have 2001 tokens; at most 2000 are taken"
    full = pb.ScoreRequest(token_ids=ids(24), continuation_ids=ids(CONTEXT_LIMIT - 24))
    assert len((await stub.Score(full)).tokens) == CONTEXT_LIMIT - 24


async def test_a_deadline_ends_a_score(client: Client) -> None:
    with pytest.raises(DeadlineError):
        await client.score(None, ids(CONTEXT_LIMIT).ids, timeout_s=1e-6)
    assert len((await client.score(None, ids(9).ids)).tokens) == 9
