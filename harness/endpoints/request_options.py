"""What a request says besides its text: how tokens are drawn, and what its server wants to be told.

As keys of an endpoint in endpoints.toml, and for one run as `harness eval --request KEY=VALUE`.
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from harness.errors import InputError, unknown_name

# Capitals alone: a key that was put here by mistake is never taken for a name, and never shown.
VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# What such a header holds is secret, whoever sends it.
_SECRET_HEADER: Final = re.compile(r"auth|cookie|key|secret|token", re.IGNORECASE)
# A server of ours is told these; what else it has to know is in its own checkpoint.
OWN_KEYS: Final = ("temperature", "top_p", "sampling_seed", "system_prompt")
# These are the harness's business: others would break what it reads.
_RESERVED: Final = ("messages", "model", "n", "prompt", "stream")
# How a body is sent, and an answer read, is too.
_RESERVED_HEADERS: Final = ("connection", "content-length", "host", "transfer-encoding", "upgrade")


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestOptions:
    """None and empty: the default, which is greedy and the API's own names."""

    temperature: float | None = None
    top_p: float | None = None
    # What a server draws with; the k-th repeat of a sample draws with k more.
    sampling_seed: int | None = None
    # The first message of a conversation.
    system_prompt: str | None = None
    # How the server calls the limit of a completion: `max_completion_tokens`, say.
    token_limit: str | None = None
    # Parameters that are not sent.
    leave_out: tuple[str, ...] = ()
    # Put into every request as they are.
    extra_body: Mapping[str, Any] = field(default_factory=dict, hash=False)
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    # The environment variable that holds a header's value: the value is stored nowhere.
    headers_env: Mapping[str, str] = field(default_factory=dict, hash=False)

    def given(self) -> dict[str, Any]:
        """The options that are not their defaults, by name, as they are stored."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in values.items()
            if value not in (None, (), {})
        }

    def over(self, below: "RequestOptions") -> "RequestOptions":
        """These, and where they say nothing those below; tables are merged key by key."""
        own = self.given()
        for name, value in own.items():
            if isinstance(value, dict):
                own[name] = {**getattr(below, name), **value}
        return replace(below, **own)

    def secret_headers(self) -> dict[str, str]:
        """The headers that the environment holds. Raises InputError for a variable not set."""
        return {name: environment(variable) for name, variable in self.headers_env.items()}

    def seed(self, repeat: int) -> int | None:
        """What the `repeat`-th time of a sample is drawn with; None: nothing has to be said."""
        if self.sampling_seed is None and not repeat:
            return None
        return (self.sampling_seed or 0) + repeat


DEFAULT_REQUEST: Final = RequestOptions()


def environment(variable: str) -> str:
    """What an environment variable holds, for a header.

    Raises InputError where it is not set, or empty, or no header can hold it.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise InputError(f"the environment variable {variable} is not set")
    if not (value.isascii() and value.isprintable()):
        # Sent, it would be told of in clear.
        raise InputError(
            f"the environment variable {variable} holds a line break, or a character that no "
            "HTTP header can: it has to be one line of ASCII"
        )
    return value


def parse_request_options(table: Mapping[str, Any]) -> RequestOptions:
    """From the keys of a table that are options. Raises InputError naming key and value."""
    values = {name: _CHECKS[name](name, table[name]) for name in _CHECKS if name in table}
    return RequestOptions(**values)


def read_request_options(assignments: Iterable[str]) -> RequestOptions:
    """From KEY=VALUE as on the command line, each a line of TOML or its value a bare word.

    `extra_body.top_k=20` is a key of a table. Raises InputError.
    """
    table: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        name = key.strip().partition(".")[0]
        if not equals or not name:
            raise InputError(f"--request {assignment}: it has to be KEY=VALUE")
        if name not in KEYS:
            raise unknown_name("request option", name, KEYS)
        _merge(table, _read_assignment(assignment, key.strip(), value.strip()))
    return parse_request_options(table)


def _read_assignment(assignment: str, key: str, value: str) -> dict[str, Any]:
    for line in (f"{key} = {value}", f"{key} = {json.dumps(value)}"):
        try:
            return tomllib.loads(line)
        except (ValueError, RecursionError) as error:
            fault = error
    raise InputError(f"--request {assignment}: {fault}")


def _merge(table: dict[str, Any], other: Mapping[str, Any]) -> None:
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(table.get(name), dict):
            _merge(table[name], value)
        else:
            table[name] = value


def _number(low: float, high: float, what: str) -> Callable[[str, Any], float]:
    def check(name: str, value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            raise InputError(f"{name} = {value!r}: it has to be {what}")
        return float(value)

    return check


def _seed(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise InputError(f"{name} = {value!r}: it has to be a whole number from 0 to 2147483647")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{name} = {value!r}: it has to be a string")
    return value


def _parameter(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InputError(f"{name} = {value!r}: it has to be the name of a parameter")
    return value


def _limit(name: str, value: Any) -> str:
    limit = _parameter(name, value)
    if limit in _RESERVED:
        raise InputError(f"{name} = {value!r}: that is what a request has besides its limit")
    return limit


def _parameters(name: str, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(_parameter(name, each) for each in values)


def _json_table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{name} = {value!r}: it has to be a table")
    for key in value:
        if name == "extra_body" and key in _RESERVED:
            raise InputError(f"{name}.{key}: what is asked is the harness's business")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: it cannot be sent as JSON: {error}") from None
    return value


def _headers(name: str, value: Any) -> dict[str, str]:
    headers = _json_table(name, value)
    for header, content in headers.items():
        if not _HEADER.fullmatch(header):
            raise InputError(f"{name}: {header!r} is not the name of a header")
        if header.lower() in _RESERVED_HEADERS:
            raise InputError(f"{name}.{header}: how a request is sent is the harness's business")
        if name == "headers_env":
            if not isinstance(content, str) or not VARIABLE.fullmatch(content):
                raise InputError(
                    f"{name}.{header} has to name an environment variable, in capitals; "
                    "the value itself does not belong in the file"
                )
        elif _SECRET_HEADER.search(header):
            # Its value is not shown.
            raise InputError(
                f"headers.{header} may hold a secret, and runs are stored with their options: "
                "name the environment variable that holds it under headers_env"
            )
        elif not isinstance(content, str) or not content.isprintable() or not content.isascii():
            raise InputError(f"{name}.{header} has to be a line of plain text")
    return headers


_CHECKS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "temperature": _number(0, 100, "a number from 0 to 100"),
    "top_p": _number(1e-9, 1, "a number over 0, at most 1"),
    "sampling_seed": _seed,
    "system_prompt": _text,
    "token_limit": _limit,
    "leave_out": _parameters,
    "extra_body": _json_table,
    "chat_template_kwargs": _json_table,
    "headers": _headers,
    "headers_env": _headers,
}
KEYS: Final = tuple(_CHECKS)
