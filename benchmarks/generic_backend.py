"""`--backend transformers` against transformers' own batched `generate`, at so many sequences.

A server started as a user would, through gRPC, and `generate` in this process on the same prompts,
padded on the left; greedy, 1 thread each, in alternation, medians:
`python -m benchmarks.generic_backend [--sequences 16] [--json]`.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import torch
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.options import channel_options
from harnessapi.rpc.targets import parse_target

from benchmarks.hugging_face_types import await_health
from benchmarks.peers import Transformers
from benchmarks.tiny_models import write_checkpoint
from harness.fleet.process import ServerProcess

_WIDE: Final = {
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
_SHAPES: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("llama", "small"): {**_WIDE, "num_hidden_layers": 6},
    ("llama", "tiny"): {},
    ("falcon_mamba", "small"): {"hidden_size": 384, "num_hidden_layers": 6, "state_size": 16},
    ("falcon_mamba", "tiny"): {},
}
_PROMPT_TOKENS: Final = 64
_TIMEOUT_S: Final = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model and kind of prompts: tokens per second of both, medians over the rounds."""

    model_type: str
    size: str
    lengths: str
    ours: float
    theirs: float
    # The median over the rounds, in each of which both were measured.
    ratio: float


def prompts(num_sequences: int, lengths: str, round_number: int) -> list[list[int]]:
    """Of one length, or of half that to all of it."""
    return [
        [3 + (37 * row + 11 * k * k + 5 * k + 13 * round_number) % 250 for k in range(length)]
        for row in range(num_sequences)
        for length in [_PROMPT_TOKENS - (lengths == "different") * (row % 32)]
    ]


async def measure(model_type: str, size: str, lengths: str, options: argparse.Namespace) -> Row:
    """After one round that is not counted."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / model_type
        write_checkpoint(model_type, folder, byte_fallback=False, **_SHAPES[model_type, size])
        target = parse_target(f"unix:{scratch}/server.sock")
        arguments = ["harness_servers.command", str(folder), "--listen", target.name]
        arguments += ["--backend", "transformers", "--slots", str(options.sequences)]
        server = ServerProcess(arguments, log=Path(scratch) / "log")
        channel = grpc.aio.insecure_channel(target.name, options=channel_options(target))
        theirs = Transformers(folder, threads=1)
        rates: list[tuple[float, float]] = []
        try:
            await await_health(channel, server)
            for number in range(options.rounds + 1):
                asked = prompts(options.sequences, lengths, number)
                seconds = await _seconds(channel, asked, options.tokens)
                measured = theirs.run(asked, options.tokens)
                num_tokens = options.tokens * options.sequences
                rates.append((num_tokens / seconds, measured.num_tokens / measured.seconds))
        finally:
            await channel.close()
            server.terminate()
            server.wait_stopped()
    counted = rates[1:]
    return Row(
        model_type=model_type,
        size=size,
        lengths=lengths,
        ours=statistics.median(ours for ours, _ in counted),
        theirs=statistics.median(peer for _, peer in counted),
        ratio=statistics.median(ours / peer for ours, peer in counted),
    )


async def _seconds(channel: grpc.aio.Channel, asked: list[list[int]], num_tokens: int) -> float:
    """What all prompts at once take, to their ends."""
    stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
    began = time.perf_counter()
    ends = await asyncio.gather(*[_complete(stub, ids, num_tokens) for ids in asked])
    seconds = time.perf_counter() - began
    if {*ends} != {num_tokens}:
        raise RuntimeError(f"{num_tokens} tokens were asked for, {ends} came")
    return seconds


async def _complete(stub: Any, ids: list[int], num_tokens: int) -> int:
    request = pb.GenerateRequest(
        token_ids=pb.TokenIds(ids=ids),
        sampling=pb.SamplingOptions(temperature=0.0),
        stopping=pb.StoppingOptions(max_new_tokens=num_tokens, ignore_eos=True),
    )
    stream = stub.Generate(request, timeout=_TIMEOUT_S)
    return sum([len(event.delta.token_ids) async for event in stream])


def main() -> int:
    """Prints a row for each, or one JSON object each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--type", choices=sorted({kind for kind, _ in _SHAPES}))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for model_type, size in _SHAPES:
        if options.type not in (None, model_type):
            continue
        for lengths in ("equal", "different"):
            row = asyncio.run(measure(model_type, size, lengths, options))
            text = (
                f"{model_type:14} {size:6} {lengths:10} {row.ours:8.0f} {row.theirs:8.0f} tokens/s"
            )
            print(json.dumps(asdict(row)) if options.json else f"{text} {row.ratio:6.2f}")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
