"""The gRPC services of vLLM and SGLang without an engine: published stubs, scripted tokens, faults.

`python -m harness.fakes.fake_engine FOLDER --protocol vllm --address unix:/PATH` does assoc_recall
with the tokenizer of the folder, until it is told to stop.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from harnessapi.rpc.options import SERVER_OPTIONS
from harnessapi.rpc.targets import bind, parse_target
from smg_grpc_proto import (
    sglang_scheduler_pb2,
    sglang_scheduler_pb2_grpc,
    vllm_engine_pb2,
    vllm_engine_pb2_grpc,
)

from harness.clients.engines.prompt_tokens import PromptTokens
from harness.endpoints.engines import EngineProtocol
from harness.fakes.fake_openai import solve


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineReply:
    """What is streamed for one request: a chunk for each tuple of ids."""

    chunks: tuple[tuple[int, ...], ...] = ()
    # None: the stream ends without saying why.
    finish_reason: str | None = "stop"
    # The ids come whole, where the reason is.
    is_whole: bool = False
    # Ends the call, after the chunks.
    status: grpc.StatusCode | None = None
    detail: str = ""
    # After the chunks nothing more comes, until the client hangs up.
    is_hung: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineFacts:
    """What it says of its model and itself; `lacks` names RPCs that it does not know."""

    vocab_size: int = 0
    eos_token_ids: tuple[int, ...] = ()
    max_context_length: int = 4096
    is_generation: bool = True
    is_healthy: bool = True
    lacks: frozenset[str] = frozenset()


# Gives the reply to the n-th Generate call, from 1.
EngineScript = Callable[[Any, int], EngineReply]
_NAME: Final = "far-model"


class _Calls:
    """The calls of both services, whose messages have the same fields."""

    def __init__(self, pb: Any, script: EngineScript, facts: EngineFacts) -> None:
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.aborted: list[str] = []
        # Set once a client hung up on a Generate call.
        self.was_left = asyncio.Event()
        self._pb = pb
        self._script = script
        self.facts = facts

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The script's reply."""
        await self._begin("Generate", context)
        self.requests.append(request)
        reply = self._script(request, len(self.requests))
        num_prompt = len(request.tokenized.input_ids)
        for ids in reply.chunks:
            if not reply.is_whole:
                chunk = self._pb.GenerateStreamChunk(token_ids=ids, prompt_tokens=num_prompt)
                yield self._pb.GenerateResponse(chunk=chunk)
        if reply.is_hung:
            try:
                await asyncio.Event().wait()
            finally:
                self.was_left.set()
        if reply.status is not None:
            await context.abort(reply.status, reply.detail)
        if reply.finish_reason is not None:
            # Both repeat the last ids there, or give all where they do not stream.
            last = reply.chunks[-1] if reply.chunks else ()
            ids = tuple(sum(reply.chunks, ())) if reply.is_whole else last
            end = self._pb.GenerateComplete(
                output_ids=ids, finish_reason=reply.finish_reason, prompt_tokens=num_prompt
            )
            yield self._pb.GenerateResponse(complete=end)

    async def HealthCheck(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """As the facts say."""
        await self._begin("HealthCheck", context)
        is_healthy = self.facts.is_healthy
        message = "" if is_healthy else "Engine is not alive"
        return self._pb.HealthCheckResponse(healthy=is_healthy, message=message)

    async def GetModelInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """As the facts say."""
        await self._begin("GetModelInfo", context)
        return self._pb.GetModelInfoResponse(
            served_model_name=_NAME,
            is_generation=self.facts.is_generation,
            vocab_size=self.facts.vocab_size,
            eos_token_ids=self.facts.eos_token_ids,
            max_context_length=self.facts.max_context_length,
        )

    async def Abort(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Keeps whose request it was."""
        await self._begin("Abort", context)
        several = getattr(request, "request_ids", None)
        self.aborted += [request.request_id] if several is None else several
        return self._pb.AbortResponse()

    async def _begin(self, rpc: str, context: Any) -> None:
        self.metadata.append({str(key): value for key, value in context.invocation_metadata()})
        if rpc in self.facts.lacks:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")


class _VllmCalls(_Calls, vllm_engine_pb2_grpc.VllmEngineServicer):  # type: ignore[misc]
    pass


class _SglangCalls(_Calls, sglang_scheduler_pb2_grpc.SglangSchedulerServicer):  # type: ignore[misc]
    pass


class FakeEngine:
    """Use as an async context; `calls` keeps what was asked."""

    def __init__(
        self,
        protocol: EngineProtocol,
        script: EngineScript,
        facts: EngineFacts | None = None,
        *,
        address: str = "127.0.0.1:0",
    ) -> None:
        is_vllm = protocol is EngineProtocol.VLLM
        kind = _VllmCalls if is_vllm else _SglangCalls
        messages = vllm_engine_pb2 if is_vllm else sglang_scheduler_pb2
        self.calls = kind(messages, script, facts or EngineFacts())
        self.address = address
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        if is_vllm:
            vllm_engine_pb2_grpc.add_VllmEngineServicer_to_server(self.calls, self._server)
        else:
            add = sglang_scheduler_pb2_grpc.add_SglangSchedulerServicer_to_server
            add(self.calls, self._server)

    async def __aenter__(self) -> "FakeEngine":
        self.address = str(bind(self._server, parse_target(self.address)))
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)


def solving(tokens: PromptTokens) -> EngineScript:
    """Does assoc_recall in plain language, as the fake of OpenAI's API does."""

    def reply(request: Any, number: int) -> EngineReply:
        stream = tokens.stream(())
        prompt = stream.read(request.tokenized.input_ids) + stream.flush()
        asked = {"prompt": prompt, "stop": list(request.sampling_params.stop)}
        texts = solve(asked, number).texts
        return EngineReply(chunks=tuple(tokens.encode(text) for text in texts if text))

    return reply


async def _serve(folder: Path, protocol: EngineProtocol, address: str) -> None:
    tokens = PromptTokens(folder, shows_specials=False)
    facts = EngineFacts(vocab_size=tokens.vocabulary_size)
    async with FakeEngine(protocol, solving(tokens), facts, address=address):
        await asyncio.Event().wait()


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--protocol", type=EngineProtocol, default=EngineProtocol.VLLM)
    parser.add_argument("--address", required=True)
    options = parser.parse_args()
    asyncio.run(_serve(options.folder, options.protocol, options.address))


if __name__ == "__main__":
    main()
