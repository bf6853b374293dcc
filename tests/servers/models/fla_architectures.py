"""Tiny configs in the layouts of flash-linear-attention; see architectures.py."""

from typing import Any, Final

GATED_DELTANET: Final = {
    "model_type": "gated_deltanet",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
}

GSA: Final = {
    "model_type": "gsa",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_heads": 4,
    "num_slots": 6,
    "intermediate_size": 48,
}
RWKV7: Final = {
    "model_type": "rwkv7",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "decay_low_rank_dim": 6,
    "a_low_rank_dim": 5,
    "v_low_rank_dim": 4,
    "gate_low_rank_dim": 7,
}

FLA_ARCHITECTURES: Final[dict[str, dict[str, Any]]] = {
    "gated_deltanet": {
        **GATED_DELTANET,
        "num_v_heads": 4,
        "expand_v": 1.5,
        "conv_size": 3,
        "allow_neg_eigval": True,
    },
    "gsa": {
        **GSA,
        "num_kv_heads": 2,
        "expand_k": 0.5,
        "num_slots": None,
        "use_short_conv": True,
        "feature_map": "t2r",
    },
    "rwkv7": {**RWKV7, "value_dim": [64, 64]},
}
FLA_VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "gated_deltanet": GATED_DELTANET,
    "gated_deltanet, bare": {**GATED_DELTANET, "use_short_conv": False, "use_gate": False},
    "gsa": GSA,
    "rwkv7, two heads, few norms": {
        **RWKV7,
        "head_dim": None,
        "num_heads": 2,
        "norm_first": False,
        "norm_bias": False,
    },
}
