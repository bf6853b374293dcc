"""Real connections: who gets an answer, and that all the others learn nothing."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.observing.observed import Observing
from harnessapi.rpc.dialing import Dialing
from harnessapi.rpc.probe import why_not_healthy
from harnessapi.rpc.secret_files import SecurityError
from harnessapi.rpc.targets import Target, parse_target

from harness.clients.completion import CompletionRequest
from harness.clients.connection import connect
from harness.clients.grpc_client import Client
from harness.clients.replica import Replica
from harness.clients.replicas import Replicas
from harness.endpoints.endpoint import Endpoint
from harness.sample import Prompt

from .conftest import source

TOKEN = "kept-from-all-0123456789"
Start = Callable[..., Any]


def at(server: Any) -> Target:
    return parse_target(f"localhost:{server.port}")


def answer(target: Target, dialing: Dialing) -> tuple[str, str]:
    """The status of GetModel, and the model's name or the details."""
    channel = dialing.channel(target)
    try:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        return "OK", stub.GetModel(pb.GetModelRequest(), timeout=600).name
    except grpc.RpcError as error:
        return error.code().name, error.details()
    finally:
        channel.close()


def tls(papers: Any, shown: Any = None, **options: Any) -> Dialing:
    certificate, key = (None, None) if shown is None else shown.sources
    ca = source(papers.authority.certificate, "ca")
    return Dialing(tls=True, ca=ca, certificate=certificate, key=key, **options)


def served(papers: Any, **options: Any) -> dict[str, Any]:
    certificate, key = papers.server.sources
    return {"certificate": certificate, "key": key, **options}


def test_over_tls_its_own_ca_is_trusted_and_no_other(guarded: Start, papers: Any) -> None:
    target = at(guarded(**served(papers)))
    assert answer(target, tls(papers)) == ("OK", "fake")
    other = Dialing(tls=True, ca=source(papers.other_authority.certificate))
    code, details = answer(target, other)
    assert code == "UNAVAILABLE"
    assert "CERTIFICATE_VERIFY_FAILED" in details
    assert answer(target, Dialing())[0] == "UNAVAILABLE"


def test_a_name_that_is_not_the_certificates_is_refused_unless_it_is_said(
    guarded: Start, papers: Any
) -> None:
    server = guarded(**served(papers))
    target = parse_target(f"127.0.0.1:{server.port}")
    assert answer(target, tls(papers))[0] == "UNAVAILABLE"
    assert answer(target, tls(papers, server_name="localhost")) == ("OK", "fake")


def test_where_clients_show_a_certificate_none_and_a_strangers_are_refused_handshakes(
    guarded: Start, papers: Any
) -> None:
    ca = source(papers.authority.certificate)
    target = at(guarded(**served(papers, client_ca=ca)))
    assert answer(target, tls(papers, papers.client)) == ("OK", "fake")
    for shown in (None, papers.stranger):
        assert answer(target, tls(papers, shown))[0] == "UNAVAILABLE"


@pytest.mark.parametrize("is_tls", [True, False])
def test_without_the_token_every_call_gets_the_same_answer_and_nothing_is_learnt(
    guarded: Start, papers: Any, token_file: Start, is_tls: bool
) -> None:
    tokens = token_file(TOKEN)
    server = guarded(tokens=tokens, **(served(papers) if is_tls else {}))
    dialing = tls(papers) if is_tls else Dialing()
    answers = set()
    for shown in (None, f"Bearer {TOKEN}x", TOKEN, "Basic abc"):
        metadata = () if shown is None else (("authorization", shown),)
        channel = dialing.channel(at(server))
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        reflected = reflection_pb2_grpc.ServerReflectionStub(channel)
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        calls: list[Callable[[], Any]] = [
            lambda s=stub, m=metadata: s.GetModel(pb.GetModelRequest(), metadata=m),
            lambda s=stub, m=metadata: list(s.Generate(pb.GenerateRequest(text="a"), metadata=m)),
            lambda h=health, m=metadata: h.Check(health_pb2.HealthCheckRequest(), metadata=m),
            lambda h=health, m=metadata: list(
                h.Watch(health_pb2.HealthCheckRequest(service="no such"), metadata=m)
            ),
            lambda r=reflected, m=metadata, asked=listing: list(
                r.ServerReflectionInfo(iter([asked]), metadata=m)
            ),
            lambda c=channel, m=metadata: c.unary_unary("/no.such/Method")(b"junk", metadata=m),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError) as raised:
                call()
            answers.add((raised.value.code(), raised.value.details()))
        channel.close()
    assert answers == {
        (grpc.StatusCode.UNAUTHENTICATED, "a bearer token that this server knows is needed")
    }
    assert server.model.num_calls == 0


def test_with_the_token_calls_health_and_reflection_are_answered(
    guarded: Start, papers: Any, token_file: Start
) -> None:
    tokens = token_file("another-0123456789ab", TOKEN)
    server = guarded(**served(papers, tokens=tokens))
    dialing = tls(papers, token=token_file(TOKEN))
    assert answer(at(server), dialing) == ("OK", "fake")
    assert why_not_healthy(at(server), timeout_s=600, dialing=dialing) is None
    assert "UNAUTHENTICATED" in (
        why_not_healthy(at(server), timeout_s=600, dialing=tls(papers)) or ""
    )


def test_health_alone_may_have_a_port_of_its_own_without_a_token(
    guarded: Start, papers: Any, token_file: Start, free_port: Callable[..., int]
) -> None:
    health = parse_target(f"127.0.0.1:{free_port()}")
    guarded(observing=Observing(health=health), **served(papers, tokens=token_file(TOKEN)))
    assert why_not_healthy(health, timeout_s=600) is None
    assert answer(health, Dialing())[0] == "UNIMPLEMENTED"


def test_a_new_certificate_is_shown_without_a_restart_and_a_bad_one_is_not(
    guarded: Start, papers: Any, tmp_path: Any, wait_until: Any
) -> None:
    files = {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}

    def put(issued: Any) -> None:
        files["key"].touch(mode=0o600)
        for name, path in files.items():
            path.write_bytes(getattr(issued, name).read_bytes())

    put(papers.server)
    target = at(guarded(**{name: source(path) for name, path in files.items()}))
    assert answer(target, tls(papers))[0] == "OK"
    files["certificate"].write_text("nothing that is one")
    assert answer(target, tls(papers))[0] == "OK"
    put(papers.other_authority.issue("renewed"))
    other = Dialing(tls=True, ca=source(papers.other_authority.certificate))
    assert answer(target, other) == ("OK", "fake")
    assert answer(target, tls(papers))[0] == "UNAVAILABLE"


def test_a_token_is_not_sent_in_the_clear_over_a_network(token_file: Start) -> None:
    dialing = Dialing(token=token_file(TOKEN))
    dialing.check(parse_target("127.0.0.1:1"))
    dialing.check(parse_target("unix:/s"))
    for address in ("192.0.2.1:1", "model.example:1", "0.0.0.0:1"):
        with pytest.raises(SecurityError, match="in the clear"):
            dialing.check(parse_target(address))
    Dialing(token=token_file(TOKEN), insecure=True).check(parse_target("192.0.2.1:1"))


def test_a_connection_is_renewed_at_its_age_and_its_calls_go_on(guarded: Start) -> None:
    server = guarded(max_connection_age_s=0.2)
    channel = Dialing().channel(at(server))
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    peers = set()
    end = time.monotonic() + 600
    while len(peers) < 3 and time.monotonic() < end:
        call = stub.GetModel.future(pb.GetModelRequest(), timeout=600, wait_for_ready=True)
        assert call.result().name == "fake"
        peers.add(server.model.peer)
    channel.close()
    assert len(peers) == 3


async def test_a_stream_that_is_cut_at_the_end_of_its_connections_grace_is_asked_again(
    guarded: Start,
) -> None:
    server = guarded(max_connection_age_s=0.2, max_connection_age_grace_s=0.1)
    server.model.may_answer.clear()
    endpoint = Endpoint(name="mine", address=f"localhost:{server.port}")
    client = Client(at(server))
    connection = await connect(endpoint, Replicas([Replica(client)]), None, timeout_s=600)
    prompt = Prompt(text="assoc_recall bab dok ; bab <direct>")
    request = CompletionRequest(prompt=prompt, mode=None, max_new_tokens=4)
    asked = asyncio.create_task(
        connection.complete(request, deadline_s=600, generator=random.Random(0))
    )
    while server.model.num_calls < 2:
        await asyncio.sleep(0.01)
    server.release()
    completion = await asked
    await client.close()
    assert completion.num_attempts > 1
    assert {fault.partition(":")[0] for fault in completion.faults} <= {
        "UNAVAILABLE",
        "BROKEN_STREAM",
    }
