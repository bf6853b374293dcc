"""A tiny config of each architecture of the literature, and of each of its variants."""

from typing import Any, Final

from .fla_architectures import FLA_CONFIGS

MAMBA: Final = {
    "model_type": "mamba",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "state_size": 8,
    "time_step_rank": 4,
    "conv_kernel": 4,
}

CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "mamba": MAMBA,
    "falcon_mamba": {**MAMBA, "model_type": "falcon_mamba"},
    **FLA_CONFIGS,
}
