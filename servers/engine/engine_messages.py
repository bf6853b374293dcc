"""What an engine's process says to the one in front of it, which says nothing but commands."""

from collections.abc import Sequence
from typing import Final

import msgspec
from harnessapi.values import ModelDescription

from harness_servers.checkpoints.checkpoint_config import CheckpointConfig
from harness_servers.token_source import Command, News


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The first word, where all is well: this is served, and what its tokens mean."""

    description: ModelDescription
    config: CheckpointConfig


class NotLoaded(msgspec.Struct, frozen=True, tag=True):
    """The first and last word: why the checkpoint cannot be served, see CheckpointError."""

    reason: str


class Warm(msgspec.Struct, frozen=True, tag=True):
    """The first tokens take no longer than all others."""


class Told(msgspec.Struct, frozen=True, tag=True):
    """Of sequences."""

    news: News


class Died(msgspec.Struct, frozen=True, tag=True):
    """The last word, where there is time for one."""

    reason: str


EngineMessage = Loaded | NotLoaded | Warm | Told | Died

encode: Final = msgspec.msgpack.Encoder().encode
decode_message: Final = msgspec.msgpack.Decoder(EngineMessage).decode
decode_commands: Final = msgspec.msgpack.Decoder(Sequence[Command]).decode
