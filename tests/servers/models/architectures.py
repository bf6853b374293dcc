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

CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "mamba": MAMBA,
    "llama": LLAMA,
    "llama, tova": {**LLAMA, "cache_policy": "tova=6"},
    "llama, windows and all": {**LLAMA, "cache_policy": "window=5,full=1"},
    "samba": SAMBA,
    "samba, biases, a window of two": {
        **SAMBA,
        "use_bias": True,
        "attn": {"layers": [0], "num_heads": 2, "qkv_bias": True, "window_size": 2},
    },
    "taipan": TAIPAN,
    "taipan, biases, attention on top": {
        **TAIPAN,
        "attn_layer_indices": [0, 2],
        "num_key_value_heads": None,
        "attention_bias": True,
        "mamba_n_groups": 2,
    },
    "falcon_mamba": {**MAMBA, "model_type": "falcon_mamba"},
}
