"""The log of a server: lines of text, or one JSON object a line, with the id of the call.

What clients send or get is in no line: neither a prompt, nor a query, nor a token.
"""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import click

from harnessapi.rpc.calls import CallEnd, current_request_id
from harnessapi.rpc.targets import Target

_TEXT: Final = "%(levelname)s %(name)s: %(message)s"
# The attribute of a record that holds what a line says besides its message.
_FIELDS: Final = "fields"
_calls: Final = logging.getLogger("harness.calls")


class LogFormat(StrEnum):
    """How lines are written."""

    TEXT = "text"
    JSON = "json"


class JsonFormatter(logging.Formatter):
    """time (UTC), level, logger, message, request_id where a call is answered, error; more."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id():
            line["request_id"] = request_id
        line |= getattr(record, _FIELDS, {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up_logging(log_format: LogFormat) -> None:
    """Of this process, which is a server's; in JSON its calls are told too."""
    if log_format is LogFormat.TEXT:
        logging.basicConfig(level=logging.WARNING, format=_TEXT)
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("harness").setLevel(logging.INFO)


def say_listening(target: Target, log_format: LogFormat) -> None:
    """The server is up: the first line of its log."""
    if log_format is LogFormat.JSON:
        log_fields("listening", address=target.name)
    else:
        click.echo(f"listening on {target}", err=True)


def log_calls() -> Callable[[CallEnd], None]:
    """What is to be told of every call."""

    def ended(end: CallEnd) -> None:
        log_fields(
            "call",
            method=end.method,
            code=end.code.name,
            ms=round(end.seconds * 1e3, 3),
            request_id=end.request_id,
        )

    return ended


def log_fields(message: str, **fields: object) -> None:
    """A line of INFO: where lines are text, it is not written."""
    _calls.info(message, extra={_FIELDS: fields})
