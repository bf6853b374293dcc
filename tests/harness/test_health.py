import asyncio
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from harnessapi.rpc.targets import parse_target

from harness.clients.grpc_client import Client
from harness.fakes.fake_model import FakeModel, Script, start_fake
from harness.health import health_command


def check(address: str, timeout: str = "600") -> Result:
    return CliRunner().invoke(health_command, [address, "--timeout", timeout])


async def test_a_healthy_server_gives_0(serve: Any, tmp_path: Path) -> None:
    async with serve(FakeModel(Script())):
        assert (await asyncio.to_thread(check, f"unix:{tmp_path}/fake.sock")).exit_code == 0


async def test_a_server_that_is_not_ready_gives_1_and_says_so(tmp_path: Path) -> None:
    server = grpc.aio.server()
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    await status.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    address = f"unix:{tmp_path}/warming.sock"
    server.add_insecure_port(address)
    await server.start()
    result = await asyncio.to_thread(check, address)
    assert result.exit_code == 1
    assert "NOT_SERVING" in result.stderr
    await server.stop(None)


def test_nobody_and_no_address_give_1_with_the_reason(tmp_path: Path) -> None:
    for address, reason in (
        (f"unix:{tmp_path}/nobody.sock", "UNAVAILABLE"),
        ("nonsense", "neither unix:/path nor host:port"),
    ):
        result = check(address)
        assert result.exit_code == 1
        assert reason in result.stderr


def test_a_server_that_does_not_answer_gives_1_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        result = check(f"127.0.0.1:{silent.getsockname()[1]}", timeout="0.2")
    assert result.exit_code == 1
    assert "DEADLINE_EXCEEDED" in result.stderr


@pytest.fixture
def unreachable_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")


@pytest.mark.usefixtures("unreachable_proxy")
async def test_a_proxy_is_not_asked_for_this_machine() -> None:
    model = FakeModel(Script())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    server = await start_fake(model, address)
    result = await asyncio.to_thread(check, address)
    client = Client(parse_target(address))
    assert result.exit_code == 0
    assert await client.is_serving()
    assert (await client.get_model()).name == "fake"
    await client.close()
    await server.stop(None)
