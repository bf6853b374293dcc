"""What is loaded, and what is refused with which words."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness_servers.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from harness_servers.errors import CheckpointError
from harness_servers.models.lstm import LstmModel


def edit(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def without(folder: Path, key: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != key}))


def test_what_was_saved_is_what_is_loaded(tmp_path, config, tokenizer) -> None:
    model = LstmModel.from_config(config)
    save_checkpoint(tmp_path / "mine", config, model.state_dict(), tokenizer)
    loaded = load_checkpoint(tmp_path / "mine")
    assert loaded.name == "mine"
    assert loaded.config.styles == ("symbolic",)
    assert loaded.num_parameters == sum(weight.numel() for weight in model.parameters())
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_the_digest_changes_with_every_file(lstm_folder: Path) -> None:
    before = load_checkpoint(lstm_folder)
    assert len(before.digest) == 64
    assert load_checkpoint(lstm_folder).digest == before.digest
    edit(lstm_folder, note="another")
    after = load_checkpoint(lstm_folder)
    assert after.digest != before.digest
    assert after.tokenizer_digest == before.tokenizer_digest


def shrink(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["head_bias"] = tensors["head_bias"][:5].clone()
    save_file(tensors, folder / "model.safetensors")


def drop(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["head_bias"]
    save_file({**tensors, "tail_bias": torch.zeros(2)}, folder / "model.safetensors")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"head_bias": [1.0]}))


def halve(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({n: t.half() for n, t in tensors.items()}, folder / "model.safetensors")


def cut(name: str) -> Callable[[Path], None]:
    def cut_file(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return cut_file


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (pickled, "pickled weights (pytorch_model.bin)"),
        (cut("config.json"), "config.json is not JSON"),
        (cut("model.safetensors"), "model.safetensors is not a safetensors file"),
        (cut("tokenizer.json"), "tokenizer.json is not a tokenizer"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json does not hold an object"),
        (lambda f: edit(f, model_type="lstn"), "unknown model_type 'lstn'; did you mean lstm?"),
        (lambda f: edit(f, dtype="float8"), "unknown dtype 'float8'"),
        (lambda f: without(f, "dtype"), "config.json has no 'dtype'"),
        (lambda f: edit(f, hidden_size=32), ", 32)"),
        (lambda f: edit(f, hidden_size=10**6), "config.json asks for"),
        (lambda f: edit(f, hidden_size=10**9), "hidden_size is 1000000000"),
        (lambda f: edit(f, hidden_size="16"), "hidden_size is '16'"),
        (lambda f: edit(f, num_hidden_layers=0), "num_hidden_layers is 0"),
        (lambda f: edit(f, tie_word_embeddings=False), "tie_word_embeddings is False"),
        (lambda f: edit(f, eos_token_id=None), "eos_token_id is None"),
        (lambda f: edit(f, eos_token_id=5000), "eos_token_id 5000 is outside the vocabulary"),
        (lambda f: edit(f, answer_marker="<nothing>"), "marker '<nothing>' is not a token"),
        (lambda f: edit(f, search_channel={"start_marker": "<search>"}), "has no 'end_marker'"),
        (shrink, "head_bias has shape (5,)"),
        (drop, "missing: head_bias; unknown: tail_bias"),
        (halve, "is torch.float16"),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_name(
    lstm_folder: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(lstm_folder)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(lstm_folder)
    assert words in str(caught.value)
    assert str(lstm_folder) in str(caught.value)


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("ssm", {"num_heads": 3}, "num_heads 3 x head_dim 16 is not expand x hidden_size = 64"),
        ("ssm", {"n_groups": 3}, "n_groups 3 does not divide num_heads 4"),
        ("ssm", {"hidden_act": "gelu"}, "hidden_act is 'gelu'; only 'silu' is known"),
        ("ssm", {"use_bias": "no"}, "use_bias is 'no'; true or false"),
        ("ssm", {"time_step_limit": [0.1]}, "time_step_limit is [0.1]; two numbers"),
        ("ssm", {"time_step_limit": [0.2, 0.1]}, "time_step_limit is [0.2, 0.1]"),
        ("ssm", {"layer_norm_epsilon": "x"}, "layer_norm_epsilon is 'x'; a number above 0"),
        ("ssm", {"chunk_size": 0}, "chunk_size is 0"),
        ("ssm", {"state_size": 9}, "in_proj.weight has shape (164, 32); config.json asks"),
        ("ssm", {"tie_word_embeddings": False}, "missing: lm_head.weight"),
        ("hybrid", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("hybrid", {"attn_layer_indices": [2]}, "attn_layer_indices is [2]; layers are 0 to 1"),
        ("hybrid", {"attn_layer_indices": 1}, "attn_layer_indices is 1"),
        ("hybrid", {"attn_layer_indices": [0]}, "unknown: model.layers.0.mamba"),
        ("hybrid", {"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'"),
        ("hybrid", {"rope_scaling": {"type": "linear"}}, "rope_type is 'linear'"),
        ("hybrid", {"rope_parameters": {"rope_theta": -1}}, "rope_theta is -1"),
        ("hybrid", {"rope_parameters": {"partial_rotary_factor": 2}}, "factor is 2"),
        ("hybrid", {"rope_parameters": {"partial_rotary_factor": 0.4}}, "3 channels of a head"),
        ("hybrid", {"num_attention_heads": 5}, "num_attention_heads 5 does not divide hidden_size"),
        ("hybrid", {"num_key_value_heads": 3}, "num_key_value_heads 3 does not divide"),
        ("hybrid", {"mamba_n_heads": 5}, "mamba_n_heads 5 does not divide"),
        ("hybrid", {"mamba_n_groups": 3}, "mamba_n_groups 3 does not divide mamba_n_heads 4"),
        ("hybrid", {"mamba_d_head": 8}, "mamba_d_head is 8; mamba_expand x hidden_size"),
        ("hybrid", {"max_position_embeddings": None}, "max_position_embeddings is None"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_by_name(
    tmp_path: Path, tokenizer, request, family: str, changes: dict[str, object], words: str
) -> None:
    model = request.getfixturevalue(family)
    config = request.getfixturevalue(f"{family}_config")
    save_checkpoint(tmp_path / "c", {**config, **changes}, model.state_dict(), tokenizer)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / "c")
    assert words in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        load_checkpoint(tmp_path / "nowhere")


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(tmp_path, config, tokenizer) -> None:
    small = {**config, "vocab_size": 100, "hidden_size": 4}
    save_checkpoint(tmp_path / "s", small, LstmModel.from_config(small).state_dict(), tokenizer)
    with pytest.raises(CheckpointError, match="vocabulary ends at 99"):
        load_checkpoint(tmp_path / "s")
