"""A server on trial: the calls that promises make of it, and what was learnt on the way."""

import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final, TypeVar

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.dialing import IN_THE_CLEAR, Dialing
from harnessapi.rpc.options import channel_options
from harnessapi.rpc.targets import Target
from harnessapi.values import Mode

from harness.conformance.observed_stream import MAX_BYTES, ObservedStream, readable, status_text
from harness.conformance.verdicts import BrokenPromise, NotOffered

_Answer = TypeVar("_Answer")
# As GenerateRequest says of an option that is not set.
DEFAULT_MAX_NEW_TOKENS: Final = 256
# Tokens of a completion that is looked at whole.
NUM_TOKENS: Final = 12
# Of one that is to be stopped midway: more than any model writes within the wait.
MANY_TOKENS: Final = 2**31
# Events of a stream.
_MAX_NAMED: Final = 8


class Trial:
    """Belongs to one event loop; `doing` says what is waited for.

    What is learnt (`model`, `prompt`, `prompt_ids`) is set by the promises that learn it, before
    those that need them.
    """

    def __init__(self, target: Target, *, wait_s: float, dialing: Dialing = IN_THE_CLEAR) -> None:
        """`wait_s`: what one promise is given."""
        self.wait_s = wait_s
        self.doing = "an answer"
        self.model = pb.GetModelResponse()
        self.prompt = ""
        self.tokenized = pb.TokenizeResponse()
        self.prompt_ids: list[int] = []
        # A greedy completion of the prompt, of NUM_TOKENS tokens at most.
        self.plain = ObservedStream(request=pb.GenerateRequest())
        # One in which the model searched, by the mode.
        self.searched: dict[Mode, ObservedStream] = {}
        self.channel = dialing.aio_channel(target, _options(target))
        self.stub = inference_pb2_grpc.InferenceServiceStub(self.channel)

    async def close(self) -> None:
        """Cancels what is running."""
        await self.channel.close()

    async def call(self, name: str, answer: Awaitable[_Answer]) -> _Answer:
        """One answer of a method. Raises BrokenPromise for a status other than OK."""
        self.doing = name
        try:
            return readable(await answer, name)
        except grpc.aio.AioRpcError as error:
            raise ended(name, error) from None

    async def describe(self) -> pb.GetModelResponse:
        """GetModel."""
        return await self.call("GetModel", self.stub.GetModel(pb.GetModelRequest()))

    async def ask(self, request: pb.GenerateRequest, what: str = "Generate") -> ObservedStream:
        """The whole stream, however it ends. Raises BrokenPromise where it does not end."""
        self.doing = what
        observed = ObservedStream(request=request)
        async with self.stream(request) as events:
            try:
                async for event in events:
                    observed.add(event)
            except grpc.aio.AioRpcError as error:
                observed.error = error
        return observed

    async def complete(self, request: pb.GenerateRequest, what: str = "Generate") -> ObservedStream:
        """A stream with a proper beginning and end. Raises BrokenPromise for any other."""
        observed = await self.ask(request, what)
        if observed.error is not None:
            raise ended(what, observed.error)
        if observed.kinds[:1] != ["started"] or observed.kinds[-1] != "finished":
            kinds = ", ".join(observed.kinds[:_MAX_NAMED]) or "nothing"
            raise BrokenPromise(f"{what} was answered with {kinds}")
        return observed

    async def begin(self, request: pb.GenerateRequest, what: str = "Started") -> pb.Started:
        """The first event. Raises BrokenPromise where it is another.

        The rest is cancelled where it may be long: a promise of its own is that this does no harm.
        """
        self.doing = what
        if 0 < request.stopping.max_new_tokens <= NUM_TOKENS:
            return (await self.complete(request, what)).started
        async with self.stream(request) as events:
            try:
                first = await events.read()
            except grpc.aio.AioRpcError as error:
                raise ended(what, error) from None
        kind = None if first is grpc.aio.EOF else readable(first, what).WhichOneof("event")
        if kind != "started":
            raise BrokenPromise(f"{what}: the first event is {kind or 'nothing'}, not Started")
        started: pb.Started = first.started
        return started

    @contextlib.asynccontextmanager
    async def stream(
        self, request: pb.GenerateRequest, *, timeout_s: float | None = None
    ) -> AsyncIterator[Any]:
        """A stream to be read; it is cancelled at the end."""
        call = self.stub.Generate(request, timeout=timeout_s)
        try:
            yield call
        finally:
            call.cancel()

    @property
    def room(self) -> int:
        """Tokens that a completion of the prompt may have before the context is full."""
        if not self.model.HasField("context_limit"):
            return MANY_TOKENS
        return max(1, self.model.context_limit - len(self.prompt_ids))

    @property
    def max_top_log_probs(self) -> int:
        """As GetModel says. Raises NotOffered where it does not."""
        if not self.model.HasField("max_top_log_probs"):
            raise NotOffered("GetModel does not set max_top_log_probs")
        return self.model.max_top_log_probs

    def short(self, num_tokens: int = NUM_TOKENS, **options: Any) -> pb.GenerateRequest:
        """The prompt as text, and so many tokens of completion at most."""
        stopping = pb.StoppingOptions(max_new_tokens=min(num_tokens, self.room), **options)
        return pb.GenerateRequest(text=self.prompt, stopping=stopping)

    def long(self) -> pb.GenerateRequest:
        """As many tokens as the server gives."""
        stopping = pb.StoppingOptions(max_new_tokens=MANY_TOKENS, ignore_eos=True)
        return pb.GenerateRequest(text=self.prompt, stopping=stopping)


def ended(what: str, error: grpc.aio.AioRpcError) -> BrokenPromise:
    """For a call that ended with a status where it should have been answered."""
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return BrokenPromise(f"{what} is missing: {status_text(error)}")
    return BrokenPromise(f"{what} ended with {status_text(error)}")


def _options(target: Target) -> list[tuple[str, int]]:
    """A stranger's message is bounded; what we send is not: the server has to refuse it."""
    sizes = {"grpc.max_receive_message_length": MAX_BYTES, "grpc.max_send_message_length": -1}
    return list({**dict(channel_options(target)), **sizes}.items())
