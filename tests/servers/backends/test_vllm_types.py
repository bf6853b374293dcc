"""Other types than Llama on vLLM: a trained Mamba2, and a Transformer that looks back a window."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
import torch
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.retrieval.v1 import retrieval_pb2

from harness_servers.checkpoints.checkpoint import load_checkpoint

transformers = pytest.importorskip("transformers")
if importlib.util.find_spec("vllm") is None:  # imported by the servers alone: it takes seconds
    pytest.skip("vllm is not installed", allow_module_level=True)

from benchmarks.tiny_models import greedy_tokens, random_model  # noqa: E402
from benchmarks.tiny_tokenizers import byte_level  # noqa: E402

from .vllm_server import Server, collect, serving, text, tokens, wait_up  # noqa: E402

SSM = Path(__file__).parents[3] / "checkpoints" / "ssm"
LIMITS = ("--slots", "4", "--max-prompt-tokens", "1000", "--max-new-tokens", "500")
WINDOW = 32
SPECIAL_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
PROMPT = "assoc_recall bab dok ; fem gik ; hob sas ; fem <regex>"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints") / "gemma3"
    tokenizer = byte_level()
    random_model(
        "gemma3_text",
        vocab_size=tokenizer.get_vocab_size(),
        layer_types=["sliding_attention", "full_attention"],
        **SPECIAL_TOKENS,
    ).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return {"ssm": SSM, "gemma3": folder}


@pytest.fixture(scope="module")
def servers(folders: dict[str, Path], tmp_path_factory) -> Iterator[dict[str, Server]]:
    sockets = tmp_path_factory.mktemp("sockets")
    with ExitStack() as running:
        # Side by side: most of a start is waiting.
        servers = {
            name: running.enter_context(serving(folder, sockets, "--backend", "vllm", *LIMITS))
            for name, folder in folders.items()
        }
        for server in servers.values():
            wait_up(server)
        yield servers


@pytest.fixture
async def stubs(
    servers: dict[str, Server],
) -> AsyncIterator[dict[str, inference_pb2_grpc.InferenceServiceStub]]:
    channels = {name: grpc.aio.insecure_channel(one.address) for name, one in servers.items()}
    yield {
        name: inference_pb2_grpc.InferenceServiceStub(channel) for name, channel in channels.items()
    }
    for channel in channels.values():
        await channel.close()


@pytest.mark.parametrize("name", ["ssm", "gemma3"])
async def test_greedy_tokens_are_those_of_transformers(stubs, folders, name: str) -> None:
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        folders[name], dtype=torch.float32
    )
    stopping = pb.StoppingOptions(max_new_tokens=48, ignore_eos=True)
    prompts = [[(37 * i + 11 * k * k) % 250 for k in range(5 + 30 * i)] for i in range(6)]
    answers = await asyncio.gather(
        *[
            collect(
                stubs[name],
                pb.GenerateRequest(token_ids=pb.TokenIds(ids=ids), stopping=stopping),
            )
            for ids in prompts
        ]
    )
    for ids, answer in zip(prompts, answers, strict=True):
        assert tokens(answer) == greedy_tokens(reference, ids, 48)


async def test_a_search_is_spliced_into_the_recurrence_as_on_our_engine(
    stubs, drive, regex
) -> None:
    checkpoint = load_checkpoint(SSM)
    driver = drive(checkpoint.model, checkpoint.codec)
    ours = driver.ask(PROMPT, retrieval=regex)
    driver.run()
    retrieval = pb.RetrievalOptions(mode=retrieval_pb2.RETRIEVAL_MODE_REGEX)
    responses = await collect(stubs["ssm"], pb.GenerateRequest(text=PROMPT, retrieval=retrieval))
    assert text(responses) == ours.text
    assert text(responses).endswith("<answer> gik")
    assert responses[-1].finished.num_inserted_tokens > 0


async def test_a_recurrence_is_described_with_the_state_that_it_keeps(stubs) -> None:
    model = await stubs["ssm"].GetModel(pb.GetModelRequest())
    assert model.family == pb.MODEL_FAMILY_SSM
    assert model.state_bytes == load_checkpoint(SSM).model.state_bytes()
    assert model.state_bytes_per_token == 0
    assert model.context_limit == 1500


async def test_windows_are_state_and_other_layers_grow(stubs) -> None:
    model = await stubs["gemma3"].GetModel(pb.GetModelRequest())
    assert model.family == pb.MODEL_FAMILY_TRANSFORMER
    assert model.context_limit == 512
    token_bytes = 2 * 1 * 32 * 4
    assert model.state_bytes == (WINDOW - 1) * token_bytes
    assert model.state_bytes_per_token == token_bytes
