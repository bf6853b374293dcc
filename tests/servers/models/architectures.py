"""A tiny config of each architecture of the literature, and of each of its variants."""

from typing import Any, Final

MAMBA: Final = {
    "model_type": "mamba",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "state_size": 8,
    "time_step_rank": 4,
    "conv_kernel": 4,
}

LLAMBA: Final = {
    "model_type": "llamba",
    "d_model": 32,
    "n_layer": 2,
    "ssm_cfg": {"d_state": 8, "n_v_heads": 4, "n_qk_heads": 4},
    "mlp_cfg": {"intermediate_size": 48, "bias": False, "act_fn": "silu"},
    "tie_embeddings": True,
}

CAUSAL_RN: Final = {
    "model_type": "causal_rn",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "relation_size": 24,
    "intermediate_size": 48,
}

REMAMBA2: Final = {
    "model_type": "remamba2",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "expand": 2,
    "num_heads": 4,
    "head_dim": 16,
    "state_size": 8,
    "n_groups": 2,
    "conv_kernel": 4,
    "chunk_size": 8,
    "selection_rank": 6,
    "kept_share": 0.3,
    "stretch_start": 0.1,
    "stretch_share": 0.6,
}

CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "mamba": MAMBA,
    "causal_rn": CAUSAL_RN,
    "causal_rn, linear": {**CAUSAL_RN, "normed_relations": False},
    "llamba": LLAMBA,
    "llamba, grouped": {
        **LLAMBA,
        "ssm_cfg": {"d_state": 6, "n_v_heads": 4, "n_qk_heads": 2, "expand": 2, "bias": True},
        "tie_embeddings": False,
        "lm_head_bias": True,
    },
    "remamba2": REMAMBA2,
    "falcon_mamba": {**MAMBA, "model_type": "falcon_mamba"},
}
