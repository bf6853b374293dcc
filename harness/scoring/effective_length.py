"""Up to which size an endpoint keeps what it has at the smallest one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# So much of the accuracy at the smallest size has to be left.
SHARE: Final = 0.85


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectiveLength:
    """Over the sizes that were asked, smallest first."""

    sizes: tuple[int, ...]
    # At the smallest of them.
    base: float
    size: int

    @property
    def is_least(self) -> bool:
        """Nothing larger was asked: it may reach further."""
        return self.size == self.sizes[-1]


def effective_length(accuracies: Mapping[int, float]) -> EffectiveLength | None:
    """By size; the largest one at which, and at every smaller one, SHARE of the base is left.

    None for fewer than two sizes, and where nothing was right at the smallest. The idea of a length
    that is still used is from Hsieh et al. (2024), "RULER", arXiv:2404.06654, with one threshold
    for all models; relative to a model's own base, and with this share, from Modarressi et al.
    (2025), "NoLiMa", arXiv:2502.05167. No size beyond the first drop counts: a longer context that
    is answered by chance is not one that is used.
    """
    sizes = sorted(accuracies)
    if len(sizes) < 2 or not accuracies[sizes[0]]:
        return None
    base = accuracies[sizes[0]]
    kept = sizes[0]
    for size in sizes:
        # So that 17 of 20 is 85% of 20 of 20, however it is rounded.
        if accuracies[size] < SHARE * base - 1e-12:
            break
        kept = size
    return EffectiveLength(sizes=tuple(sizes), base=base, size=kept)
