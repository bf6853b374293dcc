"""The family that each architecture is of, by the rule of docs/design/0027."""

import pytest

from harness_servers.models import MODELS, model_class

from ..conftest import HYBRID_SHAPE, SSM_SHAPE
from .architectures import ARCHITECTURES, VARIANTS

SHAPES = {
    **ARCHITECTURES,
    "bamba": HYBRID_SHAPE,
    "lstm": {"model_type": "lstm", "hidden_size": 32, "num_hidden_layers": 2},
    "mamba2": SSM_SHAPE,
    "hawk": VARIANTS["hawk"],
    "linear relations": VARIANTS["causal_rn, linear"],
}
FAMILIES = {
    "RNN": {"gated_deltanet", "gru", "gsa", "hawk", "linear relations", "lstm", "rwkv7", "xlstm"},
    "SSM": {"falcon_mamba", "llamba", "mamba", "mamba2"},
    "HYBRID": {"bamba", "recurrent_gemma", "remamba2", "samba", "taipan"},
    "TRANSFORMER": {"causal_rn", "llama"},
}


def test_every_model_of_the_table_has_a_family_here() -> None:
    named = {SHAPES[name]["model_type"] for family in FAMILIES.values() for name in family}
    assert named == MODELS.keys() - {"scripted"}


@pytest.mark.parametrize(("family", "names"), FAMILIES.items())
def test_the_rule_is_applied_evenly(family: str, names: set[str]) -> None:
    for name in names:
        shape = {**SHAPES[name], "vocab_size": 50, "tie_word_embeddings": True}
        model = model_class(shape["model_type"]).from_config(shape)
        assert (name, model.family) == (name, family)
