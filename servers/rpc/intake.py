"""Reads a request into a job: checked, its text as tokens, its deadline on the engine's clock."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.values import ModelDescription

from harness_servers.checkpoints.codec import Codec, Encoded
from harness_servers.errors import InvalidRequestError
from harness_servers.generation import Job, Stopping
from harness_servers.rpc.request_checks import (
    check_length,
    check_options,
    check_prompt,
    check_words,
)
from harness_servers.rpc.wire import read_retrieval, read_sampling, read_stopping

# Longer texts are tokenized beside the event loop: this many characters take a few milliseconds.
_MAX_CHARACTERS_ON_LOOP: Final = 20_000
# A completion ends this much before its call's deadline, so that the client still hears of it.
_MAX_DEADLINE_MARGIN_S: Final = 0.1
_DEADLINE_MARGIN_SHARE: Final = 0.1


class Intake:
    """Takes requests in for one model; all its errors are InvalidRequestError."""

    def __init__(self, codec: Codec, model: ModelDescription) -> None:
        self._codec = codec
        self._model = model
        # A long text takes a hundred times its size while it is tokenized: one at a time. Those
        # whose call has ended by then are never begun.
        self._long_texts = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")

    def close(self) -> None:
        """Lets go of its thread; texts that wait for it are never read."""
        self._long_texts.shutdown(wait=False, cancel_futures=True)

    async def tokenize(self, text: str) -> Encoded:
        """A prompt as token ids; the error names a word that the vocabulary does not have."""
        check_length(len(text), self._model)
        if len(text) <= _MAX_CHARACTERS_ON_LOOP:
            return self._encode(text)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._long_texts, self._encode, text)

    def _encode(self, text: str) -> Encoded:
        encoded = self._codec.encode_prompt(text)
        check_words(encoded)
        return encoded

    async def tokenize_chat(self, conversation: pb.Conversation) -> Encoded:
        """A conversation as token ids, worded by the checkpoint's own template."""
        if not conversation.messages:
            raise InvalidRequestError("the prompt is a conversation without messages")
        num_characters = sum(len(one.role) + len(one.content) for one in conversation.messages)
        check_length(num_characters, self._model)
        messages = [{"role": one.role, "content": one.content} for one in conversation.messages]
        # The template may take its time, in a process of its own.
        encoded = await asyncio.to_thread(self._codec.encode_chat, messages)
        check_words(encoded)
        return encoded

    async def read(self, request: pb.GenerateRequest, deadline_s: float | None) -> Job:
        """The job, as having arrived now; `deadline_s`: seconds until the call's deadline."""
        arrived_ns = time.monotonic_ns()
        if request.WhichOneof("prompt") is None:
            raise InvalidRequestError(
                "the prompt is missing: neither text, messages nor token_ids is set"
            )
        sampling = read_sampling(request.sampling)
        stopping = self._within_limits(read_stopping(request.stopping))
        retrieval = read_retrieval(request.retrieval) if request.HasField("retrieval") else None
        check_options(sampling, stopping, retrieval, self._model)
        return Job(
            prompt_ids=await self._read_prompt(request),
            sampling=sampling,
            stopping=stopping,
            retrieval=retrieval,
            arrived_ns=arrived_ns,
            deadline_ns=_deadline_ns(arrived_ns, deadline_s),
        )

    def _within_limits(self, stopping: Stopping) -> Stopping:
        """What a request asks for, at most what this server gives; Started tells."""
        limit = self._model.max_new_tokens
        if limit and stopping.max_new_tokens > limit:
            return replace(stopping, max_new_tokens=limit)
        return stopping

    async def _read_prompt(self, request: pb.GenerateRequest) -> tuple[int, ...]:
        if request.HasField("messages"):
            ids = (await self.tokenize_chat(request.messages)).ids
        elif not request.HasField("text"):
            ids = tuple(request.token_ids.ids)
        else:
            ids = (await self.tokenize(request.text)).ids
        check_prompt(ids, self._model)
        return ids


def _deadline_ns(arrived_ns: int, deadline_s: float | None) -> int | None:
    if deadline_s is None:
        return None
    margin_s = min(_MAX_DEADLINE_MARGIN_S, deadline_s * _DEADLINE_MARGIN_SHARE)
    return arrived_ns + int((deadline_s - margin_s) * 1e9)
