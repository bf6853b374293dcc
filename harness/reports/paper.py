"""What the paper itself reports, to stand beside what is measured here.

Source: Wen, Dang, Lyu, "RNNs are not Transformers (Yet): The Key Bottleneck on In-context
Retrieval", arXiv 2402.18510 v4 (ICLR 2025): accuracy on IsTree, 5,000 validation samples. The
figures were digitised from its plots, give or take 0.005. A sample without yes or no counts as half
right there and as wrong here. Its searches were not made: results of the known trace were fed in.
"""

import math
from dataclasses import dataclass
from typing import Final

from harness.way import Prompting

CAPTION: Final = (
    "Paper: arXiv 2402.18510 v4, IsTree, 5,000 samples; digitised from its plots, ±0.005. Its RNN "
    "is Mamba; with retrieval, the results of the known trace were fed in and no search was made."
)
SIZES: Final = (16, 32, 64, 128)
_PARAMETERS: Final = {"0.5M": 0.5e6, "1M": 1e6, "2M": 2e6}


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperCurve:
    """Accuracies at SIZES, as ranges: (low, high), equal where the plot tells one value."""

    # Ours that it stands beside; the paper's own name of it.
    families: tuple[str, ...]
    name: str
    prompting: Prompting
    # None: all three sizes of the model lie in the range.
    parameters: str | None
    accuracies: tuple[tuple[float, float], ...]
    task: str = "is_tree"

    @property
    def label(self) -> str:
        """For a legend."""
        return " ".join(["paper:", self.name, self.parameters or "0.5M-2M"])


def _cot(
    families: tuple[str, ...], name: str, rows: dict[str, tuple[float, ...]]
) -> list[PaperCurve]:
    return [
        PaperCurve(
            families=families,
            name=f"{name} + CoT",
            prompting=Prompting.COT,
            parameters=parameters,
            accuracies=tuple((accuracy, accuracy) for accuracy in row),
        )
        for parameters, row in rows.items()
    ]


_RNN: Final = ("SSM", "RNN")
_ANY: Final = ("TRANSFORMER", "HYBRID", "SSM", "RNN")

CURVES: Final[tuple[PaperCurve, ...]] = (
    *_cot(
        ("TRANSFORMER",),
        "Transformer",
        {
            "0.5M": (1.00, 1.00, 0.975, 0.689),
            "1M": (1.00, 1.00, 1.00, 0.923),
            "2M": (1.00, 1.00, 1.00, 1.00),
        },
    ),
    *_cot(
        _RNN,
        "RNN (Mamba)",
        {
            "0.5M": (0.837, 0.548, 0.496, 0.496),
            "1M": (0.995, 0.785, 0.486, 0.496),
            "2M": (1.00, 0.872, 0.486, 0.496),
        },
    ),
    *_cot(
        ("HYBRID",),
        "Hybrid",
        {
            "0.5M": (0.998, 0.998, 0.969, 0.771),
            "1M": (1.00, 0.998, 0.995, 0.757),
            "2M": (1.00, 0.998, 0.995, 0.993),
        },
    ),
    PaperCurve(
        families=_ANY,
        name="any, no CoT",
        prompting=Prompting.DIRECT,
        parameters=None,
        accuracies=((0.48, 0.51),) * 4,
    ),
    PaperCurve(
        families=_RNN,
        name="RNN (Mamba) + retrieval",
        prompting=Prompting.SEARCH,
        parameters=None,
        accuracies=((1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (0.995, 0.998)),
    ),
    PaperCurve(
        families=("TRANSFORMER", "HYBRID"),
        name="Transformer, Hybrid + retrieval",
        prompting=Prompting.SEARCH,
        parameters=None,
        accuracies=((1.0, 1.0),) * 4,
    ),
)


def beside(task: str, prompting: Prompting, models: dict[str, int]) -> list[PaperCurve]:
    """The curves to draw beside models of these families, given with their parameter counts.

    Of a model that the paper has in three sizes, the one nearest in parameters (as a ratio).
    """
    chosen: dict[str, PaperCurve] = {}
    for curve in CURVES:
        family = next((f for f in curve.families if f in models), None)
        if family is None or (curve.task, curve.prompting) != (task, prompting):
            continue
        other = chosen.get(curve.name)
        if other is None or _distance(curve, models[family]) < _distance(other, models[family]):
            chosen[curve.name] = curve
    return list(chosen.values())


def _distance(curve: PaperCurve, num_parameters: int) -> float:
    if curve.parameters is None or num_parameters <= 0:
        return 0.0
    return abs(math.log(_PARAMETERS[curve.parameters] / num_parameters))
