"""A server on vLLM in a process of its own, for tests that ask it over gRPC."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc

from ..descendants import descendants


@dataclass(frozen=True, kw_only=True)
class Server:
    process: subprocess.Popen[str]
    address: str

    def descendants(self) -> list[int]:
        """Ids of the engine's processes."""
        return descendants(self.process.pid)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness_servers.command", str(folder), *arguments],
        env=_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )


def _environment() -> dict[str, str]:
    root = Path(__file__).parents[3]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "proto")])}


@contextmanager
def serving(folder: Path, sockets: Path, *arguments: str) -> Iterator[Server]:
    """Not yet up: see wait_up. Killed at the end."""
    address = f"unix:{sockets}/{folder.name}"
    process = start(folder, "--listen", address, *arguments)
    try:
        yield Server(process=process, address=address)
    finally:
        process.kill()
        process.communicate()


def wait_up(server: Server) -> None:
    lines = []
    while not lines or not lines[-1].startswith("listening"):
        lines.append(server.process.stderr.readline())
        assert lines[-1], "".join(lines)


async def collect(
    stub: inference_pb2_grpc.InferenceServiceStub, request: pb.GenerateRequest, **call: float
) -> list[pb.GenerateResponse]:
    return [response async for response in stub.Generate(request, **call)]


def text(responses: list[pb.GenerateResponse]) -> str:
    return "".join(response.delta.text for response in responses)


def tokens(responses: list[pb.GenerateResponse]) -> list[int]:
    return [token for response in responses for token in response.delta.token_ids]
