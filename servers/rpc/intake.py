"""Reads a request into a job: checked, its text as tokens, its deadline on the engine's clock."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.observing.traces import current_parent
from harnessapi.rpc.calls import current_request_id
from harnessapi.values import ModelDescription

from harness_servers.checkpoints.codec import MAX_CHARACTERS_ON_LOOP, Codec, Encoded
from harness_servers.errors import InvalidRequestError
from harness_servers.generation import Job, Sampling, Stopping
from harness_servers.rpc.request_checks import (
    MAX_WORDS_PER_TOKEN,
    check_conversation,
    check_given,
    check_lengths,
    check_options,
    check_prompt,
    check_question,
    check_texts,
    check_top_log_probs,
    check_words,
)
from harness_servers.rpc.wire import read_retrieval, read_sampling, read_stopping

# These wait for no longer ones: the worst of them took 0.3 s.
_MAX_CHARACTERS_IN_BETWEEN: Final = 20_000
# A completion ends this much before its call's deadline, so that the client still hears of it.
_MAX_DEADLINE_MARGIN_S: Final = 0.1
_DEADLINE_MARGIN_SHARE: Final = 0.1


class Intake:
    """Takes requests in for one model; all its errors are InvalidRequestError."""

    def __init__(self, codec: Codec, model: ModelDescription) -> None:
        self._codec = codec
        self._model = model
        # One after another: however many come, one text at a time takes memory and a core.
        self._in_between = ThreadPoolExecutor(1, thread_name_prefix="tokenizing")
        self._long = ThreadPoolExecutor(1, thread_name_prefix="tokenizing-long")

    async def tokenize(self, text: str, *, max_tokens: int | None = None) -> Encoded:
        """A prompt as token ids; the error names a word that the vocabulary does not have.

        Without `max_tokens` a text may have twice as many as a prompt.
        """
        if max_tokens is None:
            # Counted before lists are made of them, which holds the interpreter lock.
            max_tokens = MAX_WORDS_PER_TOKEN * self._model.max_prompt_tokens
        encoded = await self._encode(
            text, partial(self._codec.encode_prompt, max_tokens=max_tokens)
        )
        check_words(encoded)
        return encoded

    async def tokenize_chat(
        self, conversation: pb.Conversation, *, max_tokens: int | None = None
    ) -> Encoded:
        """A conversation as token ids, worded by the checkpoint's own template."""
        check_conversation(conversation)
        messages = [{"role": one.role, "content": one.content} for one in conversation.messages]
        check_texts([text for message in messages for text in message.values()], self._model)
        # The template may take its time, in a process of its own.
        encoded = await asyncio.to_thread(self._codec.encode_chat, messages, max_tokens)
        check_words(encoded)
        return encoded

    async def read(self, request: pb.GenerateRequest, deadline_s: float | None) -> Job:
        """The job, as having arrived now; `deadline_s`: seconds until the call's deadline."""
        arrived_ns = time.monotonic_ns()
        if request.WhichOneof("prompt") is None:
            raise InvalidRequestError(
                "the prompt is missing: neither text, messages nor token_ids is set"
            )
        check_lengths(request)
        sampling, stopping = read_sampling(request.sampling), read_stopping(request.stopping)
        retrieval = read_retrieval(request.retrieval) if request.HasField("retrieval") else None
        check_options(sampling, stopping, retrieval, self._model)
        top_log_probs = request.top_log_probs if request.HasField("top_log_probs") else None
        if top_log_probs is not None:
            check_top_log_probs(top_log_probs, 0, self._model)
        return Job(
            prompt_ids=await self._read_prompt(request),
            sampling=sampling,
            stopping=self._within_limit(stopping),
            retrieval=retrieval,
            arrived_ns=arrived_ns,
            deadline_ns=_deadline_ns(arrived_ns, deadline_s),
            top_log_probs=top_log_probs,
            request_id=current_request_id(),
            traceparent=current_parent(),
        )

    async def read_given(self, request: pb.ScoreRequest, deadline_s: float | None) -> Job:
        """The job of scoring a continuation; see `read`."""
        arrived_ns = time.monotonic_ns()
        check_top_log_probs(request.top_log_probs, 0, self._model)
        has_prompt = request.WhichOneof("prompt") is not None
        prompt_ids = await self._read_prompt(request) if has_prompt else ()
        check_question(prompt_ids, self._codec.question_ids, self._model)
        given_ids = await self._read_continuation(request, prompt_ids)
        check_top_log_probs(request.top_log_probs, len(given_ids), self._model)
        return Job(
            prompt_ids=prompt_ids,
            sampling=Sampling(),
            stopping=Stopping(),
            retrieval=None,
            arrived_ns=arrived_ns,
            deadline_ns=_deadline_ns(arrived_ns, deadline_s),
            top_log_probs=request.top_log_probs,
            given_ids=given_ids,
        )

    async def _encode(self, text: str, encode: Callable[[str], Encoded]) -> Encoded:
        check_texts([text], self._model)
        if len(text) <= MAX_CHARACTERS_ON_LOOP:
            return encode(text)
        executor = self._in_between if len(text) <= _MAX_CHARACTERS_IN_BETWEEN else self._long
        # What the call's deadline has cancelled by then is not begun.
        return await asyncio.get_running_loop().run_in_executor(executor, encode, text)

    def _within_limit(self, stopping: Stopping) -> Stopping:
        """Who asks for more tokens than there are for anybody gets so many; Started says it."""
        most = self._model.max_new_tokens
        return replace(stopping, max_new_tokens=min(stopping.max_new_tokens, most))

    async def _read_continuation(
        self, request: pb.ScoreRequest, prompt_ids: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Without a prompt a text is one itself."""
        kind = request.WhichOneof("continuation")
        if kind is None:
            raise InvalidRequestError(
                "the continuation is missing: neither continuation_text nor continuation_ids is set"
            )
        if kind == "continuation_ids":
            ids = tuple(request.continuation_ids.ids)
        elif not request.continuation_text:
            ids = ()  # a BOS would be all
        elif request.WhichOneof("prompt") is None:
            ids = (await self.tokenize(request.continuation_text)).ids
        else:
            text = request.continuation_text
            encoded = await self._encode(text, self._codec.encode_continuation)
            check_words(encoded, " of the continuation")
            ids = encoded.ids
        check_given(prompt_ids, ids, self._model)
        return ids

    async def _read_prompt(self, request: pb.GenerateRequest | pb.ScoreRequest) -> tuple[int, ...]:
        most = self._model.max_prompt_tokens
        if request.HasField("messages"):
            ids = (await self.tokenize_chat(request.messages, max_tokens=most)).ids
        elif request.HasField("text"):
            ids = (await self.tokenize(request.text, max_tokens=most)).ids
        elif len(request.token_ids.ids) > most:
            raise InvalidRequestError(
                f"the prompt has {len(request.token_ids.ids)} tokens; at most {most} are taken"
            )
        else:
            ids = tuple(request.token_ids.ids)
        check_prompt(ids, self._model)
        check_question(ids, self._codec.question_ids, self._model)
        return ids


def _deadline_ns(arrived_ns: int, deadline_s: float | None) -> int | None:
    if deadline_s is None:
        return None
    margin_s = min(_MAX_DEADLINE_MARGIN_S, deadline_s * _DEADLINE_MARGIN_SHARE)
    return arrived_ns + int((deadline_s - margin_s) * 1e9)
