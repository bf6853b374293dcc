"""Talks to one OpenAI-compatible server; a request is one attempt. HTTP ends here."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx
from harnessapi.values import Mode, ModelDescription

from harness.clients.completion import Completion, CompletionRequest
from harness.clients.faults import (
    BROKEN_STREAM,
    AttemptError,
    DeadlineError,
    TransientError,
)
from harness.clients.incoming import Mask
from harness.clients.model_client import UNWATCHED, Attempts, Watch
from harness.clients.openai.chunk import read_chunk
from harness.clients.openai.dialogue import Dialogue, Search
from harness.clients.openai.http_errors import (
    TRANSIENT_STATUSES,
    error_from_response,
    is_over_context,
)
from harness.clients.openai.server_reply import ServerReply
from harness.endpoints.external import Api, External
from harness.sample import Prompt
from harness.version import harness_version
from harness.way import Style
from harness_retrieval.types import Retriever, RetrieverUnavailableError, SearchRequest

_PROBE_TIMEOUT_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 10.0
_PATHS: Final = {Api.CHAT: "/chat/completions", Api.COMPLETIONS: "/completions"}
# A compressed stream comes late and in lumps.
_HEADERS: Final = {"Accept-Encoding": "identity"}


class ExternalClient:
    """Belongs to the event loop that it is used on; `retriever` None: there is no channel."""

    def __init__(self, address: str, external: External, retriever: Retriever | None) -> None:
        """Raises InputError where the key is not in the environment."""
        self._external = external
        self._retriever = retriever
        self._key = external.api_key()
        self._mask = Mask([] if self._key is None else [self._key])
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
            raise TransientError("UNAVAILABLE", self._described(error)) from None
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
        with self.attempts(request) as attempt:
            return await attempt(timeout_s, watch)

    @contextmanager
    def attempts(self, request: CompletionRequest) -> Iterator[Attempts]:
        """`complete`, as often as it takes: each goes on from the turn that the last failed in."""
        dialogue = Dialogue(request, self._external.api, self._mask)
        try:
            yield lambda timeout_s, watch: self._attempt(dialogue, timeout_s, watch)
        except DeadlineError as fault:
            # Whoever keeps the time has cut a reply off.
            fault.raw = dialogue.recent()
            raise
        finally:
            if dialogue.has_searched and self._retriever is not None:
                self._retriever.close_contexts([dialogue.context_id])

    async def _attempt(
        self, dialogue: Dialogue, timeout_s: float | None, watch: Watch
    ) -> Completion:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_s):
                while dialogue.finish_reason is None:
                    if dialogue.due is None:
                        await watch.sending()
                        await self._write(dialogue, watch)
                    if dialogue.due is not None:
                        await self._search(dialogue, dialogue.due)
        except TimeoutError:
            raise DeadlineError("DEADLINE_EXCEEDED", f"not done after {timeout_s} s") from None
        finally:
            dialogue.total_ms += (time.perf_counter() - began) * 1e3
        return dialogue.completion()

    async def _write(self, dialogue: Dialogue, watch: Watch) -> None:
        """One turn. Raises AttemptError, with the end of what had come."""
        sent = time.perf_counter()
        dialogue.recent = str
        try:
            async with self._http.stream(
                "POST", _PATHS[self._external.api], json=self._body(dialogue), headers=_HEADERS
            ) as answer:
                reply = ServerReply(
                    url=str(answer.url),
                    status=answer.status_code,
                    headers=answer.headers,
                    raw=answer.aiter_raw(),
                    mask=self._mask,
                )
                dialogue.recent = reply.recent
                await _read_turn(dialogue, reply, sent, watch)
        except (AttemptError, httpx.RequestError) as error:
            fault = error if isinstance(error, AttemptError) else self._fault(error)
            if dialogue.num_turns and is_over_context(fault):
                dialogue.end_full()
                return
            fault.raw = dialogue.recent()
            raise fault from None

    async def _search(self, dialogue: Dialogue, search: Search) -> None:
        began = time.perf_counter()
        result = search
        if isinstance(result, SearchRequest):
            if self._retriever is None:
                raise AttemptError("NO_RETRIEVER", "a search was asked for without a channel")
            try:
                [result] = await asyncio.to_thread(self._retriever.search, [result])
            except RetrieverUnavailableError as error:
                raise TransientError("UNAVAILABLE", str(error)) from None
        dialogue.insert(result, (time.perf_counter() - began) * 1e3)

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

    def _error(self, answer: httpx.Response, body: str) -> AttemptError:
        headers = {name: self._mask(value) for name, value in answer.headers.items()}
        return error_from_response(answer.status_code, headers, self._mask(body))

    def _described(self, error: httpx.RequestError) -> str:
        return self._mask(str(error) or type(error).__name__)

    def _fault(self, error: httpx.RequestError) -> AttemptError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return TransientError("UNAVAILABLE", self._described(error))
        return TransientError(BROKEN_STREAM, self._described(error), is_away=False)


async def _read_turn(dialogue: Dialogue, reply: ServerReply, sent: float, watch: Watch) -> None:
    """Up to the end, or to a search where the server sends the end marker itself."""
    turn = dialogue.begin_turn()
    search = None
    async for event in reply.events():
        chunk = read_chunk(event)
        watch.heard()
        text = turn.add(chunk)
        # An empty first chunk is not a token.
        if dialogue.ttft_ms is None and (chunk.text or chunk.reasoning):
            dialogue.ttft_ms = (time.perf_counter() - sent) * 1e3
        search = dialogue.feed(text)
        if search is not None:
            break
    turn.is_done = reply.is_done
    dialogue.end_turn(turn, search)


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
