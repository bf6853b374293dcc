"""What a stopped training needs to go on: weights, optimizer moments and progress, in one file."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(kw_only=True, slots=True)
class Progress:
    """Where a training stands; changed in place at every step."""

    step: int = 0
    stage: int = 0
    step_in_stage: int = 0
    num_tokens: int = 0
    seconds: float = 0.0
    # Running averages over the last steps.
    loss: float = 0.0
    accuracy: float = 0.0


def save_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Writes the state beside `path` and renames it, so that a kill never leaves half a file."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach().contiguous()
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = value.contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    save_file(tensors, unfinished, metadata={"progress": json.dumps(asdict(progress))})
    os.replace(unfinished, path)


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Restores what save_state wrote. Raises FileNotFoundError where nothing was saved."""
    if not path.exists():
        raise FileNotFoundError(path)
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        for name, parameter in model.named_parameters():
            with torch.no_grad():
                parameter.copy_(file.get_tensor(f"model.{name}"))
            if f"exp_avg.{name}" in names:
                optimizer.state[parameter] = {
                    moment: file.get_tensor(f"{moment}.{name}") for moment in _MOMENTS
                }
    return read_progress(path)


def read_progress(path: Path) -> Progress:
    """How far the training that saved this state had come."""
    with safe_open(path, framework="pt") as file:
        return Progress(**json.loads(file.metadata()["progress"]))
