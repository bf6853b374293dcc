"""Talks to one OpenAI-compatible server; a request is one attempt. HTTP ends here."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx
from harnessapi.values import Mode, ModelDescription

from harness.clients.completion import Completion, CompletionRequest
from harness.clients.faults import AttemptError, DeadlineError, RefusedError, TransientError
from harness.clients.model_client import UNWATCHED, Watch
from harness.clients.openai.chunk import read_chunk
from harness.clients.openai.dialogue import Dialogue
from harness.clients.openai.http_errors import TRANSIENT_STATUSES, error_from_response
from harness.clients.openai.sse import read_events
from harness.clients.openai.turn import BROKEN_STREAM
from harness.endpoints.external import Api, External
from harness.sample import Prompt
from harness.version import harness_version
from harness.way import Style
from harness_retrieval.types import (
    Retriever,
    RetrieverUnavailableError,
    SearchRequest,
    SearchResult,
)

_PROBE_TIMEOUT_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 10.0
_PATHS: Final = {Api.CHAT: "/chat/completions", Api.COMPLETIONS: "/completions"}
_NO_STREAMS: Final = ("text/html", "application/json")
Search = SearchRequest | SearchResult


class ExternalClient:
    """Belongs to the event loop that it is used on; `retriever` None: there is no channel."""

    def __init__(self, address: str, external: External, retriever: Retriever | None) -> None:
        """Raises InputError where the key is not in the environment."""
        self._external = external
        self._retriever = retriever
        self._key = external.api_key()
        headers = {"User-Agent": f"recall-harness/{harness_version()}"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        self._http = httpx.AsyncClient(
            base_url=address.rstrip("/"),
            headers=headers,
            # The runner bounds how many requests there are; the deadline of a sample ends them.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S),
        )

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._http.aclose()

    async def is_serving(self) -> bool:
        """Whether somebody answers; what they say is `get_model`'s business."""
        try:
            answer = await self._http.get("/models", timeout=_PROBE_TIMEOUT_S)
        except httpx.RequestError:
            return False
        return answer.status_code not in TRANSIENT_STATUSES

    async def get_model(self) -> ModelDescription:
        """What endpoints.toml says, and the context's length where the server's list has it.

        Raises AttemptError where the server refuses us; a server without a list is taken as it is.
        """
        try:
            answer = await self._http.get("/models", timeout=_PROBE_TIMEOUT_S)
        except httpx.RequestError as error:
            raise TransientError("UNAVAILABLE", _described(error)) from None
        # A key may be good for completions and not for the list: 403 is no refusal yet.
        if answer.status_code == 401:
            raise self._error(answer, answer.text)
        return _description(
            self._external, _listed(answer), has_channel=self._retriever is not None
        )

    async def count_tokens(self, prompt: Prompt, *, timeout_s: float) -> int:
        """There is nothing to ask for it: the model is given the prompt, to go on for one token."""
        request = CompletionRequest(prompt=prompt, mode=None, max_new_tokens=1)
        return (await self.complete(request, timeout_s=timeout_s)).num_prompt_tokens

    async def complete(
        self,
        request: CompletionRequest,
        *,
        timeout_s: float | None = None,
        watch: Watch = UNWATCHED,
    ) -> Completion:
        """One attempt. Raises AttemptError: Transient, Deadline, Refused, Filtered, or others."""
        dialogue = Dialogue(request, self._external.api)
        await watch.sending()
        sent = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_s):
                while dialogue.finish_reason is None:
                    search = dialogue.end_turn(await self._write(dialogue, sent, watch))
                    if search is not None:
                        await self._search(dialogue, search, request.mode)
                        if dialogue.finish_reason is None:
                            await watch.sending()
        except TimeoutError:
            raise DeadlineError("DEADLINE_EXCEEDED", f"not done after {timeout_s} s") from None
        finally:
            if dialogue.num_searches and self._retriever is not None:
                self._retriever.close_contexts([dialogue.context_id])
        return dialogue.completion((time.perf_counter() - sent) * 1e3)

    async def _write(self, dialogue: Dialogue, sent: float, watch: Watch) -> Search | None:
        """One turn, up to its end, or to a search where the server sends the end marker itself."""
        turn = dialogue.begin_turn()
        try:
            async with self._http.stream(
                "POST", _PATHS[self._external.api], json=self._body(dialogue)
            ) as answer:
                await self._require_stream(answer)
                async for event in read_events(answer.aiter_lines()):
                    chunk = read_chunk(event)
                    watch.heard()
                    turn.add(chunk)
                    # An empty first chunk is not a token.
                    if dialogue.ttft_ms is None and (chunk.text or chunk.reasoning):
                        dialogue.ttft_ms = (time.perf_counter() - sent) * 1e3
                    search = dialogue.feed(chunk.text)
                    if search is not None:
                        return search
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise TransientError("UNAVAILABLE", _described(error)) from None
        except httpx.RequestError as error:
            raise TransientError(BROKEN_STREAM, _described(error)) from None
        return None

    async def _search(self, dialogue: Dialogue, search: Search, mode: Mode | None) -> None:
        began = time.perf_counter()
        result = search
        if isinstance(result, SearchRequest):
            if self._retriever is None:
                raise AttemptError("NO_RETRIEVER", "a search was asked for without a channel")
            try:
                [result] = await asyncio.to_thread(self._retriever.search, [result])
            except RetrieverUnavailableError as error:
                raise TransientError("UNAVAILABLE", str(error)) from None
        elapsed_ms = (time.perf_counter() - began) * 1e3
        dialogue.insert(result, mode.value if mode else "", elapsed_ms)

    def _body(self, dialogue: Dialogue) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._external.model,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **dialogue.body(),
        }
        if self._external.style is Style.SYMBOLIC:
            # The marks of our checkpoints are special tokens, which vLLM leaves out of its text.
            body["skip_special_tokens"] = False
        return body

    async def _require_stream(self, answer: httpx.Response) -> None:
        kind = answer.headers.get("content-type", "")
        if answer.status_code != 200:
            raise self._error(answer, (await answer.aread()).decode(errors="replace"))
        if kind.startswith(_NO_STREAMS):
            raise RefusedError(
                "BAD_RESPONSE",
                f"{answer.url} answers with {kind}, not with a stream; the address in "
                "endpoints.toml is the one that ends before /chat/completions, often in /v1",
            )

    def _error(self, answer: httpx.Response, body: str) -> AttemptError:
        # Some servers repeat the key that they refuse.
        shown = body.replace(self._key, "***") if self._key else body
        return error_from_response(answer.status_code, answer.headers, shown)


def _described(error: httpx.RequestError) -> str:
    return str(error) or type(error).__name__


def _listed(answer: httpx.Response) -> list[Mapping[str, Any]]:
    """The server's list of models; empty where it has none."""
    try:
        data = answer.json()["data"]
    except (ValueError, KeyError, TypeError):
        return []
    return [model for model in data if isinstance(model, dict)] if isinstance(data, list) else []


def _description(
    external: External, listed: list[Mapping[str, Any]], *, has_channel: bool
) -> ModelDescription:
    own = next((model for model in listed if model.get("id") == external.model), {})
    limit = own.get("max_model_len")
    return ModelDescription(
        name=external.model,
        family=external.family,
        engine=f"OpenAI {external.api}",
        context_limit=limit if isinstance(limit, int) else None,
        modes=tuple(Mode) if has_channel else (),
        styles=(external.style.value,),
    )
