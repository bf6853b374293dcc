import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as pb_grpc
from harnessapi.rpc.targets import Target, TargetError, bind, parse_target

SERVICE = "harnessapi.retrieval.v1.RetrievalService"


def start_process(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-m", "harness_retrieval.command", *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with start_process("--listen", f"unix:{tmp_path}/p.sock") as started:
        yield started
        started.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_when_it_is_healthy_and_stops_cleanly_at_a_signal(
    process: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    assert process.stderr is not None
    assert process.stderr.readline() == f"listening on unix:{tmp_path}/p.sock\n"
    with grpc.insecure_channel(f"unix:{tmp_path}/p.sock") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            status = health.Check(health_pb2.HealthCheckRequest(service=name)).status
            assert status == health_pb2.HealthCheckResponse.SERVING
    process.send_signal(number)
    assert process.wait(600) == 0
    assert process.stderr.read() == ""


def test_a_folder_of_standing_corpora_is_accepted_and_said_to_be_ignored(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/p.sock"
    with start_process("--listen", address, "--corpora", "/corpora") as process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(2)]
        process.kill()
    assert said == [
        "--corpora /corpora is ignored: standing corpora are gone\n",
        f"listening on {address}\n",
    ]


@pytest.mark.parametrize(
    "address", ["nonsense", "unix:", "host:70000", "unix:/no/folder/s.sock", "192.0.2.1:4000"]
)
def test_an_address_that_cannot_be_used_is_one_clear_line_and_exit_status_2(address: str) -> None:
    with start_process("--listen", address) as process:
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 2
    assert errors.startswith("Error: ")
    assert address in errors
    assert errors.count("\n") == 1


def test_an_address_in_use_is_refused_and_the_first_server_keeps_it(
    start_service: Callable[..., Any],
) -> None:
    service = start_service()
    with start_process("--listen", service.address) as process:
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 2
    assert errors == f"Error: cannot listen on {service.address}: a server is listening there\n"
    with grpc.insecure_channel(service.address) as channel:
        stub = pb_grpc.RetrievalServiceStub(channel)
        assert stub.OpenContext(pb.OpenContextRequest(context_id="c")).expires_after_s == 600


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with start_process("--listen", address) as process:
            _, errors = process.communicate(timeout=600)
    assert process.returncode == 2
    assert errors == f"Error: cannot listen on {address}: Address already in use\n"


def test_a_socket_file_left_by_a_killed_server_is_replaced_but_no_other_file(
    start_service: Callable[..., Any], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{tmp_path}/s.sock")
    start_service()

    class NoServer:
        def add_insecure_port(self, address: str) -> int:
            raise AssertionError(address)

    (tmp_path / "text").write_text("precious")
    with pytest.raises(TargetError, match="is no socket"):
        bind(NoServer(), parse_target(f"unix:{tmp_path}/text"))
    assert (tmp_path / "text").read_text() == "precious"


def test_the_service_can_be_discovered_by_reflection(start_service: Callable[..., Any]) -> None:
    with grpc.insecure_channel(start_service().address) as channel:
        assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_a_lost_context_is_an_outcome_and_a_missing_mode_an_error(
    start_service: Callable[..., Any],
) -> None:
    with grpc.insecure_channel(start_service().address) as channel:
        stub = pb_grpc.RetrievalServiceStub(channel)
        stub.OpenContext(pb.OpenContextRequest(context_id="c", text="a b"))
        lost = pb.ContextQuery(context_id="x", mode=pb.RETRIEVAL_MODE_REGEX, query="b")
        held = pb.ContextQuery(context_id="c", offset=3, mode=pb.RETRIEVAL_MODE_REGEX, query="b")
        response = stub.SearchContexts(pb.SearchContextsRequest(queries=[lost, held, lost]))
        assert [result.outcome for result in response.results] == [
            pb.SEARCH_OUTCOME_CONTEXT_NOT_FOUND,
            pb.SEARCH_OUTCOME_FOUND,
            pb.SEARCH_OUTCOME_CONTEXT_NOT_FOUND,
        ]
        without = pb.ContextQuery(context_id="c", query="b")
        with pytest.raises(grpc.RpcError) as raised:
            stub.SearchContexts(pb.SearchContextsRequest(queries=[held, without]))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert raised.value.details() == "query 1 names no known mode"
        with pytest.raises(grpc.RpcError) as raised:
            stub.OpenContext(pb.OpenContextRequest(text="a"))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        stub.CloseContexts(pb.CloseContextsRequest(context_ids=["c", "c", "x"]))


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("unix:/a/b.sock", "unix:/a/b.sock"),
        ("unix:///a/b.sock", "unix:/a/b.sock"),
        ("unix:b.sock", "unix:b.sock"),
        ("localhost:0", "localhost:0"),
        ("grpc://10.0.0.1:4000", "10.0.0.1:4000"),
        ("[::1]:4000", "[::1]:4000"),
    ],
)
def test_addresses_are_read(given: str, target: str) -> None:
    assert parse_target(given).name == target


@pytest.mark.parametrize(
    "given",
    [
        *("", "host", ":1", "host:", "host:x", "http://h:1", "host:65536", "a b:1"),
        *("unix:", "unix://h/x", "unix:/" + "x" * 107),
    ],
)
def test_an_address_that_cannot_be_read_is_named(given: str) -> None:
    with pytest.raises(TargetError, match="address"):
        parse_target(given)


def test_a_server_tells_which_free_port_it_got() -> None:
    class Server:
        def add_insecure_port(self, address: str) -> int:
            assert address == "127.0.0.1:0"
            return 4321

    assert bind(Server(), parse_target("127.0.0.1:0")) == Target(name="127.0.0.1:4321")


def test_the_client_and_the_channel_import_nothing_heavy() -> None:
    program = (
        "import sys; from harness_retrieval import remote, channel, command;"
        "print({'faiss', 're2', 'numpy', 'torch'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
