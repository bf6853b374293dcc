"""Talks to one gRPC server of vLLM's or SGLang's own: token ids out, token ids in.

A request is one attempt, its turns and searches are a Dialogue's, as over HTTP. Protobuf ends here.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
from harnessapi.rpc.dialing import IN_THE_CLEAR, Dialing
from harnessapi.rpc.targets import Target
from harnessapi.values import Mode, ModelDescription

from harness.clients.completion import CompletionRequest
from harness.clients.engines.engine_text import EngineText
from harness.clients.engines.prompt_tokens import PromptTokens
from harness.clients.engines.services import SERVICES, TurnRequest
from harness.clients.faults import AttemptError, RefusedError
from harness.clients.grpc_errors import attempt_error, explained
from harness.clients.incoming import Mask
from harness.clients.model_client import Attempts, ModelClient, Watch
from harness.clients.openai.asking import Asking, read_turn
from harness.clients.openai.chunk import Chunk
from harness.clients.openai.dialogue import Dialogue
from harness.clients.openai.http_errors import is_over_context
from harness.endpoints.engines import EngineServer
from harness.endpoints.external import chosen_api
from harness.endpoints.request_options import DEFAULT_REQUEST, RequestOptions
from harness.errors import InputError
from harness.sample import Prompt
from harness.way import Style
from harness_retrieval.types import Retriever

_PROBE_TIMEOUT_S: Final = 5.0
# Whoever stops a run does not wait for longer.
_ABORT_TIMEOUT_S: Final = 2.0
_MAX_RECENT: Final = 2000


class EngineClient(ModelClient):
    """Belongs to the event loop that it was made on; `retriever` None: there is no channel."""

    def __init__(
        self,
        target: Target,
        engine: EngineServer,
        tokenizer_folder: Path,
        retriever: Retriever | None,
        *,
        request: RequestOptions = DEFAULT_REQUEST,
        dialing: Dialing = IN_THE_CLEAR,
    ) -> None:
        """Raises InputError for a folder without a tokenizer, and a variable that is not set."""
        super().__init__()
        self._engine = engine
        self._request = request
        self._retriever = retriever
        self._tokens = PromptTokens(tokenizer_folder, shows_specials=engine.style is Style.SYMBOLIC)
        self._api = chosen_api(engine.api, has_chat_template=self._tokens.has_chat_template)
        secrets = request.secret_headers()
        self._mask = Mask(secrets.values())
        self._metadata = _metadata({**request.headers, **secrets})
        self._service = SERVICES[engine.protocol]
        self._channel = dialing.aio_channel(target)
        self._stub = self._service.make_stub(self._channel)
        self._asking = Asking(retriever, self._write)
        self._eos_ids: frozenset[int] = frozenset()
        self._aborts: set[asyncio.Task[None]] = set()
        # It was said that the server has no Abort.
        self._lacks_abort = False

    async def close(self) -> None:
        """Lets go of the connection, once the server was told of what nobody waits for."""
        await asyncio.gather(*self._aborts)
        await self._channel.close()

    async def is_serving(self) -> bool:
        """Whether the server is there, and says that its engine is well."""
        self.cause = ""
        try:
            answer = await self._ask("HealthCheck", self._service.messages.HealthCheckRequest())
        except RefusedError as error:
            self.cause = error.detail
        except AttemptError as error:
            self.cause = explained(str(error), self._no_such("HealthCheck"))
        else:
            if not answer.healthy:
                self.cause = self._mask(f"it says of itself: {answer.message or 'not healthy'}")
        return not self.cause

    async def get_model(self) -> ModelDescription:
        """Raises AttemptError: Refused for a model that does not write, or has other tokens."""
        info = await self._ask("GetModelInfo", self._service.messages.GetModelInfoRequest())
        name = self._mask(info.served_model_name or info.model_path)
        if not info.is_generation:
            raise RefusedError("NO_GENERATION", f"{name} is a model that does not write text")
        if 0 < info.vocab_size < self._tokens.vocabulary_size:
            raise RefusedError(
                "OTHER_TOKENIZER",
                f"tokenizer: its ids go up to {self._tokens.vocabulary_size - 1}, and {name} has "
                f"{info.vocab_size} tokens: it is another model's",
            )
        self._eos_ids = frozenset(info.eos_token_ids)
        return ModelDescription(
            name=name,
            family=self._engine.family,
            engine=f"{self._service.title} gRPC, {self._api}",
            tokenizer_digest=self._tokens.digest,
            context_limit=info.max_context_length or None,
            vocabulary_size=info.vocab_size,
            modes=tuple(Mode) if self._retriever is not None else (),
            styles=(self._engine.style.value,),
            has_chat_template=self._tokens.has_chat_template,
        )

    async def count_tokens(self, prompt: Prompt, *, timeout_s: float) -> int:
        """The server is given the prompt, to go on for one token: then it is known to take it."""
        request = CompletionRequest(prompt=prompt, mode=None, max_new_tokens=1)
        return (await self.complete(request, timeout_s=timeout_s)).num_prompt_tokens

    @contextmanager
    def attempts(self, request: CompletionRequest) -> Iterator[Attempts]:
        """`complete`, as often as it takes: each goes on from the turn that the last failed in."""
        with self._asking.attempts(self._dialogue(request)) as attempts:
            yield attempts

    def _dialogue(self, request: CompletionRequest) -> Dialogue:
        system = self._request.system_prompt
        if system is not None and not self._api.is_chat:
            raise RefusedError(
                "NO_CONVERSATION", "system_prompt needs messages; this model is asked with a text"
            )
        return Dialogue(request, self._api, self._mask, system_prompt=system)

    async def _write(self, dialogue: Dialogue, watch: Watch) -> None:
        """One turn. Raises AttemptError, with the end of what had come."""
        body = dialogue.body()
        token_ids = await self._token_ids(body)
        if not dialogue.num_turns:
            dialogue.prompt_token_ids = token_ids
        options = self._request
        asked = TurnRequest(
            request_id=uuid.uuid4().hex,
            token_ids=token_ids,
            max_new_tokens=body["max_tokens"],
            stops=tuple(body.get("stop", ())),
            temperature=options.temperature or 0.0,
            top_p=options.top_p,
            seed=options.seed(dialogue.repeat),
            shows_specials=self._engine.style is Style.SYMBOLIC,
        )
        texts: list[str] = []
        dialogue.recent = lambda: self._mask("".join(texts))[-_MAX_RECENT:]
        sent = time.perf_counter()
        try:
            async with aclosing(self._chunks(asked, texts)) as chunks:
                await read_turn(dialogue, chunks, sent, watch, is_done=lambda: True)
        except AttemptError as fault:
            if dialogue.num_turns and is_over_context(fault):
                dialogue.end_full()
                return
            fault.raw = dialogue.recent()
            raise

    async def _chunks(self, asked: TurnRequest, texts: list[str]) -> AsyncGenerator[Chunk]:
        """What comes of one request; `texts` takes it too. Whoever leaves early ends it."""
        text = EngineText(
            self._tokens.stream(asked.token_ids),
            num_prompt=len(asked.token_ids),
            eos_ids=self._eos_ids,
            stops=asked.stops,
        )
        call = self._stub.Generate(self._service.generate(asked), metadata=self._metadata)
        is_running = True
        try:
            async for response in call:
                if not is_running:
                    continue  # nothing more is due but the call's own end
                is_running = response.WhichOneof("response") != "complete"
                chunk = text.read(response)
                texts.append(chunk.text)
                yield chunk
                if text.is_over and is_running:
                    break
            else:
                is_running = False
        except grpc.aio.AioRpcError as error:
            is_running = False
            raise self._fault("Generate", error) from None
        finally:
            if is_running:
                call.cancel()
                self._abort(asked.request_id)

    def _abort(self, request_id: str) -> None:
        """Hanging up ends a request, of most servers; they are told as well."""
        task = asyncio.get_running_loop().create_task(self._send_abort(request_id))
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)

    async def _send_abort(self, request_id: str) -> None:
        try:
            await self._ask("Abort", self._service.abort(request_id), timeout_s=_ABORT_TIMEOUT_S)
        except AttemptError as error:
            # Whatever else is wrong, the next request shows it.
            if error.code == "UNIMPLEMENTED" and not self._lacks_abort:
                self._lacks_abort = True
                self.say(f"{error.detail}; requests are ended by hanging up alone")

    async def _token_ids(self, body: dict[str, Any]) -> tuple[int, ...]:
        """Of the text or the messages of a turn, read beside the event loop."""
        if self._api.is_chat:
            return await asyncio.to_thread(self._tokens.encode_chat, body["messages"])
        return await asyncio.to_thread(self._tokens.encode, body["prompt"])

    async def _ask(self, rpc: str, message: Any, *, timeout_s: float = _PROBE_TIMEOUT_S) -> Any:
        call = getattr(self._stub, rpc)
        try:
            return await call(message, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._fault(rpc, error) from None

    def _fault(self, rpc: str, error: grpc.aio.AioRpcError) -> AttemptError:
        code = error.code()
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return RefusedError(code.name, self._no_such(rpc))
        return attempt_error(error, self._mask)

    def _no_such(self, rpc: str) -> str:
        return (
            f"the server has no {self._service.name}/{rpc}: it is none of "
            f'protocol = "{self._engine.protocol}", or an older one'
        )


def _metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Raises InputError for a value that gRPC does not send; it is not shown."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise InputError(f"headers: the value of {name} has to be a line of plain text")
    return tuple((name.lower(), value) for name, value in headers.items())
