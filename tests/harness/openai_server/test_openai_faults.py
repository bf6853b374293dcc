"""What the endpoint's faults become, and that a client that hangs up ends what it asked for."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from harness.clients.faults import AttemptError, DeadlineError, RefusedError, TransientError
from harness.fakes.fake_model import Fault
from harness.openai_server.errors import answer_for

from .conftest import OpenTheFace

Error = Callable[[httpx.Response], dict[str, Any]]
Events = Callable[[httpx.Response], list[Any]]


@pytest.mark.parametrize(
    ("fault", "status", "kind", "retry_after"),
    [
        (Fault.REFUSED, 400, "invalid_request_error", None),
        (Fault.EXHAUSTED, 429, "rate_limit_error", "1"),
        (Fault.UNAVAILABLE, 503, "server_error", "1"),
        (Fault.BROKEN, 503, "server_error", "1"),
        (Fault.INTERNAL, 500, "server_error", None),
    ],
)
@pytest.mark.parametrize("is_chat", [False, True])
async def test_a_fault_has_the_status_of_its_kind(
    open_face: OpenTheFace,
    error: Error,
    fault: Fault,
    status: int,
    kind: str,
    retry_after: str | None,
    is_chat: bool,
) -> None:
    async with open_face(faults=lambda _call: fault) as face:
        answer = await (face.chat() if is_chat else face.complete())
    told = error(answer)
    assert (told["status"], told["type"]) == (status, kind)
    assert answer.headers.get("retry-after") == retry_after
    if status == 400:
        assert told["param"] == ("messages" if is_chat else "prompt")


async def test_a_fault_before_the_first_piece_of_a_stream_is_a_status(
    open_face: OpenTheFace, error: Error
) -> None:
    async with open_face(faults=lambda _call: Fault.UNAVAILABLE) as face:
        assert error(await face.complete(stream=True))["status"] == 503


async def test_a_fault_midway_is_the_last_event_of_a_stream(
    open_face: OpenTheFace, events: Events
) -> None:
    async with open_face(faults=lambda _call: Fault.BROKEN) as face:
        *chunks, last = events(await face.complete(stream=True))
    assert chunks
    assert set(last) == {"error"}
    assert last["error"]["code"] == "unavailable"


async def test_one_fault_of_several_prompts_is_told_and_ends_the_others(
    open_face: OpenTheFace, error: Error
) -> None:
    faults = {1: Fault.HANG, 2: Fault.EXHAUSTED}
    async with open_face(faults=faults.get) as face:
        assert error(await face.complete(prompt=["a", "a"]))["status"] == 429
        while face.model.num_running:
            await asyncio.sleep(0)


async def test_a_deadline_is_a_gateway_timeout(open_face: OpenTheFace, error: Error) -> None:
    async with open_face(faults=lambda _call: Fault.HANG, deadline_s=0.01) as face:
        told = error(await face.complete())
    assert (told["status"], told["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_before_the_first_piece_ends_the_call(
    open_face: OpenTheFace, stream: bool
) -> None:
    async with open_face(faults=lambda _call: Fault.HANG) as face:
        asking = asyncio.create_task(face.complete(stream=stream))
        while not face.model.num_running:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        while face.model.num_running:
            await asyncio.sleep(0)


async def test_a_client_that_hangs_up_midway_ends_the_call(open_face: OpenTheFace) -> None:
    calls = {1: None, 2: Fault.HANG}
    async with open_face(faults=calls.get) as face:
        body = {"model": "m", "prompt": ["a", "a"], "stream": True}
        async with face.http.stream("POST", "completions", json=body) as answer:
            async for line in answer.aiter_lines():
                assert line.startswith("data: ")
                break
            assert face.model.num_running
        while face.model.num_running:
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("fault", "status", "param"),
    [
        (
            RefusedError("INVALID_ARGUMENT", "max_new_tokens is 0; it has to be 1"),
            400,
            "max_tokens",
        ),
        (RefusedError("INVALID_ARGUMENT", "temperature is nan"), 400, "temperature"),
        (RefusedError("INVALID_ARGUMENT", "17 stop strings; at most 16"), 400, "stop"),
        (RefusedError("INVALID_ARGUMENT", "no retrieval mode 'regex'"), 400, "recall"),
        (RefusedError("INVALID_ARGUMENT", "retrieval top_k is 0"), 400, "recall"),
        (RefusedError("INVALID_ARGUMENT", "top_k is -1"), 400, "top_k"),
        (RefusedError("INVALID_ARGUMENT", "word 3, 'stop', is not there"), 400, "prompt"),
        (RefusedError("RESOURCE_EXHAUSTED", "message larger than max"), 400, "prompt"),
        (TransientError("RESOURCE_EXHAUSTED", "the queue is full"), 429, None),
        (DeadlineError("DEADLINE_EXCEEDED", ""), 504, None),
        (AttemptError("UNIMPLEMENTED", ""), 500, None),
    ],
)
def test_the_parameter_is_the_one_that_the_endpoint_names(
    fault: AttemptError, status: int, param: str | None
) -> None:
    told = answer_for(fault, prompt="prompt")
    assert (told.status, told.param) == (status, param)
