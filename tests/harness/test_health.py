import asyncio
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from harness.fakes.fake_model import FakeModel, Script
from harness.health import main


async def test_a_healthy_server_gives_0(serve: Any, tmp_path: Path) -> None:
    async with serve(FakeModel(Script())):
        assert await asyncio.to_thread(main, [f"unix:{tmp_path}/fake.sock"]) == 0


async def test_a_server_that_is_not_ready_gives_1_and_says_so(tmp_path: Path, capsys: Any) -> None:
    server = grpc.aio.server()
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    await status.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    address = f"unix:{tmp_path}/warming.sock"
    server.add_insecure_port(address)
    await server.start()
    assert await asyncio.to_thread(main, [address]) == 1
    assert "NOT_SERVING" in capsys.readouterr().err
    await server.stop(None)


def test_nobody_and_no_address_give_1_with_the_reason(tmp_path: Path, capsys: Any) -> None:
    assert main([f"unix:{tmp_path}/nobody.sock"]) == 1
    assert "UNAVAILABLE" in capsys.readouterr().err
    assert main(["nonsense"]) == 1
    assert "neither unix:/path nor host:port" in capsys.readouterr().err


def test_a_server_that_does_not_answer_gives_1_in_time(capsys: Any) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert main([f"127.0.0.1:{silent.getsockname()[1]}"]) == 1
    assert "DEADLINE_EXCEEDED" in capsys.readouterr().err


async def test_a_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server = grpc.aio.server()
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    await status.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    assert await asyncio.to_thread(main, [f"127.0.0.1:{port}"]) == 0
    await server.stop(None)
