"""`harness serve model`, also as `python -m harness_servers.command`."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import click
from harnessapi.cache_policy import CachePolicyError, parse_cache_policy
from harnessapi.devices import AUTO as ON_ANY
from harnessapi.devices import CPU, DEVICES, DeviceError
from harnessapi.observing.logs import say_listening
from harnessapi.observing.observing_options import ObservingChoice, observing_options
from harnessapi.programs import MissingExtraError, refusing, require_extra
from harnessapi.rpc.dialing import Dialing
from harnessapi.rpc.secret_files import SecurityError
from harnessapi.rpc.security_options import (
    SERVER_PREFIX,
    DialingChoice,
    ListeningChoice,
    dialing_options,
    listening_options,
)
from harnessapi.rpc.targets import TargetError, parse_target

from harness_retrieval.types import Retriever
from harness_servers.backends.hosting import AUTO, BACKENDS, Hosting
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import CheckpointError
from harness_servers.generation import MAX_NEW_TOKENS

_MAX_PROMPT_TOKENS: Final = 131_072
_SEARCH_TOKEN: Final = f"{SERVER_PREFIX}RETRIEVAL_TOKEN"
_POSITIVE: Final = click.IntRange(min=1)


def _whole_bytes(_: click.Context, __: click.Parameter, value: int | None) -> int | None:
    if value is not None and value % 8:
        raise click.BadParameter(f"{value} is not a multiple of 8.")
    return value


def _policy(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        if value is not None:
            parse_cache_policy(value)
    except CachePolicyError as error:
        raise click.BadParameter(f"{error}.") from error
    return value


@click.command("model", no_args_is_help=True)
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--listen",
    default="127.0.0.1:50051",
    show_default=True,
    metavar="ADDRESS",
    help="unix:/path or host:port.",
)
@click.option(
    "--backend",
    type=click.Choice([AUTO, *BACKENDS]),
    default=AUTO,
    help="What runs the model; its model_type decides by default (see docs/checkpoints.md).",
)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default=ON_ANY,
    show_default=True,
    help="What it computes on; auto: on a GPU where there is one and the backend takes it.",
)
@click.option("--retrieval", metavar="ADDRESS", help="A search service; in process without it.")
@click.option(
    "--slots",
    type=_POSITIVE,
    default=EngineOptions().num_slots,
    show_default=True,
    help="Sequences decoded at once.",
)
@click.option(
    "--max-prompt-tokens",
    type=_POSITIVE,
    default=_MAX_PROMPT_TOKENS,
    show_default=True,
    help="Longer ones are refused.",
)
@click.option(
    "--max-new-tokens",
    type=_POSITIVE,
    default=MAX_NEW_TOKENS,
    show_default=True,
    help="Of a completion; who asks for more gets so many.",
)
@click.option(
    "--threads",
    type=_POSITIVE,
    help="Of a step of the model.  [default: as many as a few steps at the start take least time "
    "with, on our own engine; else 1]",
)
@click.option(
    "--styles",
    metavar="STYLE,...",
    help="Prompt styles that the model reads.  [default: as its config.json or tokenizer says]",
)
@click.option(
    "--state-bits",
    type=click.IntRange(min=8),
    callback=_whole_bytes,
    help="All that a question finds of its context: so many bits, a multiple of 8, in the place of "
    "the whole state. For RNNs and SSMs on our own engine, without search.",
)
@click.option(
    "--cache-policy",
    metavar="POLICY",
    callback=_policy,
    help="Which tokens attention keeps: full; tova=64, where of 65 the one with the least of the "
    "newest token's attention is dropped; window=64, the last; window=64,full=1+3, where layers 1 "
    "and 3 (from 0) keep all. For llama, on our own engine.  [default: full]",
)
@click.option("--name", help="What GetModel calls it.  [default: the folder's name]")
@listening_options
@observing_options
@dialing_options("retrieval-", _SEARCH_TOKEN, "the search service")
@click.pass_context
def model_command(
    ctx: click.Context,
    /,
    *,
    checkpoint: Path,
    listen: str,
    backend: str,
    device: str,
    retrieval: str | None,
    slots: int,
    max_prompt_tokens: int,
    max_new_tokens: int,
    threads: int | None,
    styles: str | None,
    state_bits: int | None,
    cache_policy: str | None,
    name: str | None,
    listening: ListeningChoice,
    observing: ObservingChoice,
    dialing: DialingChoice,
) -> None:
    """Serve CHECKPOINT until Ctrl-C or SIGTERM.

    \b
      harness serve model checkpoints/rnn
      harness serve model checkpoints/rnn --listen unix:/run/rnn.sock
      harness serve model checkpoints/rnn --retrieval 127.0.0.1:50052
      harness serve model FOLDER --backend transformers --device cuda
      harness serve model checkpoints/rnn --state-bits 64
      harness serve model FOLDER --cache-policy tova=64
      harness serve model checkpoints/rnn --listen 0.0.0.0:50051 \\
        --tls-cert cert.pem --tls-key key.pem --token-file tokens

    Where other machines reach it, it needs TLS and a token, or --insecure (docs/trust.md).

    \b
    Exit status: 0 told to stop; 1 the engine died; 2 a wrong checkpoint, device or address.
    """
    with refusing(MissingExtraError, TargetError, CheckpointError, DeviceError, SecurityError):
        require_extra("servers", "serving a model")
        if retrieval is None:
            require_extra("retrieval", "searching in process")
        target = parse_target(listen)
        allowed = listening.listening(target)
        search = None
        if retrieval is not None:
            search = dialing.dialing(parse_target(retrieval), insecure=listening.insecure)
        # Torch comes with it: not for --help.
        from harness_servers.rpc.inference_server import host  # noqa: PLC0415

        hosting = Hosting(
            folder=checkpoint,
            backend=backend,
            device=device,
            retriever=lambda: _make_retriever(retrieval, search, device),
            slots=slots,
            max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_new_tokens,
            threads=threads,
            name=name,
            styles=None if styles is None else tuple(styles.split(",")),
            state_bits=state_bits,
            cache_policy=cache_policy,
        )
        with observing.observing() as observed:
            was_told_to_stop = host(
                replace(
                    hosting,
                    tells_counts=observed.metrics is not None,
                    log_format=observed.log_format,
                ),
                target,
                listening=allowed,
                observing=observed,
                ready=lambda bound: say_listening(bound, observed.log_format),
            )
    ctx.exit(0 if was_told_to_stop else 1)


def _make_retriever(address: str | None, dialing: Dialing | None, device: str) -> Retriever:
    # Each brings libraries that the other does not need.
    if address is None or dialing is None:
        from harness_retrieval.local import LocalRetriever  # noqa: PLC0415

        # A model's GPU is no reason for FAISS to have one; whoever wants the CPU wants it alone.
        return LocalRetriever(device=CPU if device == CPU else ON_ANY)
    from harness_retrieval.remote import RemoteRetriever  # noqa: PLC0415

    return RemoteRetriever(address, dialing=dialing)


if __name__ == "__main__":
    model_command()
