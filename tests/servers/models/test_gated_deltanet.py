"""The gated delta rule in chunks, and its mixer, against what else computes them."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen3NextConfig
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

from harness_servers.models.gated_delta_rule import DeltaInputs, delta_rows, delta_step
from harness_servers.models.gated_deltanet import DeltaNetShape, GatedDeltaNet

LENGTH = 75
CLOSE = {"atol": 1e-4, "rtol": 0}


def draw_inputs(*, decay: float, strength: float, spread: float) -> list[Tensor]:
    """Keys of length 1 around one direction, the further the wider their spread."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, LENGTH, 3)
    query, key = torch.randn(2, *shape, 8, generator=generator)
    key = torch.nn.functional.normalize(1 + spread * key, dim=-1)
    value = torch.randn(*shape, 5, generator=generator)
    log_decay = -decay * torch.rand(shape, generator=generator)
    strengths = strength * torch.rand(shape, generator=generator)
    return [x.requires_grad_() for x in (query, key, value, log_decay, strengths)]


def as_inputs(tensors: list[Tensor]) -> DeltaInputs:
    query, key, value, log_decay, strength = tensors
    return DeltaInputs(
        query_BHK=query,
        key_BHK=key,
        value_BHV=value,
        log_decay_BH=log_decay,
        strength_BH=strength,
    )


@pytest.mark.parametrize("decay", [0.0, 0.1, 50.0])
@pytest.mark.parametrize("strength", [1.0, 2.0])
@pytest.mark.parametrize("spread", [0.0, 0.1, 100.0])
def test_chunks_and_their_gradients_are_those_of_token_after_token(
    decay: float, strength: float, spread: float
) -> None:
    tensors = draw_inputs(decay=decay, strength=strength, spread=spread)
    begun = torch.randn(2, 3, 8, 5, generator=torch.Generator().manual_seed(1))
    state, outputs = begun, []
    for t in range(LENGTH):
        output, state = delta_step(as_inputs([x[:, t] for x in tensors]), state)
        outputs.append(output)
    one_by_one = torch.stack(outputs, 1)
    in_chunks, last = delta_rows(as_inputs(tensors), begun)
    torch.testing.assert_close(in_chunks, one_by_one, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(last, state, atol=1e-4, rtol=1e-4)
    weights = torch.randn(one_by_one.shape, generator=torch.Generator().manual_seed(2))
    right = torch.autograd.grad((one_by_one * weights).sum(), tensors)
    for got, expected in zip(
        torch.autograd.grad((in_chunks * weights).sum(), tensors), right, strict=True
    ):
        torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-3)


SHAPES: dict[str, dict[str, Any]] = {
    "as many value heads": {},
    "value heads that share keys": {"linear_num_value_heads": 4, "linear_value_head_dim": 12},
    "one head, wide convolution": {
        "linear_num_key_heads": 1,
        "linear_num_value_heads": 3,
        "linear_conv_kernel_dim": 6,
    },
}


@pytest.fixture(params=SHAPES)
def pair(request) -> tuple[Qwen3NextGatedDeltaNet, GatedDeltaNet]:
    """A mixer of transformers' Qwen3-Next, and ours with its weights."""
    sizes: dict[str, Any] = {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        **SHAPES[request.param],
    }
    config = Qwen3NextConfig(
        hidden_size=32, num_hidden_layers=1, layer_types=["linear_attention"], **sizes
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = Qwen3NextGatedDeltaNet(config, 0)
        for weight in theirs.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    ours = GatedDeltaNet(
        DeltaNetShape(
            hidden_size=32,
            num_key_heads=config.linear_num_key_heads,
            num_value_heads=config.linear_num_value_heads,
            key_size=config.linear_key_head_dim,
            value_size=config.linear_value_head_dim,
            conv_kernel=config.linear_conv_kernel_dim,
            use_gate=True,
            highest_strength=1.0,
            norm_epsilon=config.rms_norm_eps,
        )
    )
    ours.load_state_dict(as_ours(theirs))
    return theirs, ours


def as_ours(theirs: Qwen3NextGatedDeltaNet) -> dict[str, Tensor]:
    """Theirs has one projection and one convolution for all, sorted by heads of keys."""
    keys, values = theirs.head_k_dim, theirs.head_v_dim
    sharing = theirs.num_v_heads // theirs.num_k_heads
    by_head = theirs.in_proj_qkvz.weight.unflatten(0, (theirs.num_k_heads, -1))
    parts = by_head.split([keys, keys, sharing * values, sharing * values], 1)
    query, key, value, gate = (part.flatten(0, 1) for part in parts)
    strength, step = theirs.in_proj_ba.weight.unflatten(0, (theirs.num_k_heads, -1)).chunk(2, 1)
    conv = theirs.conv1d.weight.split([theirs.key_dim, theirs.key_dim, theirs.value_dim])
    return {
        "q_proj.weight": query,
        "k_proj.weight": key,
        "v_proj.weight": value,
        "g_proj.weight": gate,
        "a_proj.weight": step.flatten(0, 1),
        "b_proj.weight": strength.flatten(0, 1),
        "q_conv1d.weight": conv[0],
        "k_conv1d.weight": conv[1],
        "v_conv1d.weight": conv[2],
        "A_log": theirs.A_log,
        "dt_bias": theirs.dt_bias,
        "o_norm.weight": theirs.norm.weight,
        "o_proj.weight": theirs.out_proj.weight,
    }


@torch.no_grad()
def test_the_mixer_is_that_of_qwen3_next(pair) -> None:
    theirs, ours = pair
    given = torch.randn(2, LENGTH, 32, generator=torch.Generator().manual_seed(3))
    expected = theirs(given)
    torch.testing.assert_close(ours(given), expected, **CLOSE)
    state, outputs = ours.init_state(2, given.device), []
    for hidden in given.unbind(1):
        output, state = ours.step(hidden, state)
        outputs.append(output)
    torch.testing.assert_close(torch.stack(outputs, 1), expected, **CLOSE)
