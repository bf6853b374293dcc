"""Servers of others, started for as long as a block runs: llama.cpp's and vLLM's own two.

llama.cpp and the gRPC server of vLLM come in environments of their own (environments.py).
"""

import contextlib
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from harnessapi.rpc.probe import why_not_healthy
from harnessapi.rpc.targets import parse_target

from benchmarks.processes import StartError, ended, free_port, running, wait_started

_LLAMA_CHILD: Final = Path(__file__).with_name("llama_child.py")
# On a machine that is busy with other things.
_MAX_START_S: Final = 1800
_VLLM_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


@contextlib.contextmanager
def llama_cpp(
    python: Path, gguf: Path, name: str, *, context: int, sequences: int, threads: int
) -> Iterator[str]:
    """Serves the file under `name`; the address for endpoints.toml. Raises StartError."""
    options = {"context": context, "sequences": sequences, "threads": threads}
    command = [str(python), str(_LLAMA_CHILD), str(gguf), "--name", name]
    command += [f"--{key}={value}" for key, value in options.items()]
    log = gguf.with_suffix(".log")
    with log.open("w") as errors:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    with ended(child):
        assert child.stdout is not None
        # What the library itself prints may stand before it.
        lines = (line.strip() for line in child.stdout)
        address = next((line for line in lines if line.startswith("http://")), None)
        if address is None:
            raise StartError(f"llama.cpp did not start: see {log}")
        yield f"{address}/v1"


@contextlib.contextmanager
def vllm_openai(
    checkpoint: Path, name: str, *, context: int, sequences: int, log: Path
) -> Iterator[str]:
    """vLLM's OpenAI server, of this environment; the address. Raises StartError."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    port = free_port()
    command += _vllm_options(checkpoint, name, port, context=context, sequences=sequences)
    address = f"http://127.0.0.1:{port}/v1"
    with running(command, log, _VLLM_ENVIRONMENT) as child:
        wait_started(lambda: _answers_http(address), child, log, within_s=_MAX_START_S)
        yield address


@contextlib.contextmanager
def vllm_grpc(
    python: Path, checkpoint: Path, name: str, *, context: int, sequences: int, log: Path
) -> Iterator[str]:
    """vLLM's own gRPC server; the address. `python` has it: see `borrowing_environment`.

    Raises StartError.
    """
    command = [str(python), "-m", "vllm.entrypoints.launchers.grpc_server"]
    port = free_port()
    command += _vllm_options(checkpoint, name, port, context=context, sequences=sequences)
    target = parse_target(f"127.0.0.1:{port}")
    with running(command, log, _VLLM_ENVIRONMENT) as child:
        # Its health service says when it is warm; the engine's own says so before.
        wait_started(
            lambda: why_not_healthy(target, timeout_s=5) is None, child, log, within_s=_MAX_START_S
        )
        yield f"grpc://{target}"


def _vllm_options(
    checkpoint: Path, name: str, port: int, *, context: int, sequences: int
) -> list[str]:
    options = {
        "--model": checkpoint,
        "--served-model-name": name,
        "--host": "127.0.0.1",
        "--port": port,
        "--dtype": "float32",
        "--max-model-len": context,
        "--max-num-seqs": sequences,
    }
    return ["--enforce-eager", *(str(word) for pair in options.items() for word in pair)]


def _answers_http(address: str) -> bool:
    # No proxy stands between two processes of one machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(urllib.error.URLError, OSError):
        opener.open(f"{address}/models", timeout=5).close()
        return True
    return False
