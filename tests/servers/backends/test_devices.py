"""What a model computes on: chosen, handed to torch, and refused where it is not there."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from harnessapi.devices import DeviceError, choose_device

from harness_retrieval.local import LocalRetriever
from harness_servers.backends.hosting import Hosting, make_backend
from harness_servers.command import model_command
from harness_servers.errors import CheckpointError

pytest.importorskip("transformers")

from harness_servers.backends.vllm_backend import _require_device
from harness_servers.checkpoints.hugging_face import load_transformers_model

HAS_GPU = torch.cuda.is_available()
without_gpu = pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")


def hosting(folder: Path, **told: str) -> Hosting:
    return Hosting(
        folder=folder,
        retriever=LocalRetriever,
        slots=2,
        max_prompt_tokens=100,
        threads=1,
        name=None,
        **told,
    )


@pytest.mark.parametrize(
    ("wanted", "has_cuda", "chosen"),
    [
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
def test_what_is_there_is_taken_unless_told_otherwise(
    wanted: str, has_cuda: bool, chosen: str
) -> None:
    assert choose_device(wanted, has_cuda=has_cuda, without_cuda="") == chosen


def test_what_is_not_there_is_refused_with_what_would_help() -> None:
    with pytest.raises(DeviceError, match="--device cuda: buy one"):
        choose_device("cuda", has_cuda=False, without_cuda="buy one")


def test_our_own_engine_takes_no_gpu(lstm_folder: Path) -> None:
    with pytest.raises(DeviceError, match="our own engine computes on the CPU alone"):
        make_backend(hosting(lstm_folder, backend="engine", device="cuda"))


def test_vllm_takes_what_it_is_built_for() -> None:
    _require_device("auto", "cpu")
    _require_device("cpu", "cpu")
    with pytest.raises(DeviceError, match="--device cuda: the vLLM that is installed is built for"):
        _require_device("cuda", "cpu")


@without_gpu
def test_a_gpu_that_torch_does_not_see_is_refused(llama_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="--device cuda: torch sees no GPU here"):
        make_backend(hosting(llama_folder, backend="transformers", device="cuda"))


@without_gpu
def test_the_device_is_handed_to_torch(llama_folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"transformers cannot host it: .*(CUDA|NVIDIA)"):
        load_transformers_model(llama_folder, device="cuda")


async def test_the_device_is_in_the_description(llama_folder: Path) -> None:
    backend = make_backend(hosting(llama_folder, backend="transformers", device="cpu"))
    assert (backend.description.device, backend.description.decoding) == ("cpu", "in batches")
    await backend.close()


@pytest.mark.parametrize(
    ("device", "words"),
    [("cuda", "our own engine computes on the CPU alone"), ("gpu", "'gpu' is not one of")],
)
def test_the_command_ends_with_status_2(lstm_folder: Path, device: str, words: str) -> None:
    ended = CliRunner().invoke(model_command, [str(lstm_folder), "--device", device])
    assert ended.exit_code == 2
    assert words in ended.output


@pytest.mark.skipif(not HAS_GPU, reason="no GPU here")
def test_a_model_on_a_gpu_gives_the_logits_of_the_cpu(llama_folder: Path) -> None:
    ids, lengths, slots = torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([3, 2]), [0, 1]
    found = []
    for device in ("cpu", "cuda"):
        model = load_transformers_model(llama_folder, device=device).model
        assert model.device.startswith(device)
        state = model.init_state(2)
        model.prefill(ids, lengths, state, torch.tensor(slots))
        found.append(model.decode(torch.tensor([5, 6]), state, torch.tensor(slots)))
    torch.testing.assert_close(*found, atol=1e-3, rtol=1e-3)
