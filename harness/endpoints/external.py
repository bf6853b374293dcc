"""The part of endpoints.toml about servers of others: OpenAI-compatible, over HTTP."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from harness.endpoints.request_options import VARIABLE, environment
from harness.errors import InputError, unknown_name
from harness.way import Style

KEYS: Final = ("model", "api", "api_key_env", "api_key_header", "family", "style")
_SCHEMES: Final = ("http://", "https://")
_AUTHORIZATION: Final = "Authorization"
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_NO_HOST: Final = re.compile(r"""[\s<>"'{}|\\^`]""")
# Of the query of an address: Azure's api-version is none of them.
_SECRET_NAME: Final = re.compile(r"key|token|secret|sig|password|auth", re.IGNORECASE)


class Api(StrEnum):
    """How written language is given: as messages to and fro, or as a text that is gone on with."""

    # A conversation: the worked problems are its earlier turns, the last message asks.
    TURNS = "turns"
    # The whole prompt as one message.
    CHAT = "chat"
    COMPLETIONS = "completions"

    @property
    def is_chat(self) -> bool:
        """With messages."""
        return self is not Api.COMPLETIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class External:
    """How an OpenAI-compatible server is asked. The key itself is in the environment alone."""

    model: str
    api: Api = Api.TURNS
    api_key_env: str | None = None
    # Where the key goes: Bearer in Authorization, or alone in another header (Azure: api-key).
    api_key_header: str = _AUTHORIZATION
    # Shown as given.
    family: str = "external"
    # What its model reads: natural, unless it is one of our checkpoints.
    style: Style = Style.NATURAL

    def api_key(self) -> str | None:
        """None where no key is needed. Raises InputError where the variable is not set."""
        if self.api_key_env is None:
            return None
        try:
            return environment(self.api_key_env)
        except InputError as error:
            raise InputError(f"{error} (api_key_env)") from None

    def key_headers(self) -> dict[str, str]:
        """The header with the key; none where no key is needed. Raises InputError."""
        key = self.api_key()
        if key is None:
            return {}
        is_bearer = self.api_key_header.lower() == _AUTHORIZATION.lower()
        return {self.api_key_header: f"Bearer {key}" if is_bearer else key}


def is_web_address(address: str) -> bool:
    """Whether it is spoken to over HTTP."""
    return address.startswith(_SCHEMES)


def parse_external(table: Mapping[str, Any]) -> External:
    """From the table of an endpoint with a web address. Raises InputError naming what is wrong."""
    check_address(table["address"])
    model = text_of(table, "model")
    if model is None:
        raise InputError('needs model = "NAME" beside its web address')
    variable = text_of(table, "api_key_env")
    if variable is not None and not VARIABLE.fullmatch(variable):
        raise InputError(
            "api_key_env has to name an environment variable, in capitals; "
            "the key itself does not belong in the file"
        )
    header = text_of(table, "api_key_header") or _AUTHORIZATION
    if not _HEADER.fullmatch(header):
        raise InputError("api_key_header has to be the name of a header")
    api = parse_api(table) or Api.TURNS
    style = Style(choice_of(table, "style", Style) or Style.NATURAL)
    if style is Style.SYMBOLIC and api.is_chat:
        raise InputError('style = "symbolic" needs api = "completions": it has no messages')
    family = text_of(table, "family") or "external"
    return External(
        model=model,
        api=api,
        api_key_env=variable,
        api_key_header=header,
        family=family,
        style=style,
    )


def chosen_api(api: Api | None, *, has_chat_template: bool) -> Api:
    """How a model of ours is asked in written language, where `api` is what endpoints.toml says."""
    return api or (Api.TURNS if has_chat_template else Api.COMPLETIONS)


def parse_api(table: Mapping[str, Any]) -> Api | None:
    """Which of the two ways an endpoint is asked; None where the table does not say.

    Raises InputError for another word.
    """
    value = choice_of(table, "api", Api)
    return None if value is None else Api(value)


def check_address(address: str) -> None:
    """Raises InputError for a web address that cannot be asked, or holds a key."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        raise InputError(f"address {address!r}: {error}") from None
    # What stands in the address is stored with every run.
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if parts.username or parts.password or any(map(_SECRET_NAME.search, names)):
        raise InputError("address: a key in it is not taken; see api_key_env")
    if parts.fragment:
        raise InputError(f"address {address!r}: nothing may follow a #")
    if not parts.hostname:
        raise InputError(f"address {address!r} names no host")
    if not _is_host(parts.hostname):
        raise InputError(f"address {address!r}: {parts.hostname!r} cannot be a host")
    if not address.isprintable() or " " in address:
        raise InputError(f"address {address!r}: no space may be in it")
    if parts.path.rstrip("/").endswith("/completions"):
        raise InputError(f"address {address!r}: it ends before /chat/completions or /completions")


def _is_host(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return _NO_HOST.search(host) is None


def text_of(table: Mapping[str, Any], key: str) -> str | None:
    """A key's string; None where it is not given. Raises InputError for anything else."""
    value = table.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        # A value is not shown: it may be a key in the wrong place.
        raise InputError(f"{key} has to be a string")
    return value


def choice_of(table: Mapping[str, Any], key: str, kind: type[StrEnum]) -> str | None:
    """A key's word, one of a kind; None where it is not given. Raises InputError naming all."""
    value = text_of(table, key)
    names = [member.value for member in kind]
    if value is not None and value not in names:
        raise InputError(str(unknown_name(key, value, names)))
    return value
