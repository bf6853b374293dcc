"""RWKV-7's generalised delta rule in chunks against token after token."""

import pytest
import torch
from torch import Tensor

from harness_servers.models.generalized_delta_rule import (
    GeneralizedDeltaInputs,
    delta_rows,
    delta_step,
)

LENGTH = 50
NAMES = ("query_BHK", "key_BHK", "value_BHV", "log_decay_BHK", "erased_BHK", "strength_BHK")


def draw_inputs(*, decay: float, strength: float, spread: float) -> list[Tensor]:
    """Erased keys of length 1 around one direction, the further the wider their spread."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, LENGTH, 3, 8)
    query, key, around = torch.randn(3, *shape, generator=generator)
    value = torch.randn(2, LENGTH, 3, 5, generator=generator)
    erased = torch.nn.functional.normalize(1 + spread * around, dim=-1)
    log_decay = -decay * torch.rand(shape, generator=generator)
    strengths = strength * torch.rand(shape, generator=generator)
    tensors = (query, key, value, log_decay, erased, strengths)
    return [x.requires_grad_() for x in tensors]


def as_inputs(tensors: list[Tensor]) -> GeneralizedDeltaInputs:
    return GeneralizedDeltaInputs(**dict(zip(NAMES, tensors, strict=True)))


# Lower than -0.607 RWKV-7 has no logarithm of a decay.
@pytest.mark.parametrize(
    ("decay", "strength", "spread"),
    [(0.0, 1.0, 0.0), (0.01, 0.0, 100.0), (0.607, 1.0, 0.0), (0.607, 1.0, 100.0), (4.0, 1.0, 0.0)],
)
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
    scale = one_by_one.abs().max().item()
    torch.testing.assert_close(in_chunks, one_by_one, atol=1e-5 * scale, rtol=0)
    torch.testing.assert_close(last, state, atol=1e-5 * scale, rtol=0)
    weights = torch.randn(one_by_one.shape, generator=torch.Generator().manual_seed(2))
    right = torch.autograd.grad((one_by_one * weights).sum(), tensors)
    got = torch.autograd.grad((in_chunks * weights).sum(), tensors)
    for ours, theirs in zip(got, right, strict=True):
        highest = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, atol=1e-4 * highest, rtol=0)
