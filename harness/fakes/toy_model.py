"""A model server that keeps every promise, with a toy for a model; a quirk makes it break one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.retrieval.v1 import retrieval_pb2 as rpb

from harness.fakes import toy_words as toy
from harness.fakes.quirk import Quirk
from harness.fakes.toy_checks import CHECKS, MAX_PROMPT_TOKENS, MAX_TOP_LOG_PROBS
from harness.fakes.toy_completion import MAX_NEW_TOKENS, started, write
from harness.tasks import vocabulary as words

NUM_SLOTS: Final = 4
_INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT


class ToyModel(inference_pb2_grpc.InferenceServiceServicer):
    """Belongs to the event loop that it was made on."""

    def __init__(self, quirk: Quirk) -> None:
        self.num_running = 0
        self.num_refused = 0
        self._quirk = quirk
        self._slots = asyncio.Semaphore(NUM_SLOTS)

    async def GetModel(  # noqa: N802
        self, _request: pb.GetModelRequest, context: Any
    ) -> pb.GetModelResponse:
        """It says that it is an RNN."""
        await self._require("GetModel", context)
        channel = pb.SearchChannel(
            start_marker=words.SEARCH_START,
            end_marker=words.SEARCH_END,
            failed_text=words.FAILED,
            passage_separator=words.SEPARATOR,
            modes=[rpb.RETRIEVAL_MODE_REGEX, rpb.RETRIEVAL_MODE_DENSE],
            takes_searched_text=True,
        )
        model = pb.GetModelResponse(
            name="toy",
            family=pb.MODEL_FAMILY_RNN,
            engine="toy",
            checkpoint_digest="0" * 64,
            num_parameters=17,
            vocabulary_size=len(toy.VOCABULARY),
            num_slots=NUM_SLOTS,
            max_prompt_tokens=MAX_PROMPT_TOKENS,
            max_new_tokens=MAX_NEW_TOKENS,
            styles=["symbolic"],
            has_chat_template=True,
            search_channel=channel,
            max_top_log_probs=MAX_TOP_LOG_PROBS,
        )
        self._quirk.describe(model)
        return model

    async def Tokenize(  # noqa: N802
        self, request: pb.TokenizeRequest, context: Any
    ) -> pb.TokenizeResponse:
        """A token a word."""
        await self._require("Tokenize", context)
        ids = await self._read(request, context)
        answer = pb.TokenizeResponse(token_ids=ids, tokens=[toy.VOCABULARY[one] for one in ids])
        self._quirk.tokenize(request, answer)
        return answer

    async def Score(  # noqa: N802
        self, request: pb.ScoreRequest, context: Any
    ) -> pb.ScoreResponse:
        """Of token ids alone."""
        await self._require("Score", context)
        prompt, ids = list(request.token_ids.ids), list(request.continuation_ids.ids)
        before = [*prompt[-1:], *ids]
        answer = pb.ScoreResponse(prompt_token_ids=prompt)
        for place, token in enumerate(ids):
            told = toy.log_probs(before[place], place)
            answer.tokens.append(toy.described(token, told, request.top_log_probs))
        self._quirk.score(answer)
        return answer

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: Any
    ) -> AsyncIterator[pb.GenerateResponse]:
        """As many at once as there are slots; the others wait."""
        await self._require("Generate", context)
        heard = pb.GenerateRequest()
        heard.CopyFrom(request)
        self._quirk.hear(heard)
        ids = await self._take(heard, context)
        await self._slots.acquire()
        self.num_running += 1
        is_done = False
        try:
            for event in self._quirk.say(started(request, ids), request):
                yield event
            async for written in write(heard, ids, self._quirk, self):
                for event in self._quirk.say(written, request):
                    yield event
            is_done = True
        finally:
            self.num_running -= 1
            kind = "cancel" if context.time_remaining() is None else "deadline"
            if is_done or kind != self._quirk.leak:
                self._slots.release()

    async def _require(self, method: str, context: Any) -> None:
        if self._quirk.missing == method:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    async def _take(self, request: pb.GenerateRequest, context: Any) -> list[int]:
        """The prompt, where the request is right."""
        code = self._quirk.refuse(request, context)
        if code is not None:
            await context.abort(code, "this server is broken")
        ids = await self._read(request, context)
        for name, is_wrong in CHECKS.items():
            if name != self._quirk.unchecked and is_wrong(request, ids):
                self.num_refused += 1
                await context.abort(_INVALID, f"{name} is wrong")
        # What is left out is not looked at any further.
        return ids or [toy.BOS]

    async def _read(self, request: Any, context: Any) -> list[int]:
        if request.HasField("messages"):
            text = f" {words.SEPARATOR} ".join(one.content for one in request.messages.messages)
        elif isinstance(request, pb.GenerateRequest) and request.HasField("token_ids"):
            ids = list(request.token_ids.ids)
            high = [one for one in ids if one >= len(toy.VOCABULARY)]
            if high and self._quirk.unchecked != "unknown":
                await context.abort(_INVALID, f"token id {high[0]} is unknown")
            return [min(one, len(toy.VOCABULARY) - 1) for one in ids]
        else:
            text = request.text
        try:
            return toy.encode(text)
        except KeyError as error:
            await context.abort(_INVALID, f"word {error} is unknown")
            raise
