"""The face before a fake model server: real HTTP, real gRPC, one event loop."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.targets import parse_target

from harness.clients.connection import connect
from harness.clients.grpc_client import Client
from harness.clients.replica import Replica
from harness.clients.replicas import Replicas
from harness.endpoints.endpoint import Endpoint
from harness.endpoints.request_options import DEFAULT_REQUEST, RequestOptions
from harness.fakes.fake_model import FakeModel, Script, start_fake
from harness.openai_server.app import Face
from harness.openai_server.listener import address, bound, listen
from harness.openai_server.upstream import upstream

TEXT = "assoc_recall ; bab dok ; fem gik ; <dense> fem"
COMPLETION = "<search> fem </search> fem gik <answer> gik"


class Remembering(FakeModel):
    """Keeps what it is asked to generate and to score."""

    def __init__(self, script: Script, faults: Any = lambda _call: None) -> None:
        super().__init__(script, faults)
        self.generated: list[pb.GenerateRequest] = []
        self.scored: list[pb.ScoreRequest] = []

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: Any
    ) -> AsyncIterator[pb.GenerateResponse]:
        kept = pb.GenerateRequest()
        kept.CopyFrom(request)
        self.generated.append(kept)
        if not request.HasField("text"):
            request.text = TEXT
        async for event in super().Generate(request, context):
            yield event

    async def Score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse:  # noqa: N802
        self.scored.append(request)
        return await super().Score(request, context)


class OpenFace:
    """A face that listens, and the model behind it."""

    def __init__(self, model: Remembering, server: Any, http: httpx.AsyncClient) -> None:
        self.model = model
        # The model's, not the face.
        self.server = server
        self.http = http
        self.base_url = str(http.base_url).rstrip("/")

    async def complete(self, **fields: Any) -> httpx.Response:
        return await self.http.post("completions", json={"model": "m", "prompt": TEXT, **fields})

    async def chat(self, text: str = TEXT, **fields: Any) -> httpx.Response:
        messages = [{"role": "user", "content": text}]
        body = {"model": "m", "messages": messages, **fields}
        return await self.http.post("chat/completions", json=body)

    @property
    def asked(self) -> pb.GenerateRequest:
        [message] = self.model.generated
        return message


OpenTheFace = Callable[..., AbstractAsyncContextManager[OpenFace]]


@pytest.fixture
def open_face(tmp_path: Path) -> OpenTheFace:
    """Keywords: of the Script, `faults`, `retrieval`, `request` and `deadline_s`."""

    @asynccontextmanager
    async def opening(
        *,
        retrieval: bool = True,
        request: RequestOptions = DEFAULT_REQUEST,
        faults: Any = lambda _call: None,
        deadline_s: float = 600.0,
        **script: Any,
    ) -> AsyncIterator[OpenFace]:
        place = f"unix:{tmp_path}/model.sock"
        model = Remembering(Script(**script), faults)
        server = await start_fake(model, place)
        client = Client(parse_target(place))
        endpoint = Endpoint(name="m", address=place, retrieval=retrieval, request=request)
        connection = await connect(endpoint, Replicas([Replica(client)]), None, timeout_s=600)
        face = Face({"m": upstream(connection, None, deadline_s=deadline_s)})
        target = parse_target("127.0.0.1:0")
        ready = asyncio.Event()
        with bound(target) as listening:
            serving = asyncio.create_task(listen(face.app(), listening, ready.set))
            await ready.wait()
            base_url = address(target, listening)
            async with httpx.AsyncClient(base_url=base_url, timeout=600, trust_env=False) as http:
                yield OpenFace(model, server, http)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        await client.close()
        await server.stop(None)

    return opening


def _events(response: httpx.Response) -> list[Any]:
    """The events of a stream; its end is None."""
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    texts = [line.removeprefix("data: ") for line in lines]
    return [None if text == "[DONE]" else json.loads(text) for text in texts]


@pytest.fixture
def events() -> Callable[[httpx.Response], list[Any]]:
    return _events


def _error(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return {"status": response.status_code, **body["error"]}


@pytest.fixture
def error() -> Callable[[httpx.Response], dict[str, Any]]:
    return _error
