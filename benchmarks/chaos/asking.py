"""What is asked of the servers, what became of it, and a question whose answer may not change."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc as pb_grpc
from harnessapi.retrieval.v1 import retrieval_pb2 as search
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as search_grpc
from harnessapi.rpc.options import channel_options
from harnessapi.rpc.targets import parse_target
from harnessapi.values import Mode

from benchmarks.chaos.campaign import Check
from benchmarks.chaos.servers import START_S
from benchmarks.serving import until_serving
from harness.sample import Split
from harness.tasks.assoc_recall import AssocRecall
from harness.tasks.prompts import render
from harness.way import Prompting, Way

# What a server says where it is its own fault.
_BLAMED: Final = ("INTERNAL", "UNKNOWN", "DATA_LOSS")
# Ours: the call ended because we ended it.
CANCELLED: Final = "CANCELLED"


class Asked:
    """Counts how calls ended."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._blamed: list[str] = []

    @property
    def number(self) -> int:
        """Calls that have ended."""
        return self.codes.total()

    async def ask(self, answer: Awaitable[Any], what: str = "") -> None:
        """Awaits it; `what`: it is called so where the server is to blame."""
        began_s = time.perf_counter()
        try:
            await answer
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            if code in _BLAMED:
                self._blamed.append(f"{what} {code}: {error.details()}")
        except asyncio.CancelledError:
            # A call that we cancelled, not the task.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            code = CANCELLED
        self.codes[code] += 1
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began_s)

    def check(self) -> Check:
        """No call ended with a status that says that the server is at fault."""
        codes = ", ".join(f"{number:,} {code}" for code, number in self.codes.most_common())
        blamed = f"; first: {self._blamed[0][:300]}" if self._blamed else ""
        return Check(
            what="no call ends as INTERNAL, UNKNOWN or DATA_LOSS",
            is_kept=not self._blamed and self.number > 0,
            figures=f"{self.number:,} calls: {codes}{blamed}",
        )


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel as our client has it, to a server that is there."""
    options = channel_options(parse_target(address))
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        await asyncio.wait_for(until_serving(channel), START_S)
        yield channel


def searching_request(index: int, *, size: int = 16, mode: Mode = Mode.DENSE) -> pb.GenerateRequest:
    """A question that our checkpoints search for."""
    task = AssocRecall(size=size)
    sample = task.sample(Split.TEST, 0, index)
    text = render(task, sample, Way(prompting=Prompting.SEARCH, retrieval=mode))
    request = pb.GenerateRequest(text=text, stopping=pb.StoppingOptions(max_new_tokens=32))
    dense, regex = search.RETRIEVAL_MODE_DENSE, search.RETRIEVAL_MODE_REGEX
    request.retrieval.mode = dense if mode is Mode.DENSE else regex
    return request


async def written(channel: grpc.aio.Channel, request: pb.GenerateRequest) -> str:
    """All text of a completion, inserted text too. Raises RuntimeError where it has no end."""
    text, is_finished = "", False
    call: Any = pb_grpc.InferenceServiceStub(channel).Generate(request)
    async for response in call:
        text += response.delta.text
        is_finished = response.WhichOneof("event") == "finished"
    if not is_finished:
        raise RuntimeError("a stream ended without Finished")
    return text


async def found(channel: grpc.aio.Channel) -> str:
    """What the search service finds in one context, by both kinds of search."""
    stub = search_grpc.RetrievalServiceStub(channel)
    text = "bab dok ; fem gik ; gog lun"
    await stub.OpenContext(search.OpenContextRequest(context_id="reference", text=text))
    request = search.SearchContextsRequest()
    for mode, query in (
        (search.RETRIEVAL_MODE_REGEX, r"fem (\S+)"),
        (search.RETRIEVAL_MODE_DENSE, "gog"),
    ):
        request.queries.add(
            context_id="reference",
            offset=len(text),
            mode=mode,
            query=query,
            passage_separator=" ; ",
        )
    results = (await stub.SearchContexts(request)).results
    await stub.CloseContexts(search.CloseContextsRequest(context_ids=["reference"]))
    return " | ".join(result.text for result in results)


def same_answer(before: str, after: str) -> Check:
    """Of a question that was asked before all this and after it."""
    return Check(
        what="a good question is answered as before",
        is_kept=bool(before) and before == after,
        figures=repr(after) if before == after else f"{before!r}, then {after!r}",
    )
