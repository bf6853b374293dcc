"""How many paired samples show a difference: the size at which McNemar's test has its power."""

import math
from statistics import NormalDist
from typing import Final

# Two-sided level, and the chance to see the difference where it is there.
ALPHA: Final = 0.05
POWER: Final = 0.8


def pairs_needed(difference: float, discordant: float) -> int:
    """Pairs at which a true `difference` in accuracy gives p < ALPHA with probability POWER.

    `discordant`: the share of pairs that only one side has right. Connor (1987), "Sample size for
    testing differences in proportions for the paired-sample design", Biometrics 43:
    n = (z_alpha/2 sqrt(f) + z_power sqrt(f - d^2))^2 / d^2 for difference d and share f.
    Normal distributions stand for binomial ones: of few pairs it is a few too many
    (docs/design/0025).
    Raises ValueError for no difference, and for one that so few discordant pairs cannot make.
    """
    size = abs(difference)
    if not 0 < size <= discordant <= 1:
        raise ValueError(f"a difference of {difference} with {discordant} discordant")
    normal = NormalDist()
    level = normal.inv_cdf(1 - ALPHA / 2) * math.sqrt(discordant)
    power = normal.inv_cdf(POWER) * math.sqrt(discordant - size * size)
    return math.ceil(((level + power) / size) ** 2)
