"""GET /v1/models and /health, and the `openai` package as a client."""

import pytest

from harness.fakes.fake_model import Fault

from .conftest import COMPLETION, TEXT, OpenTheFace

MESSAGES = [{"role": "user", "content": TEXT}]


async def test_the_models_are_the_endpoints(open_face: OpenTheFace) -> None:
    async with open_face(max_top_log_probs=5) as face:
        listed = (await face.http.get("models")).json()
        shown = (await face.http.get("models/m")).json()
    assert listed == {"object": "list", "data": [shown]}
    assert (shown["id"], shown["object"], shown["retrieval"]) == ("m", "model", "dense")
    assert (shown["family"], shown["checkpoint"], shown["max_top_logprobs"]) == ("RNN", "fake", 5)


async def test_health_is_that_of_the_endpoints(open_face: OpenTheFace) -> None:
    async with open_face() as face:
        url = face.base_url.replace("/v1", "/health")
        answer = await face.http.get(url)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok", "causes": {}})
        await face.server.stop(None)
        answer = await face.http.get(url)
    assert answer.status_code == 503
    assert "nobody listens there" in answer.json()["causes"]["m"]


async def test_the_openai_package_reads_completions_whole_and_streamed(
    open_face: OpenTheFace,
) -> None:
    openai = pytest.importorskip("openai")
    async with (
        open_face(max_top_log_probs=5) as face,
        openai.AsyncOpenAI(base_url=face.base_url, api_key="none") as client,
    ):
        whole = await client.completions.create(model="m", prompt=TEXT, logprobs=1, max_tokens=40)
        stream = await client.completions.create(model="m", prompt=TEXT, stream=True)
        pieces = [chunk.choices[0].text async for chunk in stream]
    assert whole.choices[0].text == "".join(pieces) == COMPLETION
    assert whole.choices[0].logprobs.tokens[0] == "<search>"
    assert whole.usage.completion_tokens == 6


async def test_the_openai_package_reads_conversations_whole_and_streamed(
    open_face: OpenTheFace,
) -> None:
    openai = pytest.importorskip("openai")
    async with (
        open_face() as face,
        openai.AsyncOpenAI(base_url=face.base_url, api_key="none") as client,
    ):
        asked = {"model": "m", "messages": MESSAGES}
        whole = await client.chat.completions.create(**asked)
        options = {"include_usage": True}
        stream = await client.chat.completions.create(**asked, stream=True, stream_options=options)
        chunks = [chunk async for chunk in stream]
    message = whole.choices[0].message
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert message.content == "".join(pieces) == " <answer> gik"
    assert message.reasoning_content == "<search> fem </search> fem gik"
    assert chunks[-1].usage.total_tokens == 16


async def test_the_openai_package_raises_its_own_errors(open_face: OpenTheFace) -> None:
    openai = pytest.importorskip("openai")
    faults = {1: Fault.EXHAUSTED, 2: Fault.UNAVAILABLE}
    async with (
        open_face(faults=faults.get) as face,
        openai.AsyncOpenAI(base_url=face.base_url, api_key="none", max_retries=0) as client,
    ):
        for kind in (openai.RateLimitError, openai.InternalServerError):
            with pytest.raises(kind):
                await client.completions.create(model="m", prompt=TEXT)
        with pytest.raises(openai.BadRequestError) as found:
            await client.completions.create(model="m", prompt=TEXT, n=2)
    assert found.value.param == "n"
