"""The compiled selective scan and its gradients are held to autograd, token by token in float64."""

import pytest
import torch
from torch import Tensor

from harness_servers.models.selective_scan import selective_scan

LENGTH, CHANNELS = 37, 5


def slow(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    states, y = [state], []
    for t in range(x.shape[1]):
        gain = (dt[:, t] * x[:, t])[..., None] * b[:, t, None]
        states.append(torch.exp(dt[:, t, :, None] * a) * states[-1] + gain)
        y.append((states[-1] * c[:, t, None]).sum(-1))
    return torch.stack(y, 1), torch.stack(states)[lengths, torch.arange(len(lengths))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "torch"])
@pytest.mark.parametrize("state_size", [1, 3, 16])
def test_outputs_states_and_gradients_are_those_of_the_equations(
    dtype: torch.dtype, state_size: int
) -> None:
    torch.manual_seed(state_size)
    lengths = torch.tensor([LENGTH, 1, 20])
    num_rows = len(lengths)
    # As they come in a mixer: parts of larger tensors, in another order in memory.
    b, c = torch.randn(num_rows, LENGTH, 2 * state_size).chunk(2, -1)
    given = (
        torch.randn(num_rows, CHANNELS, LENGTH).mT,
        torch.rand(num_rows, LENGTH, CHANNELS),
        -torch.rand(CHANNELS, state_size) * 4,
        b,
        c,
        torch.randn(num_rows, CHANNELS, state_size),
    )
    # What is put out behind a row's last token means nothing.
    is_read = (torch.arange(LENGTH) < lengths[:, None])[..., None]
    y_weights = torch.randn(num_rows, LENGTH, CHANNELS) * is_read
    last_weights = torch.randn(num_rows, CHANNELS, state_size)

    def found(scan: object, dtype: torch.dtype) -> list[Tensor]:
        inputs = [tensor.to(dtype).detach().requires_grad_() for tensor in given]
        y, last = scan(*inputs, lengths)  # type: ignore[operator]
        loss = (y * y_weights.to(dtype)).sum() + (last * last_weights.to(dtype)).sum()
        gradients = torch.autograd.grad(loss, inputs)
        return [y.detach() * is_read, last.detach(), *gradients]

    for one, wanted in zip(found(selective_scan, dtype), found(slow, torch.float64), strict=True):
        torch.testing.assert_close(one.double(), wanted, rtol=1e-4, atol=1e-4)


def test_an_output_that_nothing_asks_of_has_no_part_in_the_gradients() -> None:
    shape = (2, 4, 3)
    x, dt, b, c = (torch.rand(shape, requires_grad=True) for _ in range(4))
    a, state = -torch.rand(3, 3), torch.zeros(2, 3, 3)
    _, last = selective_scan(x, dt, a, b, c, state, torch.tensor([4, 4]))
    (to_c,) = torch.autograd.grad(last.sum(), [c])
    assert not to_c.any()
