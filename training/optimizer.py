"""What updates the weights: AdamW for all, or Muon for the matrices between embedding and head.

Muon takes half of AdamW's steps to learn where an attention layer has to look.
Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); scaled to
AdamW's step as in Liu et al., arXiv 2502.16982.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn

from training.recipe import Recipe

# A short memory for squares: the mixture changes from step to step.
_BETAS: Final = (0.9, 0.98)
# A parameter group's own multiple of the learning rate.
_MULTIPLE: Final = "multiple"
_NOT_BETWEEN: Final = ("embed", "head")


class Optimizer:
    """The optimizers of a recipe as one."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        by_muon = _matrices(model) if recipe.muon_multiple else []
        taken = {id(parameter) for parameter in by_muon}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [{"params": rest, _MULTIPLE: 1.0}], weight_decay=recipe.weight_decay, betas=_BETAS
            )
        ]
        if by_muon:
            self._parts.append(
                torch.optim.Muon(
                    [{"params": by_muon, _MULTIPLE: recipe.muon_multiple}],
                    weight_decay=recipe.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )

    def step(self, learning_rate: float) -> None:
        """Updates the weights from their gradients."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = learning_rate * group[_MULTIPLE]
            part.step()

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for part in self._parts:
            part.zero_grad()

    def moments(self, parameter: Tensor) -> dict[str, Tensor]:
        """What is remembered of a parameter's gradients, by name; empty before the first step."""
        return next((part.state[parameter] for part in self._parts if parameter in part.state), {})

    def set_moments(self, parameter: Tensor, moments: dict[str, Tensor]) -> None:
        """Goes on from moments that were read before."""
        for part in self._parts:
            if any(parameter is one for group in part.param_groups for one in group["params"]):
                state: dict[Tensor, Any] = part.state
                state[parameter] = moments


def _matrices(model: nn.Module) -> list[nn.Parameter]:
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and not any(word in name for word in _NOT_BETWEEN)  # noqa: PLR2004
    ]
