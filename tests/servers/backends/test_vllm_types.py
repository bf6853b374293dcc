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

from .vllm_server import Server, collect, run_python, serving, text, tokens, wait_up  # noqa: E402

SSM = Path(__file__).parents[3] / "checkpoints" / "ssm"
LIMITS = ("--slots", "4", "--max-prompt-tokens", "1000", "--max-new-tokens", "500")
WINDOW = 32
SPECIAL_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
PROMPT = (
    "assoc_recall ; mum get ; sem gut ; hab gut ; pom tet ; bob lek ; meb rit ; mub pok ; "
    "rub fut ; <regex> mum"
)


def write_checkpoint(model_type: str, folder: Path, told: dict[str, object]) -> None:
    tokenizer = byte_level()
    told = {"vocab_size": tokenizer.get_vocab_size(), **SPECIAL_TOKENS, **told}
    random_model(model_type, **told).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints") / "gemma3"
    write_checkpoint(
        "gemma3_text", folder, {"layer_types": ["sliding_attention", "full_attention"]}
    )
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
    assert text(responses).endswith("<answer> get")
    assert responses[-1].finished.num_inserted_tokens > 0


async def test_scores_of_a_recurrence_are_those_of_our_engine(stubs, drive) -> None:
    checkpoint = load_checkpoint(SSM)
    driver = drive(checkpoint.model, checkpoint.codec)
    ids = [(11 * k * k + 5 * k) % 800 for k in range(60)]
    ours = driver.ask(ids[:20], given_ids=ids[20:], top_log_probs=2)
    driver.run()
    request = pb.ScoreRequest(
        token_ids=pb.TokenIds(ids=ids[:20]),
        continuation_ids=pb.TokenIds(ids=ids[20:]),
        top_log_probs=2,
    )
    scored = (await stubs["ssm"].Score(request)).tokens
    assert [one.log_prob for one in scored] == pytest.approx(
        [one.log_prob for one in ours.log_probs], abs=1e-4
    )


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


REFUSALS = {
    "bamba": ({}, "vLLM has no BambaForCausalLM (the backend transformers takes it)"),
    "mamba": ({}, "vLLM has no kernel for mamba on a CPU"),
    "mamba2": ({"n_groups": 2}, "n_groups is over 1, and vLLM normalizes each group by itself"),
    "qwen2": (
        {"num_attention_heads": 4, "head_dim": 16},
        "attention heads have 16 dimensions; vLLM on a CPU takes 32, 64",
    ),
}
REFUSE = """
import sys
from pathlib import Path
from harness_servers.backends.hosting import Hosting, make_backend
from harness_servers.errors import CheckpointError
for folder in map(Path, sys.argv[1:]):
    hosting = Hosting(
        folder=folder, backend="vllm", retriever=list, slots=1, max_prompt_tokens=9, threads=1,
        name=None,
    )
    try:
        make_backend(hosting)
    except CheckpointError as error:
        print(error)
"""


def test_what_vllm_cannot_run_is_refused_by_name_before_it_starts(tmp_path: Path) -> None:
    for model_type, (told, _) in REFUSALS.items():
        write_checkpoint(model_type, tmp_path / model_type, told)
    folders = [str(tmp_path / model_type) for model_type in REFUSALS]
    done = run_python("-c", REFUSE, *folders)
    said = done.stdout.splitlines()
    for line, (model_type, (_, words)) in zip(said, REFUSALS.items(), strict=True):
        assert line.startswith(f"checkpoint {tmp_path / model_type}: ")
        assert words in line
