"""A packed weight's products are those of the weight as it lies."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.packed_linear import PackedLinear


@pytest.mark.parametrize(
    "shape", [(2**14 + 3, 130), (40, 2**16), (7, 5), (16, 3), (41, 130), (809, 128)]
)
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_product_is_that_of_torch(shape: tuple[int, int], *, has_bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator) / shape[1] ** 0.5
    bias = torch.randn(shape[0], generator=generator) if has_bias else None
    product = PackedLinear(weight, bias)
    rows = torch.randn(64, shape[1], generator=generator)
    with torch.inference_mode():
        for number in (1, 2, 5, 6, 7, 64):
            given = rows[:number]
            torch.testing.assert_close(
                product(given), F.linear(given, weight, bias), atol=1e-4, rtol=1e-4
            )
        # As where one row of several is wanted: no copy is asked of the caller.
        torch.testing.assert_close(
            product(rows[::2]), F.linear(rows[::2], weight, bias), atol=1e-4, rtol=1e-4
        )
