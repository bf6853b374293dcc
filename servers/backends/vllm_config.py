"""What vLLM is told of a checkpoint; and what it cannot run, said before a port opens."""

from typing import Any, Final

from harness_servers.checkpoints.checkpoint import Checkpoint
from harness_servers.checkpoints.hugging_face import architecture, in_a_line
from harness_servers.errors import CheckpointError
from harness_servers.generation import MAX_TOP_LOG_PROBS
from harness_servers.models.outline import Outline

# The unit of the prefix cache: the smallest that vLLM's CPU kernels take. What a search inserts
# costs reading at most this many tokens again.
BLOCK_TOKENS: Final = 32
# The first generation of Mamba: of its scan vLLM has no CPU kernel, and would say so at a request.
_NOT_ON_CPU: Final = ("falcon_mamba", "jamba", "mamba")


def engine_config(checkpoint: Checkpoint[Outline], *, context_limit: int, num_slots: int) -> Any:
    """A VllmConfig. The environment has to be set before. Raises CheckpointError."""
    from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415

    _require_known(checkpoint)
    name = architecture(checkpoint.config.model_type)
    arguments = AsyncEngineArgs(
        model=str(checkpoint.folder),
        # A config may name none, or one that does something else than writing on.
        hf_overrides={"architectures": [name]},
        runner="generate",
        skip_tokenizer_init=True,
        load_format="safetensors",
        dtype="float32",
        mamba_cache_dtype="float32",
        mamba_ssm_cache_dtype="float32",
        max_model_len=context_limit,
        max_num_seqs=num_slots,
        block_size=BLOCK_TOKENS,
        # States that it kept of a prefix, its CPU kernels cannot go on from.
        enable_prefix_caching=not checkpoint.model.recurrent_bytes,
        enforce_eager=True,
        # What is drawn from is the request's business, not generation_config.json's.
        generation_config="vllm",
        # Of the model's own distribution, before what a request does to it.
        logprobs_mode="raw_logprobs",
        max_logprobs=MAX_TOP_LOG_PROBS,
    )
    try:
        config = arguments.create_engine_config()
    except Exception as error:  # vLLM raises nothing more precise
        raise _refusal(checkpoint, in_a_line(error)) from error
    _require_attention(checkpoint, config)
    return config


def _require_known(checkpoint: Checkpoint[Outline]) -> None:
    from vllm import ModelRegistry  # noqa: PLC0415
    from vllm.platforms import current_platform  # noqa: PLC0415

    model_type = checkpoint.config.model_type
    name = architecture(model_type)
    if name not in ModelRegistry.get_supported_archs():
        raise _refusal(checkpoint, f"vLLM has no {name}")
    if current_platform.is_cpu() and model_type in _NOT_ON_CPU:
        raise _refusal(checkpoint, f"vLLM has no kernel for {model_type} on a CPU")
    raw = checkpoint.config.raw
    if model_type == "mamba2" and raw.get("n_groups", 8) > 1 and not raw.get("norm_by_group"):
        raise _refusal(checkpoint, "n_groups is over 1, and vLLM normalizes each group by itself")


def _require_attention(checkpoint: Checkpoint[Outline], config: Any) -> None:
    """vLLM itself would say it half a minute later."""
    if not checkpoint.model.first_token_bytes:
        return
    if config.model_config.use_mla:
        raise _refusal(checkpoint, "vLLM keeps less of a token than its keys and values (MLA)")
    if config.device_config.device_type != "cpu":
        return
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend  # noqa: PLC0415

    sizes = CPUAttentionBackend.get_supported_head_sizes()
    size = config.model_config.get_head_size()
    if size not in sizes:
        raise _refusal(
            checkpoint,
            f"attention heads have {size} dimensions; vLLM on a CPU takes "
            + ", ".join(map(str, sizes)),
        )


def _refusal(checkpoint: Checkpoint[Outline], why: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {checkpoint.folder}: {why} (the backend transformers takes it)"
    )
