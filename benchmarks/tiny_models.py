"""Tiny checkpoints of other people's model types, with random weights; tests have them too."""

from pathlib import Path
from typing import Any, Final

import torch
import transformers
from torch import nn

from benchmarks import tiny_tokenizers
from harness_servers.checkpoints.checkpoint_files import TOKENIZER

_ROPE: Final = {"rope_type": "default", "rope_theta": 10_000.0}
_WIDE: Final = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "head_dim": 32,
}
_NARROW: Final = {**_WIDE, "num_key_value_heads": 2}
_MAMBA_IN_HYBRID: Final = {
    "mamba_n_heads": 4,
    "mamba_d_head": 32,
    "mamba_d_state": 8,
    "mamba_chunk_size": 16,
    "mamba_expand": 2,
}
_EXPERTS: Final = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
_LATENT: Final = {
    **_NARROW,
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 16,
    "v_head_dim": 32,
    "head_dim": 16,
    "first_k_dense_replace": 1,
}
_GPT2: Final = {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 512}

# What is told to transformers' config of each type; every sixth or so is a recurrence or a hybrid.
TYPES: Final[dict[str, dict[str, Any]]] = {
    "mamba2": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "state_size": 8,
        "num_heads": 4,
        "head_dim": 32,
        "n_groups": 1,
        "chunk_size": 16,
    },
    "bamba": {**_WIDE, **_MAMBA_IN_HYBRID, "attn_layer_indices": [1], "mamba_n_groups": 1},
    "llama": _WIDE,
    "apertus": _WIDE,
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 2},
    "codegen": {**_GPT2, "n_head": 4, "rotary_dim": 8},
    "cohere": _WIDE,
    "cohere2": {**_WIDE, "sliding_window": 32},
    "deepseek_v3": _LATENT,
    "diffllama": {**_NARROW, "head_dim": 32},
    "ernie4_5": _WIDE,
    "exaone4": {**_WIDE, "sliding_window": 32},
    "falcon": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    "falcon_h1": {
        **_WIDE,
        **_MAMBA_IN_HYBRID,
        "mamba_d_ssm": 128,
        "mamba_n_groups": 1,
    },
    "falcon_mamba": {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
    "gemma": _WIDE,
    "gemma2": {**_WIDE, "sliding_window": 32, "query_pre_attn_scalar": 32},
    "gemma3_text": {**_WIDE, "sliding_window": 32, "query_pre_attn_scalar": 32},
    "glm4": _WIDE,
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2,
    "gpt_neo": {
        "hidden_size": 64,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 32,
        "max_position_embeddings": 512,
    },
    "gpt_neox": _NARROW,
    "gpt_oss": {**_WIDE, **_EXPERTS, "sliding_window": 32, "rope_parameters": _ROPE},
    "gptj": {**_GPT2, "rotary_dim": 16},
    "granite": _WIDE,
    "granitemoehybrid": {
        **_WIDE,
        **_EXPERTS,
        **_MAMBA_IN_HYBRID,
        "mamba_n_groups": 1,
        "shared_intermediate_size": 64,
        "layer_types": ["mamba", "attention"],
    },
    "jamba": {
        **_WIDE,
        **_EXPERTS,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "mamba_d_state": 8,
        "use_mamba_kernels": False,
    },
    "lfm2": {**_WIDE, "layer_types": ["conv", "full_attention"]},
    "mamba": {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
    "minimax": {
        **_WIDE,
        **_EXPERTS,
        "layer_types": ["linear_attention", "full_attention"],
        "block_size": 16,
    },
    "mistral": {**_WIDE, "sliding_window": 32},
    "mixtral": {**_WIDE, **_EXPERTS},
    "mpt": {"d_model": 64, "n_layers": 2, "n_heads": 2, "max_seq_len": 512},
    "nemotron": _WIDE,
    "olmo": _WIDE,
    "olmo2": _WIDE,
    "opt": {
        "hidden_size": 64,
        "ffn_dim": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 512,
        "word_embed_proj_dim": 64,
    },
    "phi": _NARROW,
    "phi3": _NARROW,
    "qwen2": _WIDE,
    "qwen3": _WIDE,
    "qwen3_moe": {**_WIDE, **_EXPERTS, "moe_intermediate_size": 32},
    "qwen3_next": {
        **_WIDE,
        **_EXPERTS,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "recurrent_gemma": {
        **_WIDE,
        "lru_width": 64,
        "attention_window_size": 32,
        "block_types": ["recurrent", "attention"],
    },
    "rwkv": {"hidden_size": 64, "attention_hidden_size": 64, "num_hidden_layers": 2},
    "smollm3": {**_WIDE, "no_rope_layers": [1, 0]},
    "stablelm": _NARROW,
    "starcoder2": _WIDE,
    "zamba2": {
        **_NARROW,
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "hybrid", "mamba"],
        "mamba_d_state": 8,
        "n_mamba_heads": 4,
        "mamba_ngroups": 1,
        "chunk_size": 16,
        "num_mem_blocks": 1,
        "attention_head_dim": 64,
    },
}


def write_checkpoint(
    model_type: str, folder: Path, *, byte_fallback: bool, seed: int = 0, **shape: Any
) -> None:
    """A model of this type as transformers itself saves it, with a tokenizer beside it.

    `shape`: where it is another than in TYPES.
    """
    tokenizer = tiny_tokenizers.byte_fallback() if byte_fallback else tiny_tokenizers.byte_level()
    told = {
        "vocab_size": tokenizer.get_vocab_size(),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    random_model(model_type, seed=seed, **told, **shape).save_pretrained(folder)
    tokenizer.save(str(folder / TOKENIZER))


def random_model(model_type: str, *, seed: int = 0, **told: Any) -> transformers.PreTrainedModel:
    """A model of this type; `told`: to its config, beside its shape."""
    config = transformers.AutoConfig.for_model(
        model_type, **{**TYPES[model_type], "tie_word_embeddings": False, **told}
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
        _spread(model)
    return model


def greedy_tokens(
    model: transformers.PreTrainedModel, ids: list[int], number: int, *, use_cache: bool = True
) -> list[int]:
    """So many tokens behind these, as transformers' own `generate` writes them, ends and all."""
    prompt = torch.tensor([ids])
    whole = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=number,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        use_cache=use_cache,
    )
    written: list[int] = whole[0, len(ids) :].tolist()
    return written


def _spread(model: nn.Module) -> None:
    """Weights wide enough for the next token to depend on much of what was read."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1.5 / module.in_features**0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.2)
