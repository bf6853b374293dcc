"""The environment that vLLM is imported in: offline, quiet, with room for one long sequence."""

import math
import os
from typing import Final

from harness_servers.checkpoints.hugging_face import LlamaShape

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


def set_environment(shape: LlamaShape, *, threads: int, block_tokens: int) -> None:
    """To be called before vLLM is imported; `block_tokens`: the unit of its prefix cache.

    Room for keys and values: a gibibyte, or what one sequence at the context limit takes.
    """
    longest_gib = shape.state_bytes_per_token() * (shape.context_limit + block_tokens) / 2**30
    environment = {
        **_ENVIRONMENT,
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, math.ceil(longest_gib))),
        "OMP_NUM_THREADS": str(threads),
    }
    for variable, value in environment.items():
        os.environ.setdefault(variable, value)
