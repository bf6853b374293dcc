"""The gRPC services of vLLM and SGLang as they are published: how each of them is asked.

Both are given token ids and stream token ids, in fields of the same names; what differs is here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from smg_grpc_proto import (
    sglang_scheduler_pb2,
    sglang_scheduler_pb2_grpc,
    vllm_engine_pb2,
    vllm_engine_pb2_grpc,
)

from harness.endpoints.engines import EngineProtocol

# A seed has room for less.
_SEEDS: Final = 2**31


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnRequest:
    """One turn: what the model goes on from, and how. None: not said."""

    request_id: str
    token_ids: tuple[int, ...]
    max_new_tokens: int
    stops: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float | None = None
    seed: int | None = None
    # Whether special tokens are text in which stop strings are looked for.
    shows_specials: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineService:
    """One of the two; `messages` is its generated module."""

    # As users know the program, and as gRPC knows the service.
    title: str
    name: str
    messages: Any
    make_stub: Callable[[Any], Any]
    generate: Callable[[TurnRequest], Any]
    abort: Callable[[str], Any]


def _generate_vllm(asked: TurnRequest) -> Any:
    # A field that is not said is 0: top_p, top_k and penalties of 0 are vLLM's for "none".
    sampling = vllm_engine_pb2.SamplingParams(
        temperature=asked.temperature,
        top_p=asked.top_p or 1.0,
        max_tokens=asked.max_new_tokens,
        stop=asked.stops,
        skip_special_tokens=not asked.shows_specials,
        spaces_between_special_tokens=True,
        n=1,
        seed=None if asked.seed is None else asked.seed % _SEEDS,
    )
    return vllm_engine_pb2.GenerateRequest(
        request_id=asked.request_id,
        tokenized=vllm_engine_pb2.TokenizedInput(input_ids=asked.token_ids),
        sampling_params=sampling,
        stream=True,
    )


def _generate_sglang(asked: TurnRequest) -> Any:
    # Here a field that is not said is a 0 that counts.
    sampling = sglang_scheduler_pb2.SamplingParams(
        temperature=asked.temperature,
        top_p=asked.top_p or 1.0,
        top_k=-1,
        repetition_penalty=1.0,
        max_new_tokens=asked.max_new_tokens,
        stop=asked.stops,
        skip_special_tokens=not asked.shows_specials,
        spaces_between_special_tokens=True,
        n=1,
    )
    return sglang_scheduler_pb2.GenerateRequest(
        request_id=asked.request_id,
        tokenized=sglang_scheduler_pb2.TokenizedInput(input_ids=asked.token_ids),
        sampling_params=sampling,
        stream=True,
    )


SERVICES: Final[Mapping[EngineProtocol, EngineService]] = {
    EngineProtocol.VLLM: EngineService(
        title="vLLM",
        name="vllm.grpc.engine.VllmEngine",
        messages=vllm_engine_pb2,
        make_stub=vllm_engine_pb2_grpc.VllmEngineStub,
        generate=_generate_vllm,
        abort=lambda request_id: vllm_engine_pb2.AbortRequest(request_ids=[request_id]),
    ),
    EngineProtocol.SGLANG: EngineService(
        title="SGLang",
        name="sglang.grpc.scheduler.SglangScheduler",
        messages=sglang_scheduler_pb2,
        make_stub=sglang_scheduler_pb2_grpc.SglangSchedulerStub,
        generate=_generate_sglang,
        abort=lambda request_id: sglang_scheduler_pb2.AbortRequest(
            request_id=request_id, reason="the client has all it wants"
        ),
    ),
}
