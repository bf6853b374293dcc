"""Whether a config asks for the model whose weights are there: compared before memory is taken."""

from collections.abc import Mapping
from typing import Any, Final

import torch

from harness_servers.checkpoints.checkpoint_files import WEIGHTS
from harness_servers.checkpoints.weight_files import WeightFiles
from harness_servers.errors import CheckpointError

# What is stored once may be there twice (tied matrices), beside what is small and computed.
_MOST_COPIES: Final = 2
_SLACK: Final = 2**24
# Bytes of tables that are computed and stored nowhere, beside those of the weights.
_MAX_TABLE_BYTES: Final = 2**30


def check_size(model: Any, weights: WeightFiles) -> None:
    """`model` has no memory (torch's device meta). Raises CheckpointError, with the largest part.

    Names and shapes may differ where transformers converts old files: their sum may not.
    """
    wanted = sum(parameter.numel() for parameter in model.parameters())
    stored = sum(torch.Size(shape).numel() for shape in weights.shapes.values())
    if wanted > _MOST_COPIES * stored + _SLACK:
        raise CheckpointError(
            f"config.json asks for {wanted:,} weights, {WEIGHTS} has {stored:,}; the largest that "
            f"it asks for is {_largest(dict(model.named_parameters()))}"
        )
    tables = dict(model.named_buffers())
    num_bytes = sum(table.numel() * table.element_size() for table in tables.values())
    if num_bytes > _MAX_TABLE_BYTES + 4 * stored:
        raise CheckpointError(
            f"config.json asks for tables of {num_bytes / 2**30:,.0f} GiB beside the weights; the "
            f"largest is {_largest(tables)}"
        )


def mismatch(model: Any, weights: WeightFiles) -> str | None:
    """The first tensor that has another shape in the files than the config asks for, in words."""
    for name, tensor in model.state_dict().items():
        found = weights.shapes.get(name)
        if found is not None and found != tuple(tensor.shape):
            return f"{name} has shape {found}; config.json asks for {tuple(tensor.shape)}"
    return None


def _largest(tensors: Mapping[str, torch.Tensor]) -> str:
    name = max(tensors, key=lambda one: tensors[one].numel())
    return f"{name} of shape {tuple(tensors[name].shape)}"
