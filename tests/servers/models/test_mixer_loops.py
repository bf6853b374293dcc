"""The compiled loops of a Mamba2 mixer are held to operations of torch and to the slow scan."""

import math

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from harness_servers.models import ssd
from harness_servers.models.gated_norm import GatedRmsNorm
from harness_servers.models.mixer_loops import convolve, scan, time_steps
from harness_servers.models.rms_norm import RmsNorm

LENGTHS = torch.tensor([5, 1, 3])
SLOTS = torch.tensor([3, 0, 2])


@pytest.mark.parametrize("width", [1, 2, 4, 7])
def test_a_convolution_goes_on_where_its_slot_was_left(width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    given = torch.randn(9, 11, generator=generator)
    weight, bias = torch.randn(width, 6, generator=generator), torch.randn(6, generator=generator)
    pool = torch.randn(4, width - 1, 6, generator=generator)
    before, outputs = pool.clone(), torch.full((9, 6), torch.nan)
    arrays = [tensor.numpy() for tensor in (weight, bias, pool, SLOTS, LENGTHS, outputs)]
    convolve(given.numpy(), *arrays)
    rows = zip(SLOTS, LENGTHS, given.split(LENGTHS.tolist()), strict=True)
    for (slot, length, inputs), output in zip(rows, outputs.split(LENGTHS.tolist()), strict=True):
        history = torch.cat([before[slot], inputs[:, :6]])
        wanted = F.conv1d(history.T[None], weight.T[:, None], bias, groups=6)[0].T
        torch.testing.assert_close(output, F.silu(wanted))
        assert torch.equal(pool[slot], history[length:])
    assert torch.equal(pool[1], before[1])


@pytest.mark.parametrize("to_last", [False, True])
@pytest.mark.parametrize("num_groups", [1, 2, 4])
def test_a_scan_computes_what_the_equations_say(num_groups: int, *, to_last: bool) -> None:
    heads, width, size = 4, 3, 5
    generator = torch.Generator().manual_seed(num_groups)
    mixed = torch.randn(9, heads * width + 2 * num_groups * size, generator=generator)
    dt, a = torch.rand(9, heads, generator=generator), -torch.rand(heads, generator=generator)
    skip = torch.randn(heads, generator=generator)
    pool = torch.randn(4, heads, width, size, generator=generator)
    before, outputs = pool.clone(), torch.full((3 if to_last else 9, heads * width), torch.nan)
    arrays = (mixed, dt, a, skip, pool, SLOTS, LENGTHS, outputs)
    scan(*[tensor.numpy() for tensor in arrays])
    x, b, c = mixed.split([heads * width, *[num_groups * size] * 2], -1)
    ends = LENGTHS.cumsum(0)
    for row, (slot, length, end) in enumerate(zip(SLOTS, LENGTHS, ends, strict=True)):
        tokens = slice(end - length, end)
        given = ssd.ScanInput(
            x_BLHP=x[None, tokens].unflatten(-1, (heads, width)),
            dt_BLH=dt[None, tokens],
            a_H=a,
            b_BLGN=b[None, tokens].unflatten(-1, (num_groups, size)),
            c_BLGN=c[None, tokens].unflatten(-1, (num_groups, size)),
        )
        wanted, state = ssd.scan_slow(given, before[slot][None])
        wanted = (wanted + skip[:, None] * given.x_BLHP)[0].flatten(1)
        if to_last:
            torch.testing.assert_close(outputs[row], wanted[-1])
        else:
            torch.testing.assert_close(outputs[tokens], wanted)
        torch.testing.assert_close(pool[slot], state[0])
    assert torch.equal(pool[1], before[1])


@pytest.mark.parametrize("shape", [(7,), (3, 64), (2, 5, 33)])
def test_a_norm_is_that_of_torch(shape: tuple[int, ...]) -> None:
    norm = RmsNorm(shape[-1], eps=1e-5)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(norm(x), F.rms_norm(x, shape[-1:], norm.weight, 1e-5))


@pytest.mark.parametrize("num_parts", [1, 3])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_a_gated_norm_is_that_which_is_trained(num_parts: int, scale: float) -> None:
    norm = GatedRmsNorm(33, eps=1e-5, num_parts=num_parts)
    torch.nn.init.normal_(norm.weight)
    x, gate = torch.randn(4, 33), torch.randn(4, 33) * scale
    with torch.inference_mode():
        served = norm(x, gate)
    torch.testing.assert_close(served, norm(x, gate).detach())


def test_a_gate_that_is_no_number_stays_none() -> None:
    norm = GatedRmsNorm(4, eps=1e-5, num_parts=1)
    with torch.inference_mode():
        normed = norm(torch.ones(2, 4), torch.tensor([[1.0] * 4, [1.0, math.nan, 1.0, 1.0]]))
    assert normed[0].isfinite().all()
    assert normed[1].isnan().all()


@pytest.mark.parametrize("bounds", [(0.0, math.inf), (0.002, 0.05)])
def test_time_steps_are_softplus_within_bounds(bounds: tuple[float, float]) -> None:
    given = torch.linspace(-120, 120, 37)[:, None].repeat(1, 5)
    bias, steps = torch.randn(3), torch.empty(37, 3)
    time_steps(given.numpy(), bias.numpy(), *bounds, steps.numpy())
    torch.testing.assert_close(steps, F.softplus(given[:, 2:] + bias).clamp(*bounds))
