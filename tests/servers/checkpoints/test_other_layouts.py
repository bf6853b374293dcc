"""Folders of other layouts: converted, or refused with a line that says what to do."""

import io
import json
import logging
import math
from pathlib import Path
from typing import Any

import gguf
import pytest
import sentencepiece
import torch
import transformers
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.zamba2.modeling_zamba2 import Zamba2RMSNormGated

from harness_servers.backends.hosting import ENGINE, choose_backend
from harness_servers.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from harness_servers.checkpoints.conversion import plain_folder
from harness_servers.checkpoints.hugging_face import load_transformers_model
from harness_servers.checkpoints.mamba_ssm import to_hugging_face
from harness_servers.command import model_command
from harness_servers.errors import CheckpointError
from harness_servers.models import model_class
from harness_servers.models.protocol import ConfigError
from harness_training.tokenizer import checkpoint_config

from ..models.architectures import ARCHITECTURES

WIDE: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "eos_token_id": 2,
}


def write_model(folder: Path, model_type: str, **config: object) -> transformers.PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = transformers.AutoConfig.for_model(model_type, **config)
        model = transformers.AutoModelForCausalLM.from_config(shape).eval()
    model.save_pretrained(folder)
    return model


def logits_of(model: Any, ids: list[int]) -> torch.Tensor:
    lengths, slots = torch.tensor([len(ids)]), torch.tensor([0])
    return model.prefill(torch.tensor([ids]), lengths, model.init_state(1), slots)[0]


def test_a_plain_folder_is_served_as_it_is(lstm_folder: Path) -> None:
    with plain_folder(lstm_folder) as plain:
        assert plain == lstm_folder


def test_a_folder_that_is_not_there_is_left_to_be_named(tmp_path: Path) -> None:
    with plain_folder(tmp_path / "nowhere") as plain:
        assert plain == tmp_path / "nowhere"


def test_a_sentencepiece_model_alone_becomes_a_tokenizer(tmp_path: Path, caplog) -> None:
    write_model(tmp_path, "llama", **WIDE)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["bab dok fem gik", "the answer is bab"] * 20),
        model_writer=written,
        vocab_size=290,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (tmp_path / "tokenizer.model").write_bytes(written.getvalue())
    theirs = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    with caplog.at_level(logging.WARNING), plain_folder(tmp_path) as plain:
        codec = load_transformers_model(plain).codec
    for text in ("bab dok", "the answer: 旗"):
        assert list(codec.encode(text).ids)[-len(theirs.encode(text)) :] == theirs.encode(text)
    assert "tokenizer.json is made from tokenizer.model" in caplog.text
    assert not (tmp_path / "tokenizer.json").exists()


def test_a_vocabulary_and_its_merges_become_a_tokenizer(tmp_path: Path) -> None:
    write_model(tmp_path, "gpt2", vocab_size=300, n_embd=32, n_layer=1, n_head=2, eos_token_id=0)
    alphabet = bytes_to_unicode().values()
    vocabulary = ["<|endoftext|>", *alphabet, "ba", "bab"]
    (tmp_path / "vocab.json").write_text(json.dumps({v: i for i, v in enumerate(vocabulary)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nb a\nba b\n")
    with plain_folder(tmp_path) as plain:
        codec = load_transformers_model(plain).codec
    ids = codec.encode("bab旗").ids
    assert vocabulary[ids[0]] == "bab"
    assert codec.decode(ids) == "bab旗"


KINDS = {bool: gguf.GGUFValueType.BOOL, int: gguf.GGUFValueType.UINT32}


def write_gguf(
    path: Path,
    model: transformers.PreTrainedModel,
    specials: tuple[str, ...] = ("<s>", "</s>"),
    **tokenizer: int,
) -> None:
    """As llama.cpp's converter writes a small Llama or Gemma, and what it says of its tokenizer."""
    config = model.config
    arch = gguf.MODEL_ARCH.LLAMA if config.model_type == "llama" else gguf.MODEL_ARCH.GEMMA3
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    words = ["<unk>", *specials, *[f"<0x{byte:02X}>" for byte in range(256)], "▁"]
    words += [f"▁w{number}" for number in range(config.vocab_size - len(words))]
    num_others = len(words) - len(specials) - 257
    kinds = [2, *[3] * len(specials), *[6] * 256, *[1] * num_others]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([-float(number) for number in range(len(words))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for key, value in tokenizer.items():
        writer.add_key_value(f"tokenizer.ggml.{key}", value, KINDS[type(value)])
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = tensor.shape[0] // config.head_dim
            tensor = tensor.view(heads, 2, config.head_dim // 2, -1).swapaxes(1, 2)  # noqa: PLW2901
            tensor = tensor.reshape(heads * config.head_dim, -1)  # noqa: PLW2901
        found = names.get_name(name, try_suffixes=(".weight",))
        assert found is not None, name
        writer.add_tensor(found, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_is_converted_and_says_what_the_model_said(tmp_path: Path) -> None:
    model = write_model(tmp_path / "source", "llama", **WIDE, tie_word_embeddings=False)
    folder = tmp_path / "small"
    folder.mkdir()
    write_gguf(folder / "small.gguf", model)
    with plain_folder(folder) as plain:
        assert plain.name == "small"
        loaded = load_transformers_model(plain)
    ids = [5, 6, 7, 8, 40]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0, -1]
    torch.testing.assert_close(logits_of(loaded.model, ids), expected, atol=1e-4, rtol=0)
    assert loaded.codec.eos_ids == {2}
    assert [path.name for path in folder.iterdir()] == ["small.gguf"]


# Of `a b`, with a space before it: "▁", and the bytes of letters.
SPACED = [259, 3 + ord("a"), 259, 3 + ord("b")]


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, [1, *SPACED]),
        ({"add_bos_token": True, "add_eos_token": False}, [1, *SPACED]),
        ({"add_bos_token": False}, SPACED),
        ({"add_eos_token": True}, [1, *SPACED, 2]),
        ({"add_bos_token": False, "add_eos_token": True}, [*SPACED, 2]),
        ({"add_space_prefix": True}, [1, *SPACED]),
        ({"add_space_prefix": False}, [1, *SPACED[1:]]),
    ],
)
def test_a_text_is_put_in_the_tokens_that_the_gguf_says(
    tmp_path: Path, stated: dict[str, bool], expected: list[int]
) -> None:
    model = write_model(tmp_path / "source", "llama", **WIDE)
    folder = tmp_path / "small"
    folder.mkdir()
    write_gguf(folder / "small.gguf", model, **stated)
    with plain_folder(folder) as plain:
        codec = load_transformers_model(plain).codec
        theirs = transformers.AutoTokenizer.from_pretrained(plain)
    assert list(codec.encode_prompt("a b").ids) == expected
    assert theirs.encode("a b") == expected
    assert codec.decode(codec.encode("a b").ids) == "a b"


def test_a_text_of_a_gemma_begins_with_its_bos(tmp_path: Path) -> None:
    model = write_model(tmp_path / "source", "gemma3_text", **WIDE, head_dim=16)
    folder = tmp_path / "small"
    folder.mkdir()
    specials = ("<bos>", "<eos>", "<pad>", "<mask>")
    write_gguf(folder / "small.gguf", model, specials, add_bos_token=True, add_space_prefix=False)
    with plain_folder(folder) as plain:
        codec = load_transformers_model(plain).codec
    assert codec.encode_prompt("a b").tokens == ("<bos>", "<0x61>", "▁", "<0x62>")


def test_every_token_of_a_gguf_that_ends_a_turn_ends_a_completion(tmp_path: Path) -> None:
    model = write_model(tmp_path / "source", "llama", **WIDE)
    folder = tmp_path / "small"
    folder.mkdir()
    write_gguf(folder / "small.gguf", model, eot_token_id=270, eom_token_id=271)
    with plain_folder(folder) as plain:
        assert load_transformers_model(plain).codec.eos_ids == {2, 270, 271}


def test_two_ggufs_in_one_folder_are_one_too_many(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"2 GGUF files \(a.gguf, b.gguf\)"):
        plain_folder(tmp_path).__enter__()


def test_a_gguf_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"a.gguf cannot be converted"):
        plain_folder(tmp_path).__enter__()


SSM_CFG = {"layer": "Mamba2", "headdim": 16, "d_state": 8, "ngroups": 2, "chunk_size": 16}
THEIRS = {"d_model": 32, "n_layer": 2, "vocab_size": 811, "ssm_cfg": SSM_CFG, "rms_norm": True}


def write_mamba_ssm(folder: Path, tokenizer, ssm_cfg: dict[str, object], **config: object) -> Any:
    """A mamba_ssm folder, and transformers' model of its weights; groups are normed apart."""
    raw = {**THEIRS, "ssm_cfg": ssm_cfg, **config}
    model = write_model(folder, **to_hugging_face(raw))
    for block in model.backbone.layers:
        if hasattr(block.mixer, "norm"):
            groups = ssm_cfg.get("ngroups", 1)
            normed = Zamba2RMSNormGated(64, 64 // groups, eps=1e-5)
            normed.load_state_dict(block.mixer.norm.state_dict())
            block.mixer.norm = normed
    weights = {
        name.replace("backbone.embeddings", "backbone.embedding"): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(raw))
    tokenizer.save(str(folder / "tokenizer.json"))
    return model.eval()


@pytest.mark.parametrize("groups", [1, 2])
def test_mamba2_of_the_authors_is_served_with_a_norm_for_each_group(
    tmp_path: Path, tokenizer, groups: int
) -> None:
    other = write_mamba_ssm(tmp_path, tokenizer, {**SSM_CFG, "ngroups": groups})
    with plain_folder(tmp_path) as plain:
        model = load_checkpoint(plain).model
    ids = [(7 * k * k + 3) % 800 for k in range(40)]
    with torch.no_grad():
        expected = other(torch.tensor([ids])).logits[0, -1]
    torch.testing.assert_close(logits_of(model, ids), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("load", [load_checkpoint, load_transformers_model])
def test_mamba_of_the_authors_is_served_by_our_engine_and_by_transformers(
    tmp_path: Path, tokenizer, load
) -> None:
    other = write_mamba_ssm(tmp_path, tokenizer, {})
    with plain_folder(tmp_path) as plain:
        assert choose_backend(plain) == ENGINE
        model = load(plain).model
    ids = [5, 6, 7, 8]
    with torch.no_grad():
        expected = other(torch.tensor([ids])).logits[0, -1]
    torch.testing.assert_close(logits_of(model, ids), expected, atol=1e-4, rtol=0)
    assert model.vocabulary_size == math.ceil(811 / 8) * 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ssm_cfg": {**SSM_CFG, "layer": "Mamba3"}}, "ssm_cfg.layer is 'Mamba3'"),
        ({"ssm_cfg": {**SSM_CFG, "norm_before_gate": True}}, "norm_before_gate"),
        ({"ssm_cfg": {**SSM_CFG, "rmsnorm": False}}, "without rmsnorm"),
        ({"ssm_cfg": {**SSM_CFG, "d_ssm": 16}}, "ssm_cfg.d_ssm is not known"),
        ({"ssm_cfg": {**SSM_CFG, "headdim": "16"}}, "head_dim is '16'"),
        ({"ssm_cfg": []}, "ssm_cfg.layer"),
        ({"ssm_cfg": [1]}, r"ssm_cfg is \[1\]"),
        ({"attn_layer_idx": [1]}, r"attn_layer_idx is \[1\]"),
        ({"rms_norm": False}, "rms_norm is False"),
        ({"d_model": -1}, "d_model is -1"),
    ],
)
def test_what_that_layout_alone_can_say_is_refused_by_name(
    changes: dict[str, Any], words: str
) -> None:
    if changes.get("ssm_cfg") == []:
        assert to_hugging_face({**THEIRS, **changes})["model_type"] == "mamba"
        return
    with pytest.raises(ConfigError, match=words):
        to_hugging_face({**THEIRS, **changes})


RWKV_LM = ["emb.weight", "blocks.0.att.receptance.weight", "head.weight"]
OLDER_FLA = ["model.embeddings.weight", "model.layers.0.attn.x_x"]
META_LLAMA = ["tok_embeddings.weight", "layers.0.attention.wq.weight"]


@pytest.mark.parametrize(
    ("model_type", "names", "words"),
    [
        ("rwkv7", RWKV_LM, "those of RWKV-LM: flash-linear-attention's utils/convert_from_rwkv7"),
        ("rwkv7", OLDER_FLA, "an older flash-linear-attention"),
        ("llama", META_LLAMA, "those of Meta's own code"),
        ("mamba", ["backbone.embedding.weight"], "those of mamba_ssm"),
        ("gru", ["stack.0.weight_ih_l0"], "model.safetensors: missing:"),
    ],
)
def test_weights_of_another_programs_layout_are_named_by_it(
    tmp_path: Path, tokenizer, model_type: str, names: list[str], words: str
) -> None:
    config = checkpoint_config(ARCHITECTURES[model_type], tokenizer)
    save_checkpoint(tmp_path, config, {name: torch.zeros(2, 2) for name in names}, tokenizer)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path)
    assert words in str(caught.value)
    assert names[-1] in str(caught.value)


def test_a_pickled_rwkv_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "RWKV-x070.pth").write_bytes(b"nothing")
    result = CliRunner().invoke(model_command, [str(tmp_path)])
    assert result.exit_code == 2
    assert "it holds pickled weights (RWKV-x070.pth), which are never loaded" in result.output


@pytest.mark.parametrize(
    ("model_type", "change", "words"),
    [
        ("mamba", {"state_size": 0}, "state_size is 0"),
        ("gsa", {"num_slots": 2.5}, "num_slots is 2.5"),
        ("rwkv7", {"head_dim": 12}, "head_dim 12 does not divide hidden_size 32"),
        (
            "recurrent_gemma",
            {"lru_width": 30},
            "num_attention_heads 4 does not divide lru_width 30",
        ),
        ("gated_deltanet", {"expand_v": 0.3}, "expand_v 0.3 of head_dim 8 is 2.4"),
        ("mamba", {"state_size": 9}, "A_log has shape (64, 8); config.json asks for (64, 9)"),
    ],
)
def test_a_state_size_that_a_model_cannot_have_is_named(
    tmp_path: Path, tokenizer, model_type: str, change: dict[str, Any], words: str
) -> None:
    config = checkpoint_config(ARCHITECTURES[model_type], tokenizer)
    weights = model_class(model_type).from_config(config).state_dict()
    save_checkpoint(tmp_path, {**config, **change}, weights, tokenizer)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path)
    assert words in str(caught.value)


def test_an_adapter_is_refused_with_the_way_to_merge_it(lstm_folder: Path) -> None:
    (lstm_folder / "model.safetensors").rename(lstm_folder / "adapter_model.safetensors")
    (lstm_folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}')
    with pytest.raises(CheckpointError, match=r"\(LoRA\) of 'some/base' .*merge_and_unload") as it:
        load_checkpoint(lstm_folder)
    assert "\n" not in str(it.value)
