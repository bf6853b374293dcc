"""What other people's models remember, and whether they read in pieces: measured at the start."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from benchmarks.tiny_models import TYPES, greedy_tokens, random_model
from harness_retrieval.local import LocalRetriever
from harness_servers.backends.hosting import Hosting, make_backend
from harness_servers.checkpoints.hugging_face import load_outline, load_transformers_model
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import CheckpointError
from harness_servers.generation import Stopping
from harness_servers.models import MODELS
from harness_servers.models.reading_proof import reads_in_pieces
from harness_training.tokenizer import checkpoint_config

FAMILIES = {
    "gpt2": "TRANSFORMER",
    "lfm2": "HYBRID",
    "mamba": "SSM",
    "minimax": "HYBRID",
    "recurrent_gemma": "HYBRID",
    "rwkv": "RNN",
}
# What transformers continues rightly by one token at a time alone.
BY_ONE = {"mamba", "minimax", "recurrent_gemma"}
WHOLE_PROMPT = EngineOptions(prefix_cache_bytes=0, prefill_tokens=10**6, snapshot_interval=10**6)
SAID = "does not read a text in pieces as it reads it at once"


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory, tokenizer) -> Path:
    """A random model of each kind, as transformers saves it."""
    kind = request.param
    folder = tmp_path_factory.mktemp("checkpoints") / kind
    told = checkpoint_config({"model_type": kind, **TYPES[kind]}, tokenizer)
    model = random_model(**told | {"tie_word_embeddings": False})
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def prompt(length: int) -> list[int]:
    return [(11 * k * k + 5 * k) % 800 for k in range(length)]


def generate(folder: Path, ids: list[int], num_tokens: int) -> list[int]:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return greedy_tokens(model, ids, num_tokens)


def test_the_family_is_what_the_memory_does(folder: Path) -> None:
    model = load_transformers_model(folder).model
    family = FAMILIES[folder.name]
    assert model.family == family
    assert (model.state_bytes() > 0) == (family != "TRANSFORMER")
    assert (model.state_bytes_per_token() > 0) == (family in ("TRANSFORMER", "HYBRID"))
    assert (model.context_limit is None) == (family in ("SSM", "RNN"))


def test_who_cannot_read_in_pieces_is_read_token_by_token_and_it_is_said_once(
    folder: Path, caplog
) -> None:
    with caplog.at_level(logging.WARNING):
        model = load_transformers_model(folder).model
    assert caplog.text.count(SAID) == (folder.name in BY_ONE)
    assert reads_in_pieces(model)


@pytest.mark.parametrize("length", [1, 2, 40])
def test_greedy_tokens_are_those_of_generate_among_neighbours(
    folder: Path, codec, drive, length: int
) -> None:
    driver = drive(load_transformers_model(folder).model, codec, options=WHOLE_PROMPT)
    stopping = Stopping(max_new_tokens=40, ignore_eos=True)
    received = [driver.ask(prompt(length + 3 * row), stopping=stopping) for row in range(4)]
    driver.run()
    for row, one in enumerate(received):
        assert one.tokens == generate(folder, prompt(length + 3 * row), 40)


@pytest.mark.parametrize("num_prompt", [0, 1, 20])
def test_scores_are_those_of_one_forward_pass(folder: Path, codec, drive, num_prompt: int) -> None:
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    options = replace(WHOLE_PROMPT, scored_tokens=9)
    driver = drive(load_transformers_model(folder).model, codec, options=options)
    ids = prompt(50)
    received = driver.ask(ids[:num_prompt], given_ids=ids[num_prompt:], top_log_probs=0)
    driver.run()
    with torch.no_grad():
        log_probs = reference(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [float(log_probs[place, token]) for place, token in enumerate(ids[1:])]
    found = [one.log_prob for one in received.log_probs if one.log_prob is not None]
    assert len(received.log_probs) == 50 - num_prompt
    assert found == pytest.approx(expected[-len(found) :], abs=1e-4, rel=1e-4)


def test_what_is_read_after_a_first_piece_is_read_as_at_once(folder: Path) -> None:
    model = load_transformers_model(folder).model
    ids, slots = torch.tensor([prompt(40)]), torch.tensor([0])
    whole = model.prefill(ids, torch.tensor([40]), model.init_state(1), slots)
    state = model.init_state(1)
    model.prefill(ids[:, :30], torch.tensor([30]), state, slots)
    pieces = model.prefill(ids[:, 30:], torch.tensor([10]), state, slots)
    torch.testing.assert_close(pieces, whole, atol=1e-3, rtol=1e-3)


async def test_that_transformers_runs_it_is_said_once(folder: Path, caplog) -> None:
    if folder.name in MODELS:
        pytest.skip("our own engine runs it")
    hosting = Hosting(
        folder=folder,
        backend="auto",
        retriever=LocalRetriever,
        slots=1,
        max_prompt_tokens=100,
        threads=1,
        name=None,
        styles=("natural",),
    )
    with caplog.at_level(logging.WARNING):
        backend = make_backend(hosting)
    assert caplog.text.count("transformers runs it (slower)") == 1
    description = backend.description
    assert (description.engine, description.styles) == ("transformers", ("natural",))
    assert (description.dtype, description.stored_dtype) == ("float32", "float32")
    await backend.close()


def copy(folder: Path, to: Path) -> Path:
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def spoil(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.dim() == 2)
    weights[name][0, 0] = float("inf")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_infinite_weights_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    spoil(copy(folder, tmp_path))
    with pytest.raises(CheckpointError, match="has weights that are NaN or infinite"):
        load_transformers_model(tmp_path)


def test_shards_are_loaded_and_a_missing_one_is_named(folder: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.save_pretrained(tmp_path, max_shard_size="60KB")
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    ids, lengths, slots = torch.tensor([prompt(9)]), torch.tensor([9]), torch.tensor([0])
    models = [load_transformers_model(place).model for place in (folder, tmp_path)]
    whole, sharded = [m.prefill(ids, lengths, m.init_state(1), slots) for m in models]
    torch.testing.assert_close(whole, sharded, atol=1e-4, rtol=1e-4)
    shards[0].unlink()
    with pytest.raises(CheckpointError, match=f"{shards[0].name} is missing"):
        load_transformers_model(tmp_path)


def test_a_checkpoint_of_this_precision_says_so(folder: Path, tmp_path: Path) -> None:
    copy(folder, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights = {name: tensor.bfloat16() for name, tensor in weights.items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = load_transformers_model(tmp_path)
    assert loaded.stored_dtype == "bfloat16"


def test_a_type_that_transformers_has_needs_no_code_of_the_checkpoint(
    folder: Path, tmp_path: Path
) -> None:
    copy(folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_mine.Mine"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "modeling_mine.py").write_text("raise SystemExit('this code was run')")
    assert load_transformers_model(tmp_path).model.family == FAMILIES[folder.name]


def test_old_rotary_buffers_are_let_be(llama_folder: Path, tmp_path: Path) -> None:
    copy(llama_folder, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for layer in range(2):
        weights[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(16)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert load_outline(tmp_path).num_parameters == load_outline(llama_folder).num_parameters
    assert load_transformers_model(tmp_path).model.family == "TRANSFORMER"


def test_infinite_weights_are_refused_before_vllm_is_started(
    llama_folder: Path, tmp_path: Path
) -> None:
    spoil(copy(llama_folder, tmp_path))
    with pytest.raises(CheckpointError, match="has weights that are NaN or infinite"):
        load_outline(tmp_path)


def test_models_of_ours_read_in_pieces(model) -> None:
    assert reads_in_pieces(model)
