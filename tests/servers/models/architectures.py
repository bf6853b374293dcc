"""Tiny configs of the architectures of the literature: each with all its options, and variants."""

from typing import Any, Final

from .fla_architectures import FLA_ARCHITECTURES, FLA_VARIANTS

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

LLAMA: Final = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}

SAMBA: Final[dict[str, Any]] = {
    "model_type": "samba",
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "state_size": 8,
    "time_step_rank": 4,
    "hidden_ratio": 2,
    "attn": {"layers": [1, 3], "num_heads": 4, "num_kv_heads": 2, "window_size": 5},
}

TAIPAN: Final = {
    "model_type": "taipan",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "attn_layer_indices": [1],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "attention_window": 5,
    "mamba_n_heads": 4,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_d_conv": 4,
    "mamba_chunk_size": 8,
}

# By model_type, read in every way that there is.
ARCHITECTURES: Final[dict[str, dict[str, Any]]] = {
    "causal_rn": CAUSAL_RN,
    "falcon_mamba": {**MAMBA, "model_type": "falcon_mamba"},
    "gru": {"model_type": "gru", "hidden_size": 32, "num_hidden_layers": 2},
    "llama": {**LLAMA, "cache_policy": "tova=6,full=1"},
    "llamba": {
        **LLAMBA,
        "ssm_cfg": {"d_state": 6, "n_v_heads": 4, "n_qk_heads": 2, "expand": 2, "bias": True},
        "tie_embeddings": False,
        "lm_head_bias": True,
    },
    "mamba": {**MAMBA, "use_bias": True, "conv_kernel": 3},
    "recurrent_gemma": GRIFFIN,
    "remamba2": REMAMBA2,
    "samba": {
        **SAMBA,
        "num_hidden_layers": 2,
        "use_bias": True,
        "attn": {**SAMBA["attn"], "layers": [0], "qkv_bias": True},
    },
    "taipan": {
        **TAIPAN,
        "num_hidden_layers": 2,
        "attention_bias": True,
        "mamba_n_groups": 2,
    },
    "xlstm": {
        **XLSTM,
        "slstm_at": [0],
        "slstm_num_heads": 4,
        "use_bias": True,
        "gate_soft_cap": 3.0,
    },
    **FLA_ARCHITECTURES,
}
# Held to their equations alone.
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "causal_rn, linear": {**CAUSAL_RN, "normed_relations": False},
    "hawk": {**GRIFFIN, "block_types": ["recurrent"], "num_hidden_layers": 2, "lru_width": 40},
    "llama": LLAMA,
    "llama, windows and all": {**LLAMA, "cache_policy": "window=5,full=1"},
    "llamba": LLAMBA,
    "mamba": MAMBA,
    "samba, a window of two": {
        **SAMBA,
        "attn": {"layers": [1, 3], "num_heads": 2, "window_size": 2},
    },
    "taipan, attention first": {
        **TAIPAN,
        "num_hidden_layers": 2,
        "attn_layer_indices": [0],
        "num_key_value_heads": None,
    },
    "xlstm, mLSTM alone": XLSTM,
    **FLA_VARIANTS,
}
