"""Training a mixer by token and in chunks is held to autograd through the equations."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models import ssd
from harness_servers.models.mamba2_mixer import Mamba2Mixer
from harness_servers.models.mamba2_shape import MixerShape

LENGTH = 37


def shape_of(num_groups: int, state_size: int, kernel: int) -> MixerShape:
    return MixerShape(
        hidden_size=12,
        inner_size=24,
        num_heads=4,
        state_size=state_size,
        num_groups=num_groups,
        conv_kernel=kernel,
        chunk_size=16,
        norm_epsilon=1e-5,
        use_conv_bias=num_groups == 1,
        time_step_limit=(0.01, 2.0),
    )


def slow(mixer: Mamba2Mixer, rest: Tensor) -> Tensor:
    """In float64, one token after the other."""
    shape = mixer.shape
    history = F.pad(rest[..., : shape.conv_size].mT, (shape.conv_kernel - 1, 0))
    given = mixer._split(F.silu(mixer.conv1d(history)).mT, mixer._time_steps(rest))
    empty = rest.new_zeros(len(rest), shape.num_heads, shape.head_dim, shape.state_size)
    y, _ = ssd.scan_slow(given, empty)
    return (y + mixer.D[:, None] * given.x_BLHP).flatten(2)


@pytest.mark.parametrize("way", ["by_token", "in_chunks"])
@pytest.mark.parametrize(
    ("num_groups", "state_size", "kernel"), [(1, 16, 4), (2, 10, 4), (4, 3, 2), (1, 8, 1)]
)
def test_outputs_and_gradients_are_those_of_the_equations(
    way: str, num_groups: int, state_size: int, kernel: int
) -> None:
    torch.manual_seed(state_size)
    mixer = Mamba2Mixer(shape_of(num_groups, state_size, kernel))
    torch.nn.init.normal_(mixer.D)
    rest = torch.randn(3, LENGTH, mixer.shape.conv_size + mixer.shape.num_heads)
    weights = torch.randn(3, LENGTH, mixer.shape.inner_size)
    trained = [mixer.conv1d.weight, mixer.dt_bias, mixer.A_log, mixer.D]
    if mixer.conv1d.bias is not None:
        trained.append(mixer.conv1d.bias)
    given = rest.clone().requires_grad_()
    y = getattr(mixer, f"_recur_{way}")(given)
    gradients = torch.autograd.grad((y * weights).sum(), [given, *trained])
    exact = mixer.double()
    given = rest.double().requires_grad_()
    wanted = slow(exact, given)
    parameters = dict(exact.named_parameters())
    names = ["conv1d.weight", "dt_bias", "A_log", "D", "conv1d.bias"][: len(trained)]
    exact_gradients = torch.autograd.grad(
        (wanted * weights).sum(), [given, *[parameters[name] for name in names]]
    )
    torch.testing.assert_close(y.double(), wanted, rtol=1e-4, atol=1e-4)
    for gradient, exact_one in zip(gradients, exact_gradients, strict=True):
        error = (gradient.double() - exact_one).abs().max() / exact_one.abs().max()
        assert error < 1e-5


def test_one_token_is_a_row_too() -> None:
    mixer = Mamba2Mixer(shape_of(1, 16, 4))
    given = torch.randn(2, 1, 12, requires_grad=True)
    mixer(given).sum().backward()
    assert given.grad is not None
    assert given.grad.abs().sum() > 0


def test_float64_is_trained_in_chunks() -> None:
    mixer = Mamba2Mixer(shape_of(2, 10, 4))
    given = torch.randn(2, LENGTH, 12)
    wanted = mixer(given).detach().double()
    inputs = given.double().requires_grad_()
    found = mixer.double()(inputs)
    found.sum().backward()
    assert found.dtype == inputs.grad.dtype == mixer.A_log.grad.dtype == torch.float64
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_gradients_of_gradients_are_refused() -> None:
    mixer = Mamba2Mixer(shape_of(1, 16, 4))
    given = torch.randn(2, 5, 12, requires_grad=True)
    [gradient] = torch.autograd.grad(mixer(given).square().sum(), given, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()
