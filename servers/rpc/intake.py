"""Turns a request into a job: text into tokens, a call's deadline into the engine's clock."""

import asyncio
import time
from typing import Final

from harnessapi.values import ModelDescription

from harness_servers.checkpoints.codec import Codec, Encoded
from harness_servers.generation import GenerationRequest
from harness_servers.rpc.request_checks import check_options, check_prompt, check_words
from harness_servers.sequences.job import Job

# Longer texts are tokenized beside the event loop: this many characters take a few milliseconds.
_MAX_CHARACTERS_ON_LOOP: Final = 20_000
# A completion ends this much before its call's deadline, so that the client still hears of it.
_MAX_DEADLINE_MARGIN_S: Final = 0.1
_DEADLINE_MARGIN_SHARE: Final = 0.1


class Intake:
    """Checks requests against one model; all its errors are InvalidRequestError."""

    def __init__(self, codec: Codec, description: ModelDescription) -> None:
        self._codec = codec
        self._description = description

    def tokenize(self, text: str) -> Encoded:
        """See Backend.tokenize."""
        encoded = self._codec.encode(text)
        check_words(encoded)
        return encoded

    async def read(self, request: GenerationRequest) -> Job:
        """The request, checked and tokenized, as having arrived now."""
        arrived_ns = time.monotonic_ns()
        check_options(request, self._description)
        return Job(
            prompt_ids=await self._read_prompt(request),
            sampling=request.sampling,
            stopping=request.stopping,
            retrieval=request.retrieval,
            arrived_ns=arrived_ns,
            deadline_ns=_deadline_ns(arrived_ns, request.deadline_s),
        )

    async def _read_prompt(self, request: GenerationRequest) -> tuple[int, ...]:
        ids = request.token_ids
        if request.text is not None:
            if len(request.text) > _MAX_CHARACTERS_ON_LOOP:
                ids = (await asyncio.to_thread(self.tokenize, request.text)).ids
            else:
                ids = self.tokenize(request.text).ids
        check_prompt(ids, self._description)
        return ids


def _deadline_ns(arrived_ns: int, deadline_s: float | None) -> int | None:
    if deadline_s is None:
        return None
    margin_s = min(_MAX_DEADLINE_MARGIN_S, deadline_s * _DEADLINE_MARGIN_SHARE)
    return arrived_ns + int((deadline_s - margin_s) * 1e9)
