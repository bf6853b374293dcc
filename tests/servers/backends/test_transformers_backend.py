"""Any causal language model of transformers on our engine: the reference of the fast ones."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from harnessapi.values import FinishReason
from safetensors.torch import load_file, save_file

from harness_retrieval.local import LocalRetriever
from harness_servers.backends.hosting import Hosting, make_backend
from harness_servers.checkpoints.checkpoint import save_checkpoint
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import CheckpointError
from harness_servers.generation import Finished, Sampling, Stopping
from harness_training.tokenizer import checkpoint_config

transformers = pytest.importorskip("transformers")

from benchmarks.tiny_models import TYPES, greedy_tokens  # noqa: E402
from harness_servers.checkpoints.hugging_face import load_transformers_model  # noqa: E402

FAMILIES = {"gpt2": "TRANSFORMER", "mamba2": "SSM", "bamba": "HYBRID"}
WHOLE_PROMPT = EngineOptions(prefix_cache_bytes=0, prefill_tokens=10**6, snapshot_interval=10**6)


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory, tokenizer) -> Path:
    """A random model of each kind."""
    kind = request.param
    config = checkpoint_config({"model_type": kind, **TYPES[kind]}, tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = transformers.AutoConfig.for_model(**config, initializer_range=0.3)
        model = transformers.AutoModelForCausalLM.from_config(shape)
    folder = tmp_path_factory.mktemp("checkpoints") / kind
    weights = {name: w for name, w in model.state_dict().items() if name != "lm_head.weight"}
    save_checkpoint(folder, shape.to_dict() | config, weights, tokenizer)
    return folder


def test_greedy_tokens_are_those_of_generate_alone_and_together(folder: Path, codec, drive) -> None:
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    checkpoint = load_transformers_model(folder)
    assert checkpoint.model.family == FAMILIES[folder.name]
    driver = drive(checkpoint.model, codec, options=WHOLE_PROMPT)
    prompts = [[(37 * i + 11 * k * k) % 800 for k in range(2 + 9 * i)] for i in range(5)]
    stopping = Stopping(max_new_tokens=40, ignore_eos=True)
    received = [driver.ask(prompt, stopping=stopping) for prompt in prompts]
    driver.run()
    for ids, one in zip(prompts, received, strict=True):
        assert one.tokens == greedy_tokens(reference, ids, 40)


def test_a_prompt_read_in_pieces_gives_the_logits_of_the_whole(folder: Path) -> None:
    model = load_transformers_model(folder).model
    ids = torch.tensor([[(11 * k * k) % 800 for k in range(20)]])
    slots = torch.tensor([1])
    whole = model.prefill(ids, torch.tensor([20]), model.init_state(2), slots)
    state = model.init_state(2)
    model.prefill(ids[:, :7], torch.tensor([7]), state, slots)
    model.prefill(ids[:, 7:19], torch.tensor([12]), state, slots)
    pieces = model.decode(ids[:, 19], state, slots)
    torch.testing.assert_close(pieces, whole, atol=1e-4, rtol=1e-4)


def test_scores_and_log_probs_are_those_of_transformers(folder: Path, codec, drive) -> None:
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    options = replace(WHOLE_PROMPT, scored_tokens=7)
    driver = drive(load_transformers_model(folder).model, codec, options=options)
    whole = [(11 * k * k + 5 * k) % 800 for k in range(60)]
    stopping = Stopping(max_new_tokens=20, ignore_eos=True)
    given = [driver.ask(whole[:n], given_ids=whole[n:], top_log_probs=3) for n in (0, 1, 2, 30, 59)]
    for sampling in (Sampling(), Sampling(temperature=1.2, top_k=9, seed=4)):
        given.append(driver.ask(whole, sampling=sampling, stopping=stopping, top_log_probs=3))
    driver.run()
    for one in given:
        ids = whole + one.tokens
        with torch.no_grad():
            log_probs = reference(torch.tensor([ids])).logits[0].log_softmax(-1)
        start = len(ids) - len(one.log_probs)
        assert [scored.token_id for scored in one.log_probs] == ids[start:]
        for place, scored in enumerate(one.log_probs, start):
            if place == 0:
                assert scored.log_prob is None
                continue
            before = log_probs[place - 1]
            assert scored.log_prob == pytest.approx(float(before[scored.token_id]), abs=1e-4)
            top = [log_prob for _, log_prob in scored.top]
            assert top == pytest.approx(before.topk(3).values.tolist(), abs=1e-4)


def test_the_state_is_measured(folder: Path) -> None:
    model = load_transformers_model(folder).model
    keys_and_values = {"gpt2": 2 * 2 * 64 * 4, "mamba2": 0, "bamba": 2 * 32 * 4}
    assert model.state_bytes_per_token() == keys_and_values[folder.name]
    assert (model.state_bytes() > 0) == (folder.name != "gpt2")


def test_caches_of_sequences_that_are_gone_are_let_go(folder: Path, codec, drive) -> None:
    model = load_transformers_model(folder).model
    driver = drive(model, codec, options=EngineOptions(num_slots=2, prefix_cache_bytes=0))
    for _ in range(6):
        driver.ask("bab dok", stopping=Stopping(max_new_tokens=2, ignore_eos=True))
    driver.run()
    assert len(model._memories) <= 2


def test_a_search_is_spliced_in(llama_folder: Path, codec, drive, regex) -> None:
    driver = drive(load_transformers_model(llama_folder).model, codec, options=WHOLE_PROMPT)
    prompt = "assoc_recall bab dok ; fem gik ; fem <regex>"
    received = driver.ask(prompt, retrieval=regex)
    driver.run()
    assert received.text == r" <search> fem (\S+) </search> gik <answer> bab"


def test_a_context_that_is_full_says_so(llama_folder: Path, codec, drive) -> None:
    driver = drive(load_transformers_model(llama_folder).model, codec, options=WHOLE_PROMPT)
    received = driver.ask([5] * 500, stopping=Stopping(max_new_tokens=10**6, ignore_eos=True))
    driver.run()
    assert received.finished.reason is FinishReason.CONTEXT_FULL
    assert received.finished.num_generated_tokens == 12


def copy(folder: Path, to: Path, **values: object) -> Path:
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    config = {**json.loads((to / "config.json").read_text()), **values}
    (to / "config.json").write_text(json.dumps(config))
    return to


def test_half_precision_weights_are_computed_with_in_float32(
    llama_folder: Path, tmp_path: Path
) -> None:
    folder = copy(llama_folder, tmp_path, dtype="bfloat16")
    weights = load_file(folder / "model.safetensors")
    save_file({n: w.bfloat16() for n, w in weights.items()}, folder / "model.safetensors")
    model = load_transformers_model(folder).model
    logits = model.prefill(
        torch.tensor([[5, 6]]), torch.tensor([2]), model.init_state(1), torch.tensor([0])
    )
    assert logits.dtype is torch.float32


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_type": "lama"}, "unknown model_type 'lama'; did you mean llama"),
        ({"dtype": "float8"}, "unknown dtype 'float8'"),
        ({"hidden_size": 32}, "; config.json asks for ("),
        ({"vocab_size": 10**9}, "the largest that it asks for is "),
        ({"hidden_size": 2**40}, "transformers cannot host it: Storage size"),
        ({"intermediate_size": 10**12}, ".mlp."),
        ({"hidden_size": "wide"}, "config.json: "),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000; at most 1024"),
        ({"num_hidden_layers": 3}, "missing: model.layers.2."),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    llama_folder: Path, tmp_path: Path, values: dict[str, object], words: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_transformers_model(copy(llama_folder, tmp_path, **values))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model_type", "few", "many", "words"),
    [
        ("gpt2", 64, 10**9, "the largest that it asks for is transformer.wpe.weight"),
        ("gpt2", 64, 10**5, "wpe.weight has shape (64, 16); config.json asks for (100000, 16)"),
        ("gpt_neo", 10**5, 10**5, "tables of "),
        ("gpt_neo", 10**9, 10**9, "the largest that it asks for is transformer.wpe.weight"),
    ],
)
def test_a_length_that_would_take_all_memory_is_refused_before_it_does(
    tmp_path: Path, tokenizer, model_type: str, few: int, many: int, words: str
) -> None:
    """`few` positions are stored, or as many as can be, and `many` asked for."""
    key = {"gpt2": "n_positions", "gpt_neo": "max_position_embeddings"}[model_type]
    sizes = {
        "hidden_size": 16,
        "num_heads": 2,
        "num_layers": 1,
        "attention_types": [[["global"], 1]],
    }
    if model_type == "gpt2":
        sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2}
    config = checkpoint_config({"model_type": model_type, **sizes, key: few}, tokenizer)
    shape = transformers.AutoConfig.for_model(**config)
    with torch.device("meta"):
        outline = transformers.AutoModelForCausalLM.from_config(shape)
    weights = {
        name: torch.zeros([min(size, 10**5) for size in w.shape])
        for name, w in outline.state_dict().items()
        if name != "lm_head.weight"
    }
    save_checkpoint(tmp_path, shape.to_dict() | config | {key: many}, weights, tokenizer)
    with pytest.raises(CheckpointError) as caught:
        load_transformers_model(tmp_path)
    assert words in str(caught.value)


async def test_the_backend_serves_it_and_names_its_engine(llama_folder: Path, make_job) -> None:
    backend = make_backend(
        Hosting(
            folder=llama_folder,
            backend="transformers",
            retriever=LocalRetriever,
            slots=2,
            max_prompt_tokens=100,
            threads=1,
            name=None,
        ),
    )
    await backend.start()
    description = backend.description
    assert (description.engine, description.family) == ("transformers", "TRANSFORMER")
    assert description.state_bytes_per_token == 2 * 2 * 32 * 4
    events = [event async for event in backend.generate(make_job("<direct>"))]
    assert isinstance(events[-1], Finished)
    await backend.close()
