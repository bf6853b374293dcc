"""The shipped LSTM behind the face: its channel searches, and its scores are the wire's."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from harnessapi.rpc.targets import parse_target
from harnessapi.values import Mode

from harness.clients.completion import CompletionRequest
from harness.clients.grpc_client import Client
from harness.endpoints.config import PACKAGED_FILE, load_endpoints
from harness.fleet.fleet import open_fleet
from harness.fleet.plans import MODEL_SERVER
from harness.openai_server.app import Face
from harness.openai_server.listener import address, bound, listen
from harness.openai_server.upstream import upstream
from harness.sample import Prompt

ROOT = Path(__file__).parents[3]
PROMPT = "assoc_recall ; nab got ; meb nik ; pab rik ; <dense> pab"


@asynccontextmanager
async def shipped() -> AsyncIterator[tuple[httpx.AsyncClient, Client]]:
    """The face before `rnn-rag`, and the client of the harness for the same server."""
    endpoints = load_endpoints(PACKAGED_FILE, ROOT).select(["rnn-rag"])

    def say(_text: str, *, is_warning: bool = False) -> None:
        assert not is_warning

    fleet = open_fleet(endpoints, say, model_server=MODEL_SERVER, connect_timeout_s=600)
    async with fleet as opened:
        connection = opened.connections["rnn-rag"]
        face = Face({"rnn-rag": upstream(connection, None, deadline_s=600)})
        target, ready = parse_target("127.0.0.1:0"), asyncio.Event()
        with bound(target) as listening:
            serving = asyncio.create_task(listen(face.app(), listening, ready.set))
            await ready.wait()
            url = address(target, listening)
            async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False) as http:
                assert isinstance(connection.client, Client)
                yield http, connection.client
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def complete(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await http.post("completions", json={"model": "rnn-rag", **fields})
    assert answer.status_code == 200, answer.text
    [choice] = answer.json()["choices"]
    return choice


async def test_the_channel_searches_and_scores_are_those_of_the_wire() -> None:
    async with shipped() as (http, client):
        heard = await client.complete(
            CompletionRequest(prompt=Prompt(text=PROMPT), mode=Mode.DENSE, max_new_tokens=40)
        )
        written = await complete(http, prompt=PROMPT, max_tokens=40, logprobs=1)
        prompt_and_one = await complete(http, prompt=PROMPT, echo=True, logprobs=1, max_tokens=1)
        ids = list(heard.prompt_token_ids)
        by_ids = await complete(http, prompt=ids, echo=True, logprobs=1, max_tokens=0)
        scored = await client.score(None, PROMPT)

    assert written["text"] == "".join(piece.text for piece in heard.transcript)
    assert written["text"].endswith("pab rik <answer> rik")
    assert written["recall"]["num_searches"] == 1
    # The inserted words have no log-probability: the model wrote neither.
    words = [word for word in written["text"].split() if word not in {"pab", "rik"}]
    assert [token for token in written["logprobs"]["tokens"] if token in words] == words

    own = [token.log_prob for token in scored.tokens]
    for choice in (prompt_and_one, by_ids):
        told = choice["logprobs"]["token_logprobs"][: len(own)]
        assert told[0] is None
        assert own[0] is None
        assert all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(told[1:], own[1:], strict=True))
    assert prompt_and_one["text"].startswith(PROMPT)
    assert by_ids["text"] == PROMPT
    assert prompt_and_one["logprobs"]["tokens"] == [*PROMPT.split(), "<search>"]
