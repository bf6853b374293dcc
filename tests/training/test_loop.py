import itertools
from dataclasses import replace

import pytest
import torch

from harness_servers.checkpoints.checkpoint import save_checkpoint
from harness_servers.models.llama_model import LlamaModel
from harness_training.loop import (
    learning_rate,
    make_optimizer,
    share_of_right_completions,
    train_steps,
)
from harness_training.model import make_model
from harness_training.recipe import load_recipe
from harness_training.state import Progress, load_state, save_state
from harness_training.tokenizer import build_tokenizer, checkpoint_config

TOKENIZER = build_tokenizer()

RECIPE = """
seed = 3
batch_size = 4
learning_rate = 1e-2
warmup_steps = 2
[model]
model_type = "lstm"
hidden_size = 8
num_hidden_layers = 1
[[stage]]
max_steps = 3
mixture = [{ task = "assoc_recall", ways = ["direct", "search dense"], max_size = 2 }]
[[stage]]
max_steps = 4
decay = true
[[stage.mixture]]
task = "assoc_recall"
ways = ["search regex", "cot"]
max_size = 3
max_questions = 2
"""


def fresh(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    recipe = load_recipe(path)
    model = make_model(checkpoint_config(recipe.model, TOKENIZER), recipe.seed, "cpu")
    return recipe, model, make_optimizer(model, recipe)


def test_a_training_that_was_stopped_ends_with_the_weights_of_one_that_was_not(tmp_path):
    recipe, whole, optimizer = fresh(tmp_path)
    *_, undisturbed = train_steps(recipe, whole, TOKENIZER, optimizer, Progress())
    assert undisturbed.step == 7

    recipe, stopped, optimizer = fresh(tmp_path)
    steps = train_steps(recipe, stopped, TOKENIZER, optimizer, Progress())
    *_, progress = itertools.islice(steps, 4)
    save_state(tmp_path / "state.safetensors", stopped, optimizer, progress)

    recipe, resumed, optimizer = fresh(tmp_path)
    progress = load_state(tmp_path / "state.safetensors", resumed, optimizer)
    assert (progress.stage, progress.step_in_stage, progress.step) == (1, 1, 4)
    *_, progress = train_steps(recipe, resumed, TOKENIZER, optimizer, progress)
    assert progress.step == 7
    assert progress.loss == undisturbed.loss
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name


def test_a_stage_that_forgets_moments_goes_on_from_weights_alone(tmp_path):
    (tmp_path / "recipe.toml").write_text(
        RECIPE.replace("decay = true", "decay = true\nforgets_moments = true")
    )
    recipe = load_recipe(tmp_path / "recipe.toml")
    config = checkpoint_config(recipe.model, TOKENIZER)
    whole, resumed = (make_model(config, recipe.seed, "cpu") for _ in range(2))
    steps = train_steps(recipe, whole, TOKENIZER, make_optimizer(whole, recipe), Progress())
    *_, progress = itertools.islice(steps, 3)
    kept = {name: weights.clone() for name, weights in whole.state_dict().items()}
    assert (progress.stage, progress.step_in_stage) == (1, 0)
    resumed.load_state_dict(kept)
    restarted = replace(progress)
    list(steps)

    optimizer = make_optimizer(resumed, recipe)
    others = train_steps(recipe, resumed, TOKENIZER, optimizer, restarted)
    next(others)
    assert optimizer.param_groups[0]["lr"] == 0.005  # warming up
    list(others)
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name


def test_layers_on_top_wait_for_the_stage_that_trains_them(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(
        RECIPE.replace("lstm", "llama")
        .replace("num_hidden_layers = 1", "num_hidden_layers = 2")
        .replace("[[stage]]", "intermediate_size = 8\nnum_attention_heads = 1\n[[stage]]", 1)
        .replace("max_steps = 3", "max_steps = 3\nnum_identity_layers = 1")
    )
    recipe = load_recipe(path)
    model = make_model(checkpoint_config(recipe.model, TOKENIZER), recipe.seed, "cpu")
    _, above = model.model.layers
    tokens, wanted = torch.arange(6)[None], torch.ones(1, 6, dtype=torch.bool)
    before = above.self_attn.q_proj.weight.clone()
    steps = train_steps(recipe, model, TOKENIZER, make_optimizer(model, recipe), Progress())
    for _ in itertools.islice(steps, 3):
        assert torch.equal(above.self_attn.q_proj.weight, before)
        assert not above.mlp.down_proj.weight.any()
    logits = model(tokens, wanted)
    model.config.num_hidden_layers = 1
    assert torch.equal(model(tokens, wanted), logits)
    model.config.num_hidden_layers = 2
    *_, progress = steps
    assert progress.step == 7
    assert above.self_attn.o_proj.weight.any()
    assert not torch.equal(above.self_attn.q_proj.weight, before)


def test_a_stage_ends_early_once_its_accuracy_is_reached(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("max_steps = 3", "max_steps = 3\nuntil_accuracy = 0.0"))
    recipe = load_recipe(path)
    model = make_model(checkpoint_config(recipe.model, TOKENIZER), recipe.seed, "cpu")
    steps = train_steps(recipe, model, TOKENIZER, make_optimizer(model, recipe), Progress())
    assert next(steps).stage == 1


def test_the_learning_rate_warms_up_and_falls_in_a_decaying_stage(tmp_path):
    recipe, _, _ = fresh(tmp_path)
    constant, decaying = recipe.stages
    assert learning_rate(recipe, constant, Progress(step=0)) == 0.005
    assert learning_rate(recipe, constant, Progress(step=1)) == 0.01
    rates = [learning_rate(recipe, decaying, Progress(step=9, step_in_stage=n)) for n in range(5)]
    assert rates[0] == 0.01
    assert rates == sorted(rates, reverse=True)
    assert abs(rates[4] - 0.0001) < 1e-12
    slower = replace(constant, learning_rate=0.002)
    assert learning_rate(recipe, slower, Progress(step=9)) == 0.002


def test_one_wrong_token_makes_its_completion_wrong_and_no_other() -> None:
    is_end = torch.tensor([0, 0, 1, 0, 1, 1, 0, 0, 1]).bool()
    wrong = torch.tensor([0, 0, 0, 1, 1, 0, 1, 0, 0]).bool()
    assert share_of_right_completions(wrong, is_end) == 0.5
    assert share_of_right_completions(wrong & False, is_end) == 1.0


def test_a_trained_llama_is_the_one_that_transformers_loads(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    config = checkpoint_config(
        {
            "model_type": "llama",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
        },
        TOKENIZER,
    )
    model = make_model(config, 1, "cpu")
    save_checkpoint(tmp_path / "llama", config, dict(model.named_parameters()), TOKENIZER)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    tokens = torch.arange(20).view(2, 10)
    with torch.no_grad():
        expected = loaded(tokens).logits.flatten(0, 1)
        logits = model(tokens, torch.ones_like(tokens, dtype=torch.bool))
    torch.testing.assert_close(logits, expected)


def test_a_llama_that_forgets_is_trained_as_our_engine_serves_it():
    shape = {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "cache_policy": "window=4,full=1",
    }
    model = make_model(checkpoint_config(shape, TOKENIZER), 1, "cpu")
    assert isinstance(model, LlamaModel)
    tokens = torch.arange(12)[None]
    logits = model(tokens, torch.ones_like(tokens, dtype=torch.bool))
    logits.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())
    model.eval()
    state = model.init_state(1)
    read = model.read_all(tokens, torch.tensor([12]), state, torch.tensor([0]))
    torch.testing.assert_close(read, logits.detach(), atol=1e-5, rtol=1e-4)
