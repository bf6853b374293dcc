"""Are our servers' greedy tokens transformers'? The table of docs/checkpoints.md.

Each type of tiny_models.TYPES, with small random weights, on a server started as a user would: one
prompt alone, then eight at once, 64 tokens each, against transformers' own `generate`:
`python -m benchmarks.hugging_face_types [TYPE ...] [--write docs/checkpoints.md]`.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import torch
import transformers
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.description import description_from_wire
from harnessapi.rpc.options import channel_options
from harnessapi.rpc.probe import why_not_serving
from harnessapi.rpc.targets import parse_target
from harnessapi.values import ModelDescription

from benchmarks.tiny_models import TYPES, greedy_tokens, write_checkpoint
from harness.fleet.process import ServerProcess

NUM_TOKENS = 64
NUM_AT_ONCE = 8
_MAX_START_S = 300
_PROBE_S = 5.0
_BEGIN, _END = "<!-- hugging_face_types begins -->\n", "<!-- hugging_face_types ends -->\n"


class ServerError(Exception):
    """A server did not start; the text is what it said last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One type: how many of the prompts were gone on with as transformers does."""

    model_type: str
    byte_fallback: bool
    model: ModelDescription
    num_alone: int
    num_together: int
    said: str

    @property
    def is_equal(self) -> bool:
        """All of them, alone and among neighbours."""
        return (self.num_alone, self.num_together) == (1, NUM_AT_ONCE)

    def row(self) -> str:
        """A line of the table."""
        cells = [
            f"`{self.model_type}`",
            "byte fallback" if self.byte_fallback else "byte level",
            self.model.engine,
            self.model.family,
            self.model.decoding,
            f"{self.num_alone} of 1",
            f"{self.num_together} of {NUM_AT_ONCE}",
            self.said,
        ]
        return f"| {' | '.join(cells)} |\n"


def prompts(vocabulary_size: int) -> list[list[int]]:
    """Of 2 to 65 tokens; the longest are longer than the sliding windows of these models."""
    return [
        [3 + (37 * row + 11 * k * k + 5 * k) % (vocabulary_size - 3) for k in range(2 + 9 * row)]
        for row in range(NUM_AT_ONCE)
    ]


def expected(folder: Path, asked: list[list[int]]) -> list[list[int]]:
    """What transformers writes, each prompt by itself."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return [greedy_tokens(model, ids, NUM_TOKENS) for ids in asked]


async def serve_and_compare(model_type: str, *, byte_fallback: bool) -> Compared:
    """Writes a checkpoint, serves it, asks. Raises ServerError."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, log = Path(scratch) / model_type, Path(scratch) / "log"
        write_checkpoint(model_type, folder, byte_fallback=byte_fallback)
        target = parse_target(f"unix:{scratch}/server.sock")
        arguments = ["harness_servers.command", str(folder), "--listen", target.name]
        server = ServerProcess(arguments, log=log)
        channel = grpc.aio.insecure_channel(target.name, options=channel_options(target))
        stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
        try:
            await await_health(channel, server)
            model = description_from_wire(await stub.GetModel(pb.GetModelRequest()))
            asked = prompts(model.vocabulary_size)
            right = expected(folder, asked)
            alone = [await _complete(stub, asked[-1])]
            together = await asyncio.gather(*[_complete(stub, ids) for ids in asked])
        finally:
            await channel.close()
            server.terminate()
            server.wait_stopped()
        return Compared(
            model_type=model_type,
            byte_fallback=byte_fallback,
            model=model,
            num_alone=sum(map(list.__eq__, alone, right[-1:])),
            num_together=sum(map(list.__eq__, together, right)),
            said="continued token by token" if "token by token" in log.read_text() else "",
        )


async def await_health(channel: grpc.aio.Channel, server: ServerProcess) -> None:
    """Until it serves. Raises ServerError."""
    end = time.monotonic() + _MAX_START_S
    while await why_not_serving(channel, timeout_s=_PROBE_S) is not None:
        if server.exit_status is not None or time.monotonic() > end:
            raise ServerError(server.log_tail())
        await asyncio.sleep(0.1)


async def _complete(stub: Any, ids: list[int]) -> list[int]:
    request = pb.GenerateRequest(
        token_ids=pb.TokenIds(ids=ids),
        sampling=pb.SamplingOptions(temperature=0.0),
        stopping=pb.StoppingOptions(max_new_tokens=NUM_TOKENS, ignore_eos=True),
    )
    return [
        token
        async for event in stub.Generate(request, timeout=_MAX_START_S)
        for token in event.delta.token_ids
    ]


def table(compared: list[Compared]) -> str:
    """As Markdown, with the versions that it holds for."""
    head = (
        "| model_type | tokenizer | served by | family | decoded | alone | among seven | |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    num_equal = sum(one.is_equal for one in compared)
    return (
        f"{num_equal} of {len(compared)} types as transformers {transformers.__version__} with "
        f"torch {torch.__version__}, on a CPU.\n\n{head}{''.join(one.row() for one in compared)}"
    )


def main() -> int:
    """Exit status 1 where a type is not as transformers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", metavar="TYPE", default=[*TYPES])
    parser.add_argument("--write", type=Path, help="a page with the two marks of this table")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    compared = []
    for model_type in options.types:
        # Every other type of the whole list, whichever are asked for.
        byte_fallback = [*TYPES].index(model_type) % 2 == 0
        found = asyncio.run(serve_and_compare(model_type, byte_fallback=byte_fallback))
        compared.append(found)
        sys.stdout.write(found.row())
        sys.stdout.flush()
    if options.write:
        before, _, rest = options.write.read_text().partition(_BEGIN)
        _, _, after = rest.partition(_END)
        options.write.write_text(f"{before}{_BEGIN}{table(compared)}{_END}{after}")
    return 0 if all(one.is_equal for one in compared) else 1


if __name__ == "__main__":
    sys.exit(main())
