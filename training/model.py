"""Makes the model that a training starts from."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn

from harness_servers.models import MODELS, model_class
from harness_servers.models.protocol import ConfigError

LLAMA: Final = "llama"


def make_model(config: Mapping[str, Any], seed: int, device: str) -> nn.Module:
    """Seeded weights of this config; calling it is as calling LstmModel.

    Raises ConfigError, naming the value.
    """
    model_type = config.get("model_type")
    if model_type not in MODELS:
        known = ", ".join(MODELS)
        raise ConfigError(f"unknown model_type {model_type!r} (known: {known})")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _make(model_type, config)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model_type {model_type!r} cannot be trained")
    return model.to(device)


def _make(model_type: str, config: Mapping[str, Any]) -> object:
    # One whose layers forget is our own; else transformers' is the faster one to train.
    if model_type == LLAMA and "cache_policy" not in config:
        # Seconds to import, and needed for this one family.
        from harness_training.llama import make_llama  # noqa: PLC0415

        return make_llama(config)
    return model_class(model_type).from_config(config)
