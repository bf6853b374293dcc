"""Sequences of other people's models decode together, and none notices: against whole texts.

Shapes: L tokens, V vocabulary.
"""

import logging
import random
from functools import partial

import pytest
import torch

transformers = pytest.importorskip("transformers")

from benchmarks.tiny_models import random_model  # noqa: E402
from harness_servers.models.row_batch import RowBatch  # noqa: E402
from harness_servers.models.transformers_model import TransformersModel  # noqa: E402

SPECIAL = {"vocab_size": 300, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# Of each kind of memory one or two; the sliding windows are of 32 tokens.
KINDS = [
    "llama",
    "bloom",
    "deepseek_v3",
    "falcon_mamba",
    "bamba",
    "falcon_h1",
    "gemma3_text",
    "gpt_neo",
    "minimax",
    "mistral",
    "mpt",
    "opt",
    "qwen3_next",
    "recurrent_gemma",
    "rwkv",
    "zamba2",
]
# Its layers add what one sequence carries to every other of the batch, in transformers itself.
ALONE = {"rwkv"}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 16,
    "long_factor": [4.0] * 16,
    "original_max_position_embeddings": 40,
}


def hosted(kind: str, **told: object) -> tuple[TransformersModel, torch.nn.Module]:
    """The model as it is served, and as it is."""
    theirs = random_model(kind, **SPECIAL | told).eval()
    cache = partial(transformers.DynamicCache, config=theirs.config)
    return TransformersModel(theirs, cache), theirs


class Texts:
    """Sequences in slots, each with what it has read and the logits that there were after it."""

    def __init__(self, model: TransformersModel, num_slots: int) -> None:
        self.texts: list[list[int]] = [[] for _ in range(num_slots)]
        self.found: list[dict[int, torch.Tensor]] = [{} for _ in range(num_slots)]
        self._model = model
        self._state = model.init_state(num_slots)
        self._random = random.Random(0)

    def read(self, **lengths: int) -> None:
        """So many tokens into each slot, in one call: read(_0=5, _3=1)."""
        slots = [int(name[1:]) for name in lengths]
        rows = [[self._random.randrange(3, 300) for _ in range(n)] for n in lengths.values()]
        longest = max(map(len, rows))
        logits = self._model.prefill(
            torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
            torch.tensor([*map(len, rows)]),
            self._state,
            torch.tensor(slots),
        )
        self._note(slots, rows, logits)

    def decode(self, *slots: int) -> None:
        """One token each."""
        tokens = [self._random.randrange(3, 300) for _ in slots]
        logits = self._model.decode(torch.tensor(tokens), self._state, torch.tensor(slots))
        self._note([*slots], [[token] for token in tokens], logits)

    def end(self, slot: int) -> None:
        """The slot is empty again."""
        self._state["sequence"][slot] = 0
        self.texts[slot], self.found[slot] = [], {}

    def _note(self, slots: list[int], rows: list[list[int]], logits: torch.Tensor) -> None:
        for slot, row, logits_V in zip(slots, rows, logits, strict=True):
            self.texts[slot] += row
            self.found[slot][len(self.texts[slot]) - 1] = logits_V

    def check(self, slot: int, theirs: torch.nn.Module) -> None:
        """Every one of them against the text read at once, without a cache."""
        with torch.no_grad():
            ids = torch.tensor([self.texts[slot]])
            logits_LV = theirs(input_ids=ids, use_cache=False).logits[0]
        places = [*self.found[slot]]
        found = torch.stack([self.found[slot][place] for place in places])
        torch.testing.assert_close(found, logits_LV[places], atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_join_and_leave_are_as_they_are_alone(kind: str, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        model, theirs = hosted(kind)
    assert model.is_batched == (kind not in ALONE)
    assert caplog.text.count(f"{kind} decodes its sequences row by row") == (kind in ALONE)
    texts, chance = Texts(model, 5), random.Random(1)
    texts.read(_0=70, _1=3, _3=3)
    for _ in range(3):
        texts.decode(0, 1, 3)
    texts.decode(4)
    texts.read(_2=25)
    for step in range(40):
        slots = [slot for slot in range(5) if chance.random() < 0.8] or [0]
        texts.decode(*slots)
        if step == 15:
            texts.read(_0=4, _4=2)  # what searches inserted
        if step == 25:
            texts.check(1, theirs)
            texts.end(1)
            texts.read(_1=40)
    for slot in range(5):
        texts.check(slot, theirs)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_a_row_that_outgrows_the_others_goes_on_as_it_was(kind: str) -> None:
    model, theirs = hosted(kind, max_position_embeddings=1024)
    texts = Texts(model, 3)
    texts.read(_0=500, _1=8, _2=490)
    for _ in range(30):
        texts.decode(0, 1, 2)
    assert len({memory.batch for memory in model._memories.values()}) == 2
    for slot in range(3):
        texts.check(slot, theirs)


def test_positions_that_change_with_the_length_change_for_the_long_alone() -> None:
    """Of a batch transformers takes the longest for all."""
    model, theirs = hosted("phi3", rope_parameters=LONGROPE)
    assert model.is_batched
    texts = Texts(model, 2)
    texts.read(_0=45, _1=6)
    for _ in range(4):
        texts.decode(0, 1)
    for slot in range(2):
        texts.check(slot, theirs)


def test_positions_of_which_every_length_has_its_own_are_read_row_by_row(caplog) -> None:
    scaling = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    with caplog.at_level(logging.WARNING):
        model, _ = hosted("llama", rope_parameters=scaling)
    assert not model.is_batched
    assert "scaled by the longest of them" in caplog.text


def test_who_stays_is_not_copied() -> None:
    model, _ = hosted("llama")
    texts = Texts(model, 3)
    texts.read(_0=9, _1=5, _2=7)
    texts.decode(0, 1, 2)
    (batch,) = {memory.batch for memory in model._memories.values()}
    assert isinstance(batch, RowBatch)
    before = batch.shared.cache.layers[0].keys.data_ptr()
    texts.decode(1, 2)
    texts.decode(0, 1, 2)
    assert batch.shared.cache.layers[0].keys.data_ptr() == before


def test_a_sequence_that_is_over_is_let_go() -> None:
    model, _ = hosted("falcon_mamba")
    texts = Texts(model, 2)
    texts.read(_0=3, _1=4)
    texts.decode(0, 1)
    texts.end(0)
    texts.read(_0=2)
    texts.decode(0, 1)
    batch = next(iter(model._memories.values())).batch
    assert batch is not None
    assert {*batch.rows} == {*model._memories.values()}
