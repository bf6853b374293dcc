"""Which tokens of a Taipan attend: when it is served, and while it is trained."""

from typing import Any

import pytest
import torch

from harness_servers.models.protocol import ConfigError
from harness_servers.models.taipan import TaipanModel
from harness_servers.models.taipan_layers import SelectiveLayer

from .architectures import TAIPAN

CONFIG = {**TAIPAN, "vocab_size": 50, "tie_word_embeddings": True}
HIDDEN = torch.randn(3, 40, 32, generator=torch.Generator().manual_seed(1))


def selective(**changes: Any) -> SelectiveLayer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = TaipanModel.from_config({**CONFIG, **changes}).layers[1]
    assert isinstance(layer, SelectiveLayer)
    return layer


@pytest.mark.parametrize(("preference", "attends"), [(-50.0, False), (50.0, True)])
def test_who_is_not_chosen_stays_what_it_was(preference: float, attends: bool) -> None:
    layer = selective().eval()
    with torch.no_grad():
        layer.gate.bias.copy_(torch.tensor([0.0, preference]))
        before = HIDDEN + layer.feed_forward(layer.pre_ff_layernorm(HIDDEN))
        gathered = layer.self_attn(layer.norm(HIDDEN))
        after = gathered + layer.feed_forward(layer.pre_ff_layernorm(gathered))
        torch.testing.assert_close(layer(HIDDEN), after if attends else before)


def test_served_it_chooses_without_chance_and_trained_with_it() -> None:
    layer = selective()
    with torch.no_grad():
        assert not torch.equal(layer(HIDDEN), layer(HIDDEN))
        layer.eval()
        assert torch.equal(layer(HIDDEN), layer(HIDDEN))


def test_a_training_draws_the_same_whatever_else_draws() -> None:
    with torch.no_grad():
        first = selective()(HIDDEN)
        torch.rand(7)
        assert torch.equal(selective()(HIDDEN), first)


@pytest.mark.parametrize("share", [0.15, 0.6])
def test_a_training_draws_the_share_of_those_who_attend_to_the_wanted_one(share: float) -> None:
    layer = selective(attention_share=share)
    optimizer = torch.optim.Adam(layer.gate.parameters(), lr=0.1)
    for _ in range(80):
        optimizer.zero_grad()
        (0.0 * layer(HIDDEN)).sum().backward()
        optimizer.step()
    chosen = torch.stack([layer._choose(layer.gate(layer.norm(HIDDEN))) for _ in range(20)])
    assert abs(chosen.mean().item() - share) < 0.05


def test_the_gate_learns_from_what_attention_is_worth() -> None:
    layer = selective(attention_share=1.0)
    layer(HIDDEN).square().sum().backward()
    assert layer.gate.weight.grad is not None
    assert layer.gate.weight.grad.abs().sum() > 0


def test_its_state_is_mambas_and_one_window() -> None:
    model = TaipanModel.from_config(CONFIG).eval()
    mamba = 3 * (64 + 2 * 8) + 64 * 8
    assert model.state_bytes() == 2 * 4 * mamba + 4 * (2 * 4 * 2 * 8) + 8
    state = model.init_state(1)
    model.prefill(torch.zeros(1, 90).long(), torch.tensor([90]), state, torch.tensor([0]))
    assert sum(tensor.nbytes for tensor in state.values()) == model.state_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attention_share": 0}, "attention_share is 0; a number above 0"),
        ({"attention_share": 1.5}, "attention_share is 1.5; at most 1"),
        ({"attention_window": 0}, "attention_window is 0; a whole number from 1"),
        ({"attn_layer_indices": [3]}, r"attn_layer_indices is \[3\]; layers are 0 to 2"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3 does not divide"),
        ({"mamba_n_heads": 5}, "mamba_n_heads 5 does not divide"),
        ({"hidden_act": "gelu"}, "only 'silu' is known"),
    ],
)
def test_a_wrong_value_of_it_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TaipanModel.from_config({**CONFIG, **change})
