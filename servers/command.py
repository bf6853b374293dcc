"""Serves one checkpoint: `python -m harness_servers.command CHECKPOINT --listen ADDRESS`."""

import argparse
import asyncio
import gc
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from harness_retrieval.addresses import AddressError, bind, parse_address
from harness_retrieval.types import Retriever
from harness_servers.backends.backend import Backend
from harness_servers.backends.hosting import AUTO, BACKENDS, Hosting, choose_backend, make_backend
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import CheckpointError, MissingExtraError
from harness_servers.process.allocator import keep_freed_memory
from harness_servers.process.orphans import end_with_parent
from harness_servers.rpc.inference_server import InferenceServer

DEFAULT_MAX_PROMPT_TOKENS: Final = 131_072
# Two threads on two cores in use wait for each other: a step of 64 LSTM sequences of width 192 took
# 1.8 ms with one, 3.4 ms at best with two. The other core carries the messages.
DEFAULT_THREADS: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """The command line."""

    checkpoint: Path
    listen: str
    backend: str
    retrieval: str | None
    slots: int
    max_prompt_tokens: int
    threads: int
    name: str | None


def main(arguments: list[str] | None = None) -> int:
    """Serves until it is told to stop. Exit status: see --help."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    try:
        backend = _make_backend(options)
        was_told_to_stop = asyncio.run(_serve(options, backend))
    except (CheckpointError, MissingExtraError, AddressError) as error:
        _say(f"error: {error}")
        return 2
    return 0 if was_told_to_stop else 1


def _make_backend(options: ServeOptions) -> Backend:
    name = choose_backend(options.checkpoint) if options.backend == AUTO else options.backend
    return make_backend(
        name,
        Hosting(
            folder=options.checkpoint,
            retriever=lambda: _make_retriever(options.retrieval),
            slots=options.slots,
            max_prompt_tokens=options.max_prompt_tokens,
            threads=options.threads,
            name=options.name,
        ),
    )


async def _serve(options: ServeOptions, backend: Backend) -> bool:
    server = InferenceServer(backend)
    address = bind(server.grpc_server, parse_address(options.listen))
    # What start-up made stays: without this a full collection would look at all of it again.
    gc.collect()
    gc.freeze()
    return await server.run(on_serving=lambda: _say(f"listening on {address}"))


def _make_retriever(address: str | None) -> Retriever:
    # Each brings libraries that the other does not need.
    if address is None:
        from harness_retrieval.local import LocalRetriever  # noqa: PLC0415

        return LocalRetriever()
    from harness_retrieval.remote import RemoteRetriever  # noqa: PLC0415

    return RemoteRetriever(address)


def _parse(arguments: list[str] | None) -> ServeOptions:
    parser = argparse.ArgumentParser(
        prog="harness_servers.command",
        description="Serves one checkpoint over gRPC.",
        epilog="Exit status: 0 told to stop; 1 the engine died; 2 a wrong checkpoint or address.",
    )
    parser.add_argument("checkpoint", type=Path, help="folder with config, weights, tokenizer")
    parser.add_argument("--listen", required=True, metavar="ADDRESS", help="unix:/path, host:port")
    parser.add_argument(
        "--backend",
        choices=[AUTO, *BACKENDS],
        default=AUTO,
        help="what runs the model; by default its model_type decides",
    )
    parser.add_argument(
        "--retrieval", metavar="ADDRESS", help="a retrieval service; searches in process by default"
    )
    parser.add_argument(
        "--slots", type=_positive, default=EngineOptions().num_slots, help="decoded at once"
    )
    parser.add_argument("--max-prompt-tokens", type=_positive, default=DEFAULT_MAX_PROMPT_TOKENS)
    parser.add_argument(
        "--threads", type=_positive, default=DEFAULT_THREADS, help="of one tensor operation"
    )
    parser.add_argument("--name", help="name of the model; by default that of the folder")
    return ServeOptions(**vars(parser.parse_args(arguments)))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
if __name__ == "__mp_main__":
    # This is one of the processes of vLLM's engine, which would outlive a server that was killed.
    end_with_parent()
