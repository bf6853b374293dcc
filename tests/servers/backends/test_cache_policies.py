"""A checkpoint served under a cache policy: who takes it, what is said of it, who refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from harness_retrieval.local import LocalRetriever
from harness_servers.backends.hosted_models import load_own
from harness_servers.backends.hosting import Hosting, make_backend
from harness_servers.backends.narrowing import narrowed
from harness_servers.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from harness_servers.command import model_command
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.engine_spec import EngineSpec, HostedModel
from harness_servers.errors import CheckpointError
from harness_servers.generation import Stopping
from harness_servers.models import model_class


def load(folder: Path, policy: str | None) -> HostedModel:
    return load_own(
        EngineSpec(
            load="",
            folder=folder,
            options=EngineOptions(num_slots=2),
            threads=1,
            max_prompt_tokens=100,
            cache_policy=policy,
        )
    )


def hosting(folder: Path, policy: str | None, backend: str = "auto", **more: Any) -> Hosting:
    return Hosting(
        folder=folder,
        backend=backend,
        retriever=LocalRetriever,
        slots=2,
        max_prompt_tokens=100,
        threads=1,
        name=None,
        cache_policy=policy,
        **more,
    )


def serve(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(model_command, [str(folder), *options])


def test_a_description_says_the_policy_and_what_it_keeps(llama_folder: Path) -> None:
    plain, tova = load(llama_folder, None).description, load(llama_folder, "tova=8").description
    assert (plain.cache_policy, tova.cache_policy) == ("", "tova=8")
    assert plain.state_bytes_per_token > 0
    assert tova.state_bytes_per_token == 0
    assert tova.state_bytes > 8 * plain.state_bytes_per_token
    assert (tova.family, tova.checkpoint_digest) == ("TRANSFORMER", plain.checkpoint_digest)
    assert (tova.context_limit, tova.modes) == (plain.context_limit, plain.modes)


async def test_a_llama_with_a_policy_is_served_by_our_engine(llama_folder: Path) -> None:
    backend = make_backend(hosting(llama_folder, "window=8,full=0"))
    try:
        assert backend.description.cache_policy == "window=8,full=0"
        assert backend.description.engine == "recall-harness"
    finally:
        await backend.close()


def test_our_engine_says_of_a_llama_what_transformers_says(
    llama_folder: Path, drive: Any, codec: Any
) -> None:
    transformers = pytest.importorskip("transformers")
    other = transformers.AutoModelForCausalLM.from_pretrained(llama_folder)
    driver = drive(load(llama_folder, "full").model, codec)
    received = driver.ask([5, 6, 7], stopping=Stopping(max_new_tokens=12, ignore_eos=True))
    driver.run()
    right = other.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=12, do_sample=False)
    assert received.tokens[: len(right[0]) - 3] == right[0, 3:].tolist()


@pytest.mark.parametrize("backend", ["vllm", "transformers"])
def test_other_backends_refuse_a_policy_by_name(llama_folder: Path, backend: str) -> None:
    if backend == "vllm":
        pytest.importorskip("vllm")
    words = rf"--cache-policy tova=8: only our own engine's caches .*\({backend} runs this one\)"
    with pytest.raises(CheckpointError, match=words):
        make_backend(hosting(llama_folder, "tova=8", backend))


@pytest.mark.parametrize("policy", [None, "tova=8"])
def test_they_refuse_one_that_a_config_has(tmp_path: Path, policy: str | None) -> None:
    config = {"model_type": "llama", "cache_policy": "window=64"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    named = "--cache-policy tova=8" if policy else "config.json: cache_policy window=64"
    with pytest.raises(CheckpointError, match=f"{named}: only our own"):
        make_backend(hosting(tmp_path, policy, "transformers"))


def test_a_model_without_such_a_cache_refuses_a_policy_by_name(lstm_folder: Path) -> None:
    result = serve(lstm_folder, "--cache-policy", "tova=8")
    assert result.exit_code == 2
    assert "--cache-policy tova=8: lstm has no cache that could have a policy" in result.output


def test_a_layer_that_there_is_not_is_refused(llama_folder: Path) -> None:
    result = serve(llama_folder, "--cache-policy", "window=8,full=9")
    assert result.exit_code == 2
    assert "window=8,full=9: cache_policy: layer 9 is to keep all tokens" in result.output


def test_a_text_that_is_no_policy_is_a_wrong_command(llama_folder: Path) -> None:
    result = serve(llama_folder, "--cache-policy", "tova")
    assert result.exit_code == 2
    assert "'tova' is no cache policy: full, tova=TOKENS or window=TOKENS" in result.output


def test_policy_and_state_bits_exclude_each_other(llama_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="--cache-policy and --state-bits exclude"):
        make_backend(hosting(llama_folder, "tova=8", state_bits=64))


def test_tokens_that_are_kept_are_not_cut_to_bits(
    tmp_path: Path, llama_config: Any, tokenizer: Any
) -> None:
    config = {**llama_config, "cache_policy": "window=8"}
    weights = model_class("llama").from_config(config).state_dict()
    save_checkpoint(tmp_path / "llama", config, weights, tokenizer)
    with pytest.raises(CheckpointError, match="--state-bits 64: its state counts the tokens"):
        narrowed(load_checkpoint(tmp_path / "llama"), 64)
