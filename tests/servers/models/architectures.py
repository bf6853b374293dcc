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

GRIFFIN: Final = {
    "model_type": "recurrent_gemma",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    # Shorter than what is read.
    "attention_window_size": 7,
}

XLSTM: Final = {
    "model_type": "xlstm",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_heads": 2,
    "ffn_round_up_to_multiple_of": 8,
}

CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "gru": {"model_type": "gru", "hidden_size": 32, "num_hidden_layers": 2},
    "griffin": GRIFFIN,
    "hawk": {**GRIFFIN, "block_types": ["recurrent"], "num_hidden_layers": 2, "lru_width": 40},
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
    "falcon_mamba": {**MAMBA, "model_type": "falcon_mamba"},
    "xlstm": XLSTM,
    "xlstm with sLSTM": {
        **XLSTM,
        "slstm_at": [0],
        "slstm_num_heads": 4,
        "use_bias": True,
        "gate_soft_cap": 3.0,
    },
    **FLA_CONFIGS,
}
