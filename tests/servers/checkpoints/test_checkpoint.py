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


def eighth(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["head_bias"] = tensors["head_bias"].to(torch.float8_e4m3fn)
    save_file(tensors, folder / "model.safetensors")


def poison(value: float) -> Callable[[Path], None]:
    def set_one(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        tensors["head_bias"][7] = value
        save_file(tensors, folder / "model.safetensors")

    return set_one


def index(folder: Path, files: dict[str, object]) -> None:
    (folder / "model.safetensors").unlink()
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": files}))


def shard(folder: Path) -> None:
    """Two files and their index in the place of one."""
    tensors = load_file(folder / "model.safetensors")
    names = {name: f"model-{1 + number % 2}.safetensors" for number, name in enumerate(tensors)}
    index(folder, dict(names))
    for file in set(names.values()):
        save_file({n: t for n, t in tensors.items() if names[n] == file}, folder / file)


def without_shard(folder: Path) -> None:
    shard(folder)
    (folder / "model-2.safetensors").unlink()


def in_two_shards(folder: Path) -> None:
    shard(folder)
    first, second = (folder / f"model-{number}.safetensors" for number in (1, 2))
    both = {**load_file(second), **load_file(first)}
    save_file({name: tensor + 1 for name, tensor in both.items()}, second)


def around_a_text(token: str, **defined: object) -> Callable[[Path], None]:
    """A template that puts a token before every text."""

    def put(folder: Path) -> None:
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        single = [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A"}}]
        whole = {name: {"id": name, **one} for name, one in defined.items()}
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [*single],
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": whole,
        }
        for piece in tokenizer["post_processor"]["pair"] + single:
            piece.get("Sequence", {}).setdefault("type_id", 0)
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    return put


def header(folder: Path, text: bytes, length: int | None = None) -> None:
    size = (len(text) if length is None else length).to_bytes(8, "little")
    (folder / "model.safetensors").write_bytes(size + text)


def name_tensors(folder: Path, num: int) -> None:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header(folder, json.dumps({f"tensor.{number}": entry for number in range(num)}).encode())


def many_tensors(folder: Path) -> None:
    name_tensors(folder, 400_000)


def some_tensors(folder: Path) -> None:
    name_tensors(folder, 1_000)


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
        (lambda f: edit(f, model_type="lstn"), "unknown model_type 'lstn'; did you mean lstm or "),
        (lambda f: edit(f, dtype="float8"), "unknown dtype 'float8'"),
        (lambda f: edit(f, hidden_size=32), ", 32)"),
        (lambda f: edit(f, hidden_size=10**6), "config.json asks for"),
        (lambda f: edit(f, hidden_size=10**9), "hidden_size is 1000000000"),
        (lambda f: edit(f, hidden_size="16"), "hidden_size is '16'"),
        (lambda f: edit(f, num_hidden_layers=0), "num_hidden_layers is 0"),
        (lambda f: edit(f, tie_word_embeddings=False), "tie_word_embeddings is False"),
        (lambda f: edit(f, dtype=[]), "unknown dtype '[]'"),
        (lambda f: edit(f, model_type=[]), "unknown model_type []"),
        (lambda f: edit(f, model_type="x" * 10**6), "unknown model_type 'xxx"),
        (lambda f: edit(f, eos_token_id="</s>"), "eos_token_id is '</s>'"),
        (lambda f: edit(f, eos_token_id=[2, None]), "eos_token_id is [2, None]"),
        (lambda f: edit(f, pad_token_id="big"), "pad_token_id is 'big'; a token id was expected"),
        (lambda f: edit(f, bos_token_id=True), "bos_token_id is True"),
        (lambda f: edit(f, pad_token_id=10**30), "pad_token_id is 1000000"),
        (lambda f: edit(f, quantization_config={"bits": 4}), "quantized weights are not served"),
        (
            lambda f: edit(f, model_type="mine", auto_map={"AutoModel": "modeling_mine.Mine"}),
            "model_type 'mine' is code that comes with the checkpoint (auto_map)",
        ),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json is not JSON"),
        (
            lambda f: (f / "generation_config.json").write_text('{"eos_token_id": "x"}'),
            "generation_config.json: eos_token_id is 'x'",
        ),
        (lambda f: (f / "generation_config.json").write_text("[]"), "does not hold an object"),
        (lambda f: edit(f, eos_token_id=5000), "eos_token_id 5000 is outside the vocabulary"),
        (lambda f: edit(f, answer_marker="<nothing>"), "marker '<nothing>' is not a token"),
        (lambda f: edit(f, search_channel={"start_marker": "<search>"}), "has no 'end_marker'"),
        (shrink, "head_bias has shape (5,)"),
        (drop, "missing: head_bias; unknown: tail_bias"),
        (eighth, "head_bias is stored as F8_E4M3; weights have to be float64"),
        (poison(float("nan")), "head_bias has weights that are NaN or infinite"),
        (poison(float("-inf")), "head_bias has weights that are NaN or infinite"),
        (without_shard, "model-2.safetensors is missing; model.safetensors.index.json names it"),
        (
            lambda f: index(f, {"head_bias": "../model.safetensors"}),
            "'../model.safetensors' is not the name of a file beside it",
        ),
        (lambda f: index(f, {"head_bias": 3}), "3 is missing"),
        (in_two_shards, "is in model-1.safetensors and in model-2.safetensors"),
        (around_a_text("<cls>"), "its post_processor puts '<cls>' around every text"),
        (
            around_a_text("<cls>", **{"<cls>": {"ids": [9000], "tokens": ["<cls>"]}}),
            "puts '<cls>' (9000) around every text, which is no token",
        ),
        (
            around_a_text("<cls>", **{"<cls>": {"ids": [5], "tokens": ["<cls>"]}}),
            "puts '<cls>' (5) around every text, which is no token",
        ),
        (lambda f: index(f, {}), "model.safetensors.index.json has no weight_map"),
        (lambda f: header(f, b"[" * 100_000), "model.safetensors is not a safetensors file"),
        (lambda f: header(f, b"{}", 2**62), "its header has 4,611,686,018,427,387,904 bytes"),
        (lambda f: header(f, b'{"head_bias": 1}'), "head_bias has the shape None"),
        (many_tensors, "names 400,000 tensors"),
        (some_tensors, "and 992 more"),
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
        ("ssm", {"rms_norm": False}, "rms_norm is False"),
        ("ssm", {"norm_by_group": 2}, "norm_by_group is 2"),
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


def test_a_checkpoint_in_shards_is_the_one_in_a_file(lstm_folder: Path) -> None:
    whole = load_checkpoint(lstm_folder)
    shard(lstm_folder)
    sharded = load_checkpoint(lstm_folder)
    assert sharded.num_parameters == whole.num_parameters
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(sharded.model.state_dict()[name], weight)
    before = sharded.digest
    second = load_file(lstm_folder / "model-2.safetensors")
    save_file({n: t + 1 for n, t in second.items()}, lstm_folder / "model-2.safetensors")
    assert load_checkpoint(lstm_folder).digest != before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_computed_in_float32_and_reported(
    lstm_folder: Path, dtype: torch.dtype
) -> None:
    without(lstm_folder, "dtype")
    assert load_checkpoint(lstm_folder).stored_dtype == "float32"
    tensors = {n: t.to(dtype) for n, t in load_file(lstm_folder / "model.safetensors").items()}
    save_file(tensors, lstm_folder / "model.safetensors")
    loaded = load_checkpoint(lstm_folder)
    assert loaded.stored_dtype == str(dtype).removeprefix("torch.")
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight, tensors[name].float())


def test_several_precisions_are_named_by_their_share(lstm_folder: Path) -> None:
    tensors = load_file(lstm_folder / "model.safetensors")
    tensors = {n: t if n == "head_bias" else t.bfloat16() for n, t in tensors.items()}
    save_file(tensors, lstm_folder / "model.safetensors")
    assert load_checkpoint(lstm_folder).stored_dtype == "bfloat16, float32"


@pytest.mark.parametrize(
    ("told", "generation", "ids"),
    [
        ({"eos_token_id": None}, None, set()),
        ({"eos_token_id": -1}, None, set()),
        ({"eos_token_id": [2, 3]}, None, {2, 3}),
        ({"eos_token_id": 2}, {"eos_token_id": [3, 4]}, {2, 3, 4}),
        ({"eos_token_id": None}, {"eos_token_id": 5}, {5}),
        ({"eos_token_id": None, "text_config": {"eos_token_id": 6}}, {"pad_token_id": 1}, {6}),
    ],
)
def test_every_end_token_ends_wherever_it_is_named(
    lstm_folder: Path, told: dict[str, object], generation: object, ids: set[int]
) -> None:
    edit(lstm_folder, **told)
    if generation is not None:
        (lstm_folder / "generation_config.json").write_text(json.dumps(generation))
    assert load_checkpoint(lstm_folder).codec.eos_ids == ids


def test_what_ends_a_completion_is_part_of_the_digest(lstm_folder: Path) -> None:
    before = load_checkpoint(lstm_folder).digest
    (lstm_folder / "generation_config.json").write_text('{"eos_token_id": 3}')
    assert load_checkpoint(lstm_folder).digest != before


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        load_checkpoint(tmp_path / "nowhere")


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(tmp_path, config, tokenizer) -> None:
    small = {**config, "vocab_size": 100, "hidden_size": 4}
    save_checkpoint(tmp_path / "s", small, LstmModel.from_config(small).state_dict(), tokenizer)
    with pytest.raises(CheckpointError, match="vocabulary ends at 99"):
        load_checkpoint(tmp_path / "s")
