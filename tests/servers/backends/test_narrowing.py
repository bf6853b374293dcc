"""A checkpoint served with so many bits of its state: what it needs, says and refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from harnessapi.values import Mode

from harness.tasks import vocabulary as words
from harness_retrieval.local import LocalRetriever
from harness_servers.backends.hosted_models import load_own
from harness_servers.backends.hosting import Hosting, make_backend
from harness_servers.checkpoints.checkpoint import save_checkpoint
from harness_servers.checkpoints.codec import QUESTION_MARKS
from harness_servers.command import model_command
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.engine_spec import EngineSpec, HostedModel
from harness_servers.errors import CheckpointError, InvalidRequestError
from harness_servers.generation import Retrieval, Sampling, Stopping
from harness_servers.models import MODELS, model_class
from harness_servers.rpc.request_checks import check_options, check_question
from harness_training.tokenizer import checkpoint_config

from ..conftest import HYBRID_SHAPE, SSM_SHAPE, make_random
from ..models.architectures import ARCHITECTURES, LLAMA, VARIANTS

CONTEXTS = "".join(f"assoc_recall ; bab dok ; {key} gik ;\n" for key in words.KEYS[1:30])


def load(folder: Path, num_bits: int | None) -> HostedModel:
    return load_own(
        EngineSpec(
            load="",
            folder=folder,
            options=EngineOptions(num_slots=2),
            threads=1,
            max_prompt_tokens=100,
            state_bits=num_bits,
        )
    )


@pytest.fixture
def folder(lstm_folder: Path) -> Path:
    (lstm_folder / "contexts.txt").write_text(CONTEXTS)
    return lstm_folder


def test_a_description_says_the_bits_and_offers_no_search(folder: Path) -> None:
    plain, narrow = load(folder, None).description, load(folder, 24).description
    assert (plain.state_bits, plain.modes) == (0, tuple(Mode))
    assert (narrow.state_bits, narrow.state_bytes, narrow.state_bytes_per_token) == (24, 3, 0)
    assert (narrow.markers, narrow.modes) == (None, ())
    assert narrow.checkpoint_digest == plain.checkpoint_digest


@pytest.mark.parametrize(
    ("contexts", "words"),
    [
        (None, "contexts.txt, texts that its code is fitted to: "),
        ("bab dok ;\n\n", "contexts.txt has 1 texts; at least 2 are needed"),
        ("bab dok ;\nBab dok ;\n", "contexts.txt: text 2: 'Bab' is not in the vocabulary"),
        ("bab ;\ndok ;\n", "24 bits are more than a code for "),
    ],
)
def test_what_is_missing_for_a_code_is_named(
    lstm_folder: Path, contexts: str | None, words: str
) -> None:
    if contexts is not None:
        (lstm_folder / "contexts.txt").write_text(contexts)
    with pytest.raises(CheckpointError) as caught:
        load(lstm_folder, 24)
    assert f"small: --state-bits 24: {words}" in str(caught.value)


def served(folder: Path, config: dict[str, Any], tokenizer: Any) -> HostedModel:
    config = checkpoint_config(config, tokenizer)
    kind = model_class(config["model_type"])
    model = make_random(kind, config, tokenizer.get_vocab_size())
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    save_checkpoint(folder, config, weights, tokenizer)
    (folder / "contexts.txt").write_text(CONTEXTS)
    return load(folder, 24)


# Of every model of the table: that its state can be cut to bits, or why not.
GROWS, COUNTS = "what it keeps grows with the context", "its state counts the tokens that it keeps"
REFUSED = {
    "bamba": GROWS,
    "causal_rn": GROWS,
    "llama": GROWS,
    "recurrent_gemma": COUNTS,
    "remamba2": GROWS,
    "samba": COUNTS,
    "scripted": COUNTS,
    "taipan": COUNTS,
}
SHAPES: dict[str, dict[str, Any]] = {
    **ARCHITECTURES,
    "bamba": HYBRID_SHAPE,
    "llama": LLAMA,
    "lstm": {"model_type": "lstm", "hidden_size": 16, "num_hidden_layers": 2},
    "mamba2": SSM_SHAPE,
    "hawk": VARIANTS["hawk"],
}


@pytest.mark.parametrize("name", sorted(SHAPES.keys() - REFUSED.keys()))
def test_a_state_of_numbers_alone_is_cut_to_bits(name: str, tmp_path: Path, tokenizer: Any) -> None:
    assert {*MODELS} <= SHAPES.keys() | REFUSED.keys()
    model = served(tmp_path / "narrow", SHAPES[name], tokenizer).model
    assert (model.state_bytes(), model.state_bytes_per_token()) == (3, 0)
    state = model.init_state(2)
    ids = tokenizer.encode("assoc_recall ; bab dok ; fem gik ; <direct> bab").ids
    # A question after a context, and one at the very beginning.
    for slot, row in enumerate((ids, ids[-2:])):
        tokens, lengths = torch.tensor([row]), torch.tensor([len(row)])
        logits = model.prefill(tokens, lengths, state, torch.tensor([slot]))
        assert logits.isfinite().all()
    logits = model.decode(torch.tensor([ids[-2]]), state, torch.tensor([0]))
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", sorted(REFUSED.keys() & SHAPES.keys()))
def test_any_other_state_is_refused_with_the_reason(
    name: str, tmp_path: Path, tokenizer: Any
) -> None:
    with pytest.raises(CheckpointError, match=f"other: --state-bits 24: {REFUSED[name]}"):
        served(tmp_path / "other", SHAPES[name], tokenizer)


def test_other_backends_refuse_it_with_the_reason(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"attention keeps grows .*\(transformers runs"):
        make_backend(
            Hosting(
                folder=folder,
                backend="transformers",
                retriever=LocalRetriever,
                slots=1,
                max_prompt_tokens=10,
                threads=1,
                name=None,
                state_bits=64,
            )
        )


def test_a_prompt_without_a_question_and_a_search_are_refused(
    folder: Path, codec: Any, make_job: Callable[..., Any]
) -> None:
    model = load(folder, 24).description
    for mark in QUESTION_MARKS:
        check_question(codec.encode(f"bab dok ; {mark} bab").ids, codec.question_ids, model)
    with pytest.raises(InvalidRequestError, match=r"no question in the prompt \(<direct>, "):
        check_question(codec.encode("bab dok ;").ids, codec.question_ids, model)
    check_question((), codec.question_ids, load(folder, None).description)
    with pytest.raises(InvalidRequestError, match="24 bits of its state, and a search would read"):
        check_options(Sampling(), Stopping(), Retrieval(mode=Mode.REGEX), model)


def test_the_marks_of_a_question_are_those_of_the_symbolic_style() -> None:
    assert {words.DIRECT, words.COT, words.REGEX, words.DENSE} == {*QUESTION_MARKS}


def test_bits_that_are_no_bytes_are_a_wrong_command(folder: Path) -> None:
    result = CliRunner().invoke(model_command, [str(folder), "--state-bits", "60"])
    assert result.exit_code == 2
    assert "60 is not a multiple of 8" in result.output
