"""Our engine against transformers: logits, greedy tokens, and checkpoints both ways."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BambaConfig,
    FalconMambaConfig,
    LlamaConfig,
    Mamba2Config,
    MambaConfig,
    PreTrainedModel,
    RecurrentGemmaConfig,
    xLSTMConfig,
)

from benchmarks.tiny_models import greedy_tokens
from harness_servers.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from harness_servers.generation import Stopping
from harness_servers.models import model_class
from harness_servers.models.protocol import CheckpointModel
from harness_training.tokenizer import checkpoint_config

from ..conftest import HYBRID_SHAPE, SSM_SHAPE, make_random

NUM_GREEDY = 256
SSM: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_heads": 4,
    "head_dim": 16,
    "state_size": 16,
    "n_groups": 1,
    "chunk_size": 16,
    "tie_word_embeddings": True,
}
HYBRID: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "attn_layer_indices": [1],
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "mamba_n_heads": 4,
    "mamba_d_state": 16,
    "mamba_chunk_size": 16,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
MAMBA: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "state_size": 8,
    "time_step_rank": 4,
}
GRIFFIN: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "attention_window_size": 24,
}
XLSTM: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_heads": 4,
    "ffn_round_up_to_multiple_of": 32,
}
LLAMA: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
}
SHAPES: dict[str, Any] = {
    "griffin": RecurrentGemmaConfig(**GRIFFIN, num_key_value_heads=1),
    "griffin, attention first, biases, own head": RecurrentGemmaConfig(
        **GRIFFIN,
        block_types=["attention", "recurrent"],
        attention_bias=True,
        num_key_value_heads=2,
        logits_soft_cap=4.0,
        tie_word_embeddings=False,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 500.0,
            "partial_rotary_factor": 0.25,
        },
    ),
    "hawk, a wider state, own head": RecurrentGemmaConfig(
        **GRIFFIN,
        block_types=["recurrent"],
        lru_width=48,
        conv1d_width=3,
        tie_word_embeddings=False,
    ),
    "llama": LlamaConfig(**LLAMA),
    "llama, grouped queries, wide heads, tied": LlamaConfig(
        **LLAMA, num_key_value_heads=2, head_dim=12, tie_word_embeddings=True
    ),
    "llama, biases, another base of positions": LlamaConfig(
        **LLAMA,
        num_key_value_heads=1,
        attention_bias=True,
        mlp_bias=True,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    ),
    "mamba": MambaConfig(**MAMBA),
    "mamba, biases turned about, own head": MambaConfig(
        **{**MAMBA, "tie_word_embeddings": False}, use_conv_bias=False, use_bias=True, conv_kernel=3
    ),
    "falcon_mamba": FalconMambaConfig(**MAMBA),
    "xlstm": xLSTMConfig(**XLSTM),
    "xlstm, biases, narrow caps, chunks of 16": xLSTMConfig(
        **XLSTM, use_bias=True, gate_soft_cap=2.0, output_logit_soft_cap=5.0, chunk_size=16
    ),
    # Its cache is of other sizes than its layers, where these are no multiples of 64.
    "xlstm, uneven sizes": xLSTMConfig(
        **{**XLSTM, "hidden_size": 48, "num_heads": 2},
        qk_dim_factor=0.75,
        v_dim_factor=1.5,
        ffn_proj_factor=1.3,
        use_cache=False,
    ),
    "ssm": Mamba2Config(**SSM),
    "ssm, 2 groups, own head": Mamba2Config(**{**SSM, "n_groups": 2, "tie_word_embeddings": False}),
    # What transformers leaves out of account, and writes in configs of published models.
    "ssm, norm before gate": Mamba2Config(**SSM, norm_before_gate=True),
    "ssm, biases turned about, chunks of 256": Mamba2Config(
        **{**SSM, "use_conv_bias": False, "use_bias": True, "chunk_size": 256}
    ),
    "ssm, 3 layers, narrow time steps": Mamba2Config(
        **{**SSM, "num_hidden_layers": 3, "conv_kernel": 3, "time_step_limit": (0.002, 0.05)}
    ),
    "hybrid": BambaConfig(**HYBRID),
    "hybrid, grouped queries, 2 groups, own head": BambaConfig(
        **{**HYBRID, "num_key_value_heads": 2, "mamba_n_groups": 2, "tie_word_embeddings": False}
    ),
    "hybrid, attention in the middle and on top": BambaConfig(
        **{**HYBRID, "num_hidden_layers": 4, "attn_layer_indices": [1, 3], "num_key_value_heads": 1}
    ),
    "hybrid, biases turned about": BambaConfig(
        **{
            **HYBRID,
            "mamba_conv_bias": False,
            "mamba_proj_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        }
    ),
}
# Another shape of their kind writes as many tokens as transformers, whose steps take seconds.
NOT_WRITTEN = {
    "griffin, attention first, biases, own head",
    "hawk, a wider state, own head",
    "llama, grouped queries, wide heads, tied",
    "llama, biases, another base of positions",
    "mamba, biases turned about, own head",
    "xlstm, biases, narrow caps, chunks of 16",
    "xlstm, uneven sizes",
}
LARGE = (
    "proj.weight",
    "embeddings.weight",
    "embed_tokens.weight",
    "linear_x.weight",
    "linear_y.weight",
    "linear_out.weight",
    "conv_1d.weight",
    "gate_preact.weight",
    "q.weight",
    "k.weight",
    "v.weight",
)
ARCHITECTURES = {
    "bamba": "BambaForCausalLM",
    "falcon_mamba": "FalconMambaForCausalLM",
    "llama": "LlamaForCausalLM",
    "mamba": "MambaForCausalLM",
    "mamba2": "Mamba2ForCausalLM",
    "recurrent_gemma": "RecurrentGemmaForCausalLM",
    "xlstm": "xLSTMForCausalLM",
}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    yield
    transformers.logging.enable_progress_bar()
    transformers.logging.set_verbosity(before)


def theirs(config: transformers.PreTrainedConfig, vocab_size: int, seed: int) -> PreTrainedModel:
    """Random weights large enough that what was read long ago still matters."""
    config.vocab_size, config.eos_token_id, config.pad_token_id = vocab_size, 2, 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, ARCHITECTURES[config.model_type])(config)
        for name, weight in model.named_parameters():
            if name.endswith(LARGE):
                torch.nn.init.normal_(weight, std=0.3)
            elif name.endswith("bias") and "dt" not in name:
                torch.nn.init.normal_(weight, std=0.1)
    return model.eval()


@pytest.fixture(scope="module", params=SHAPES)
def pair(request, tokenizer) -> tuple[PreTrainedModel, CheckpointModel]:
    config = SHAPES[request.param]
    other = theirs(config, tokenizer.get_vocab_size(), seed=len(request.param))
    model = model_class(config.model_type).from_config(config.to_dict())
    weights = other.state_dict()
    if config.tie_word_embeddings:
        del weights["lm_head.weight"]
    model.load_state_dict(weights)
    model.eval()
    return other, model


def test_logits_are_those_of_transformers(pair) -> None:
    other, model = pair
    rows = torch.randint(0, 800, (3, 90), generator=torch.Generator().manual_seed(1))
    lengths, slots = torch.tensor([90, 47, 1]), torch.tensor([3, 0, 4])
    following = torch.tensor([5, 6, 7])
    state = model.init_state(5)
    with torch.no_grad():
        every = model(rows, torch.ones_like(rows, dtype=torch.bool)).view(3, 90, -1)
        torch.testing.assert_close(every, other(rows).logits, atol=1e-4, rtol=0)
    read = model.prefill(rows, lengths, state, slots)
    decoded = model.decode(following, state, slots)
    for row, length in enumerate(lengths.tolist()):
        whole = torch.cat([rows[row, :length], following[row : row + 1]])
        with torch.no_grad():
            expected = other(whole[None]).logits[0]
        torch.testing.assert_close(read[row], expected[-2], atol=1e-4, rtol=0)
        torch.testing.assert_close(decoded[row], expected[-1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("pair", [one for one in SHAPES if one not in NOT_WRITTEN], indirect=True)
def test_greedy_tokens_are_those_of_transformers(pair, drive, codec) -> None:
    other, model = pair
    prompt = torch.randint(0, 800, (1, 37), generator=torch.Generator().manual_seed(2))
    driver = drive(model, codec)
    received = driver.ask(
        prompt[0].tolist(), stopping=Stopping(max_new_tokens=NUM_GREEDY, ignore_eos=True)
    )
    driver.run()
    # Its steps on a cache leave time_step_limit out, and so differ from its own forward.
    limit = getattr(other.config, "time_step_limit", (0.0, math.inf))
    use_cache = math.isinf(limit[1])
    right = greedy_tokens(other, prompt[0].tolist(), NUM_GREEDY, use_cache=use_cache)
    assert received.tokens == right
    assert len(set(received.tokens)) > 20


def as_it_is(_folder: Path) -> None:
    pass


def with_a_second_head(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    names = {"backbone.embeddings.weight", "model.embed_tokens.weight"} & tensors.keys()
    head = tensors[names.pop()].clone()
    save_file({"lm_head.weight": head, **tensors}, folder / "model.safetensors")


def as_version_4_writes(folder: Path) -> None:
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    raw["torch_dtype"] = raw.pop("dtype")
    raw["time_step_limit"] = [0.0, float("inf")]
    raw["rope_theta"] = raw.pop("rope_parameters", {}).get("rope_theta", 10_000.0)
    raw["rope_scaling"] = None
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize("change", [as_it_is, with_a_second_head, as_version_4_writes])
@pytest.mark.parametrize("shape", ["ssm", "hybrid", "griffin", "xlstm"])
def test_what_transformers_saves_is_served_here(
    tmp_path: Path, tokenizer, shape: str, change
) -> None:
    other = theirs(SHAPES[shape], tokenizer.get_vocab_size(), seed=3)
    other.save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    change(tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert (loaded.config.markers, loaded.config.styles) == (None, ())
    assert loaded.num_parameters == other.num_parameters()
    tokens = torch.arange(30)[None]
    state, slot = loaded.model.init_state(1), torch.tensor([0])
    with torch.no_grad():
        expected = other(tokens).logits[0, -1]
    logits = loaded.model.prefill(tokens, torch.tensor([30]), state, slot)[0]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


SAVED = {
    "falcon_mamba": {"model_type": "falcon_mamba", **MAMBA},
    "llama": {"model_type": "llama", **LLAMA},
    "mamba": {"model_type": "mamba", **MAMBA},
    "recurrent_gemma": {"model_type": "recurrent_gemma", **GRIFFIN},
    "ssm": SSM_SHAPE,
    "hybrid": HYBRID_SHAPE,
}


@pytest.mark.parametrize("name", SAVED)
def test_what_we_save_is_loaded_by_transformers(tmp_path: Path, tokenizer, name: str) -> None:
    config = checkpoint_config(SAVED[name], tokenizer)
    model = make_random(model_class(config["model_type"]), config, tokenizer.get_vocab_size())
    save_checkpoint(tmp_path / name, config, model.state_dict(), tokenizer)
    other = AutoModelForCausalLM.from_pretrained(tmp_path / name)
    assert config["architectures"] == [type(other).__name__]
    tokens = torch.arange(30)[None]
    with torch.no_grad():
        expected = other(tokens).logits[0]
        logits = model(tokens, torch.ones_like(tokens, dtype=torch.bool))
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
