"""The environment that vLLM is imported in: offline, quiet, with room for what is read."""

import math
import os
from typing import Final

from harness_servers.models.outline import Outline

# Read by vLLM when it is imported; what is set in the environment goes before.
_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    # The engine's processes begin afresh: a fork would take gRPC's threads with it.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # Cores are the operating system's to give: other servers run beside this one.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def set_environment(
    shape: Outline, *, context_limit: int, num_slots: int, threads: int, block_tokens: int
) -> None:
    """To be called before vLLM is imported; `block_tokens`: the unit of its prefix cache."""
    num_bytes = _room(shape, context_limit + block_tokens, num_slots)
    environment = {
        **_ENVIRONMENT,
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, math.ceil(num_bytes / 2**30))),
        "OMP_NUM_THREADS": str(threads),
    }
    for variable, value in environment.items():
        os.environ.setdefault(variable, value)


def _room(shape: Outline, num_tokens: int, num_slots: int) -> int:
    """Bytes for one sequence of so many tokens, and for what all slots keep whatever they read."""
    # A window too is counted in full: what is read in one step stands beside it. States lie in
    # blocks that are as large as those of keys and values, the first of which holds none.
    states = 2 * (num_slots + 1) * shape.recurrent_bytes
    return shape.first_token_bytes * num_tokens + states
