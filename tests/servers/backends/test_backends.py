"""Which backend hosts a checkpoint, and what is said where it cannot."""

import importlib.util
import json
from pathlib import Path

import pytest
from harnessapi.programs import MissingExtraError

from harness.endpoints.serving import BACKENDS as ENDPOINT_BACKENDS
from harness_retrieval.local import LocalRetriever
from harness_servers.backends import hosting as backends
from harness_servers.backends.hosting import (
    ENGINE,
    TRANSFORMERS,
    VLLM,
    Hosting,
    choose_backend,
    make_backend,
)
from harness_servers.errors import CheckpointError


def write_config(folder: Path, **config: object) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("model_type", "backend"), [("lstm", ENGINE), ("llama", VLLM)])
def test_the_model_type_decides(tmp_path: Path, model_type: str, backend: str) -> None:
    assert choose_backend(write_config(tmp_path, model_type=model_type)) == backend


def test_a_llama_whose_config_has_a_cache_policy_is_our_engines(tmp_path: Path) -> None:
    config = {"model_type": "llama", "cache_policy": "window=64,full=1"}
    assert choose_backend(write_config(tmp_path, **config)) == ENGINE


@pytest.mark.parametrize("model_type", ["gpt2", "lama", [], None])
def test_what_has_no_engine_of_ours_is_left_to_transformers(
    tmp_path: Path, model_type: object
) -> None:
    assert choose_backend(write_config(tmp_path, model_type=model_type)) == TRANSFORMERS


@pytest.mark.parametrize("model_type", ["lama", []])
def test_an_unknown_type_is_named_with_what_may_be_meant_and_what_may_help(
    tmp_path: Path, monkeypatch, model_type: object
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(CheckpointError) as caught:
        choose_backend(write_config(tmp_path, model_type=model_type))
    assert f"unknown model_type {model_type!r}" in str(caught.value)
    assert ("did you mean llama" in str(caught.value)) == (model_type == "lama")
    assert "'recall-harness[transformers]'" in str(caught.value)


@pytest.mark.parametrize(
    ("backend", "remedy"),
    [("vllm", "`make vllm`"), ("transformers", "'recall-harness[transformers]'")],
)
def test_what_is_not_installed_is_said_with_the_command_that_adds_it(
    tmp_path: Path, monkeypatch, backend: str, remedy: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    hosting = Hosting(
        folder=tmp_path,
        backend=backend,
        retriever=LocalRetriever,
        slots=1,
        max_prompt_tokens=1,
        threads=1,
        name=None,
    )
    with pytest.raises(MissingExtraError) as caught:
        make_backend(hosting)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_backend_of_the_command_line_is_in_the_table() -> None:
    assert list(backends.BACKENDS) == ["engine", "vllm", "transformers"]
    assert list(ENDPOINT_BACKENDS) == ["auto", *backends.BACKENDS]
