"""Talks to one OpenAI-compatible server; a request is one attempt. HTTP ends here."""

import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx
from harnessapi.values import ModelDescription

from harness.clients.completion import CompletionRequest
from harness.clients.faults import (
    BAD_RESPONSE,
    BROKEN_STREAM,
    AttemptError,
    RefusedError,
    TransientError,
)
from harness.clients.incoming import Mask
from harness.clients.model_client import Attempts, ModelClient, Watch
from harness.clients.openai.asking import Asking, read_turn
from harness.clients.openai.chunk import Chunk, read_chunk
from harness.clients.openai.dialogue import Dialogue
from harness.clients.openai.http_client import (
    HTTP_FAULTS,
    PROBE_TIMEOUT,
    UNCOMPRESSED,
    cause,
    open_http,
)
from harness.clients.openai.http_errors import (
    error_from_response,
    is_over_context,
    refused_parameter,
    wants_more_tokens,
)
from harness.clients.openai.model_list import ask_for_models, describe
from harness.clients.openai.server_reply import ServerReply
from harness.endpoints.external import Api, External
from harness.endpoints.request_options import DEFAULT_REQUEST, RequestOptions
from harness.sample import Prompt
from harness.way import Style
from harness_retrieval.types import Retriever

# In so many a model has said something, whatever it thinks first.
_THINKING_TOKENS: Final = 2048
_LIMIT: Final = "max_tokens"
_OTHER_LIMIT: Final = "max_completion_tokens"
_MAX_LISTED: Final = 20
_PATHS: Final = {
    Api.TURNS: "/chat/completions",
    Api.CHAT: "/chat/completions",
    Api.COMPLETIONS: "/completions",
}


class ExternalClient(ModelClient):
    """Belongs to the event loop that it is used on; `retriever` None: there is no channel."""

    def __init__(
        self,
        address: str,
        external: External,
        retriever: Retriever | None,
        request: RequestOptions = DEFAULT_REQUEST,
        *,
        number: str | None = None,
    ) -> None:
        """`number`: what is dialled, whatever the name of its host stands for.

        Raises InputError where a key, or the proxy, of the environment is missing or wrong."""
        super().__init__()
        self._address = address
        self._external = external
        self._request = request
        self._retriever = retriever
        key = external.api_key()
        secrets = [*request.secret_headers().values(), *([] if key is None else [key])]
        self._mask = Mask(secrets)
        self._http = open_http(address, external, request, number)
        self._asking = Asking(retriever, self._write)

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._http.aclose()

    async def is_serving(self) -> bool:
        """Whether somebody is there; a list of models is a convenience, and may be slow or busy."""
        try:
            async with self._http.stream("GET", "/models", timeout=PROBE_TIMEOUT):
                pass
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            self.cause = self._described(error)
            return False
        except HTTP_FAULTS:
            pass
        return True

    async def get_model(self) -> ModelDescription:
        """What endpoints.toml says, and the context's length where the server's list has it.

        Raises AttemptError where the server refuses us; a server without a list is taken as it is.
        """
        try:
            answer = await ask_for_models(self._http)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise TransientError("UNAVAILABLE", self._described(error)) from None
        models = [] if answer is None else answer.models
        # A key may be good for completions and not for the list: 403 is no refusal yet.
        if answer is not None and answer.status == 401:
            headers = {name: self._mask(value) for name, value in answer.headers.items()}
            raise error_from_response(answer.status, headers, self._mask(answer.body))
        names = (model.get("id") for model in models)
        self.listed = tuple(self._mask(name) for name in names if isinstance(name, str))
        return describe(self._external, models, has_channel=self._retriever is not None)

    async def count_tokens(self, prompt: Prompt, *, timeout_s: float) -> int:
        """There is nothing to ask for it: the model is given the prompt, to go on for one token.

        A model that thinks first may be refused so few by its server: it is given more then.
        """

        async def asked_for(most: int) -> int:
            request = CompletionRequest(prompt=prompt, mode=None, max_new_tokens=most)
            return (await self.complete(request, timeout_s=timeout_s)).num_prompt_tokens

        try:
            return await asked_for(1)
        except RefusedError as error:
            if not wants_more_tokens(error):
                raise
        return await asked_for(_THINKING_TOKENS)

    @contextmanager
    def attempts(self, request: CompletionRequest) -> Iterator[Attempts]:
        """`complete`, as often as it takes: each goes on from the turn that the last failed in."""
        dialogue = Dialogue(
            request, self._external.api, self._mask, system_prompt=self._request.system_prompt
        )
        with self._asking.attempts(dialogue) as attempts:
            yield attempts

    async def _write(self, dialogue: Dialogue, watch: Watch) -> None:
        """One turn, without what the server does not take. Raises AttemptError."""
        while True:
            body = self._body(dialogue)
            try:
                await self._write_once(dialogue, body, watch)
            except RefusedError as error:
                if not self._leaves_out(error, body):
                    raise self._explained(error) from None
                await watch.sending()
            else:
                return

    def _leaves_out(self, error: RefusedError, body: Mapping[str, Any]) -> bool:
        """Whether the request is worth sending again: a parameter of it is not sent any more."""
        name = refused_parameter(error, body)
        if name is None:
            return False
        if name not in self.refused:
            self.refused[name] = error.detail
            limit = self._limit_name
            is_renamed = name == "max_tokens" and limit != name
            instead = f"; {limit} is sent instead" if is_renamed else ""
            self.say(f"it refuses the parameter {name}, which is not sent any more{instead}")
        return True

    @property
    def _limit_name(self) -> str:
        """How the server calls the limit of a completion, as far as it is known."""
        given = self._request.token_limit
        if given is not None:
            return given
        return _OTHER_LIMIT if _OTHER_LIMIT in self.refused.get(_LIMIT, "") else _LIMIT

    def _explained(self, error: RefusedError) -> RefusedError:
        """The same, with the models that there are, or the path, where it may be about them."""
        if error.code != "HTTP_404" or self._external.model in self.listed:
            return error
        names = ", ".join(self.listed[:_MAX_LISTED])
        more = f" and {len(self.listed) - _MAX_LISTED} more" if self.listed[_MAX_LISTED:] else ""
        hint = f"model {self._external.model!r}; it lists: {names}{more}"
        if not self.listed:
            path = _PATHS[self._external.api]
            hint = f"asked at {path} behind the address, which often ends in /v1"
        detail = f"{error.detail} ({hint})"
        explained = RefusedError(error.code, detail, is_of_one=error.is_of_one)
        explained.raw = error.raw
        return explained

    async def _write_once(self, dialogue: Dialogue, body: Mapping[str, Any], watch: Watch) -> None:
        """One request. Raises AttemptError, with the end of what had come."""
        sent = time.perf_counter()
        dialogue.recent = str
        try:
            async with self._http.stream(
                "POST", _PATHS[self._external.api], json=body, headers=UNCOMPRESSED
            ) as answer:
                reply = ServerReply(
                    url=str(answer.url),
                    status=answer.status_code,
                    headers=answer.headers,
                    raw=answer.aiter_raw(),
                    mask=self._mask,
                )
                dialogue.recent = reply.recent
                await read_turn(
                    dialogue, _chunks(reply), sent, watch, is_done=lambda: reply.is_done
                )
        except (AttemptError, *HTTP_FAULTS) as error:
            fault = error if isinstance(error, AttemptError) else self._fault(error)
            if dialogue.num_turns and is_over_context(fault):
                dialogue.end_full()
                return
            fault.raw = dialogue.recent()
            raise fault from None

    def _body(self, dialogue: Dialogue) -> dict[str, Any]:
        options = self._request
        body: dict[str, Any] = {
            "model": self._external.model,
            "temperature": options.temperature or 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **dialogue.body(),
        }
        body[self._limit_name] = body.pop(_LIMIT)
        seed = options.seed(dialogue.repeat)
        drawn = {"top_p": options.top_p, "seed": seed}
        body |= {name: value for name, value in drawn.items() if value is not None}
        if options.chat_template_kwargs:
            body["chat_template_kwargs"] = dict(options.chat_template_kwargs)
        body |= options.extra_body
        if self._external.style is Style.SYMBOLIC:
            # The marks of our checkpoints are special tokens, which vLLM leaves out of its text.
            body["skip_special_tokens"] = False
        for name in (*options.leave_out, *self.refused):
            body.pop(name, None)
        return body

    def _described(self, error: httpx.RequestError) -> str:
        return self._mask(cause(error, self._address))

    def _fault(self, error: Exception) -> AttemptError:
        if not isinstance(error, httpx.RequestError):
            return AttemptError(
                BAD_RESPONSE,
                self._mask(f"its address, or one that it redirects to, is none: {error}"),
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return TransientError("UNAVAILABLE", self._described(error))
        return TransientError(BROKEN_STREAM, self._described(error), is_away=False)


async def _chunks(reply: ServerReply) -> AsyncGenerator[Chunk]:
    """Those of a reply; where it is cut off behind its end, what is missing is nothing of it."""
    has_ended = False
    index = None
    try:
        async for event in reply.events():
            chunk = read_chunk(event, index)
            index = chunk.index if index is None else index
            has_ended = has_ended or bool(chunk.finish_reason)
            yield chunk
    except httpx.RequestError:
        # Some close without the last chunk of HTTP.
        if not has_ended:
            raise
