"""Gated slots over chunks against token after token."""

import pytest
import torch

from harness_servers.models.gated_slots import SlotInputs, Slots, slots_rows, slots_step

LENGTH = 75
# Of sums of a chunk's logarithms the difference is taken: of high ones few digits are left.
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.mark.parametrize("forgetting", [0.0, 0.01, 1.0, 60.0])
def test_chunks_and_their_gradients_are_those_of_token_after_token(forgetting: float) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, LENGTH, 3, 2, 8, generator=generator).requires_grad_()
    key = torch.randn(2, LENGTH, 3, 8, generator=generator).requires_grad_()
    value = torch.randn(2, LENGTH, 3, 5, generator=generator).requires_grad_()
    drawn = torch.rand(2, LENGTH, 3, 7, generator=generator)
    log_keep = (-forgetting * drawn).requires_grad_()
    names = ("query_BGRK", "key_BGK", "value_BGV", "log_keep_BGM")
    tensors = (query, key, value, log_keep)
    begun = Slots(
        keys_BGMK=torch.randn(2, 3, 7, 8, generator=generator),
        values_BGMV=torch.randn(2, 3, 7, 5, generator=generator),
    )
    slots, outputs = begun, []
    for t in range(LENGTH):
        given = SlotInputs(**{name: x[:, t] for name, x in zip(names, tensors, strict=True)})
        output, slots = slots_step(given, slots)
        outputs.append(output)
    one_by_one = torch.stack(outputs, 1)
    in_chunks, last = slots_rows(SlotInputs(**dict(zip(names, tensors, strict=True))), begun)
    torch.testing.assert_close(in_chunks, one_by_one, **CLOSE)
    torch.testing.assert_close(last.keys_BGMK, slots.keys_BGMK, **CLOSE)
    torch.testing.assert_close(last.values_BGMV, slots.values_BGMV, **CLOSE)
    weights = torch.randn(one_by_one.shape, generator=generator)
    right = torch.autograd.grad((one_by_one * weights).sum(), tensors)
    got = torch.autograd.grad((in_chunks * weights).sum(), tensors)
    for ours, theirs in zip(got, right, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)
