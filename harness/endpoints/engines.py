"""The part of endpoints.toml about gRPC servers of others, which take and give token ids."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from harness.endpoints.external import Api, choice_of, parse_api, text_of
from harness.endpoints.request_options import RequestOptions
from harness.errors import InputError
from harness.way import Style

KEYS: Final = ("protocol", "tokenizer")
# Those of web addresses that mean the same here.
SHARED_KEYS: Final = ("api", "family", "style")
# What such a server can be told; headers go along as metadata.
REQUEST_KEYS: Final = (
    "temperature",
    "top_p",
    "sampling_seed",
    "system_prompt",
    "headers",
    "headers_env",
)


# What gRPC keeps for itself begins with grpc-, and for bytes ends in -bin.
_METADATA: Final = re.compile(r"(?!grpc-)[a-z0-9_.-]+(?<!-bin)")


class EngineProtocol(StrEnum):
    """Whose gRPC service is spoken."""

    VLLM = "vllm"
    SGLANG = "sglang"


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineServer:
    """How vLLM's or SGLang's own gRPC server is asked."""

    protocol: EngineProtocol
    # The folder of its model's tokenizer.json, as the file has it.
    tokenizer: str
    # None: with messages where the folder has a chat template.
    api: Api | None = None
    # Shown as given.
    family: str = "external"
    # What its model reads: natural, unless it is one of our checkpoints.
    style: Style = Style.NATURAL


def parse_engine(table: Mapping[str, Any]) -> EngineServer:
    """From the table of an endpoint that has a protocol. Raises InputError naming what is wrong."""
    protocol = EngineProtocol(choice_of(table, "protocol", EngineProtocol) or "")
    tokenizer = text_of(table, "tokenizer")
    if tokenizer is None:
        raise InputError(
            f'protocol = "{protocol}" needs tokenizer = "FOLDER", with the tokenizer.json of its '
            "model in it: the server is given token ids"
        )
    api = parse_api(table)
    style = Style(choice_of(table, "style", Style) or Style.NATURAL)
    if style is Style.SYMBOLIC and api is not None and api.is_chat:
        raise InputError('style = "symbolic" needs api = "completions": it has no messages')
    return EngineServer(
        protocol=protocol,
        tokenizer=tokenizer,
        api=Api.COMPLETIONS if style is Style.SYMBOLIC else api,
        family=text_of(table, "family") or "external",
        style=style,
    )


def refuse_engine_keys(table: Mapping[str, Any], reason: str) -> None:
    """Raises InputError where a table has keys of such a server, and is of another."""
    for key in KEYS:
        if key in table:
            raise InputError(f"{key} {reason}")


def check_engine_request(options: RequestOptions, engine: EngineServer) -> None:
    """Raises InputError for what the server cannot be told."""
    for name in options.given():
        if name not in REQUEST_KEYS:
            raise InputError(f"{name} needs an address that begins with http:// or https://")
    for name in (*options.headers, *options.headers_env):
        if not _METADATA.fullmatch(name.lower()):
            raise InputError(f"headers: {name} cannot be the name of gRPC metadata")
    if options.sampling_seed is not None and engine.protocol is EngineProtocol.SGLANG:
        raise InputError("sampling_seed: SGLang's gRPC requests have no seed")
    if options.system_prompt is not None and engine.api is Api.COMPLETIONS:
        raise InputError('system_prompt needs api = "chat": completions have no messages')
