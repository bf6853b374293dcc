"""Bearer tokens: what a server accepts, and what a client shows. Neither is ever logged."""

import hashlib
import hmac
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Final

from harnessapi.rpc.secret_files import SecretSource, SecurityError, Stamp

_log = logging.getLogger(__name__)
AUTHORIZATION: Final = "authorization"
_PREFIX: Final = "Bearer "
_MIN_LENGTH: Final = 16
_MAX_LENGTH: Final = 4096
# RFC 6750's alphabet of a token.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LOOK_EVERY_S: Final = 1.0


def read_tokens(source: SecretSource) -> tuple[str, ...]:
    """One a line, or between spaces; several, so that one can follow another.

    Raises SecurityError, which shows none of them.
    """
    tokens = source.read(is_private=True).decode("ascii", "replace").split()
    if not tokens:
        raise SecurityError(f"{source}: no token in it")
    for number, token in enumerate(tokens, 1):
        if not _TOKEN.fullmatch(token):
            raise SecurityError(
                f"{source}: token {number} has characters other than letters, digits and ._~+/-="
            )
        if not _MIN_LENGTH <= len(token) <= _MAX_LENGTH:
            raise SecurityError(
                f"{source}: token {number} has {len(token)} characters; at least {_MIN_LENGTH} are "
                f"needed, at most {_MAX_LENGTH} are taken (openssl rand -hex 32 makes one)"
            )
    return tuple(tokens)


class KeptTokens:
    """The tokens of a source, read again when its file has changed, looked at once a second.

    What cannot be read then is logged, once, and those before it stay.
    """

    def __init__(
        self, source: SecretSource, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises SecurityError."""
        self._source = source
        self._now_s = now_s
        self._stamp: Stamp = source.stamp()
        self._tokens = read_tokens(source)
        self._looked_s = now_s()

    def tokens(self) -> Sequence[str]:
        """As they stand now."""
        now_s = self._now_s()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            stamp = self._source.stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                self._read_again()
        return self._tokens

    def _read_again(self) -> None:
        try:
            self._tokens = read_tokens(self._source)
        except SecurityError as error:
            _log.warning("%s; the tokens before it stay in force", error)


class AcceptedTokens:
    """Of a server: any of them lets a call in."""

    def __init__(self, kept: KeptTokens) -> None:
        self._kept = kept

    def accepts(self, authorization: str | bytes | None) -> bool:
        """Whether it is `Bearer` and one of the tokens, in the same time for every wrong one."""
        said = authorization or b""
        said = said.encode("utf-8", "surrogateescape") if isinstance(said, str) else said
        is_known = False
        for token in self._kept.tokens():
            # Of digests: the comparison alone would tell how long a token is.
            is_known |= hmac.compare_digest(_digest(f"{_PREFIX}{token}".encode()), _digest(said))
        return is_known


class ShownToken:
    """Of a client: the first of its tokens goes with every call."""

    def __init__(self, kept: KeptTokens) -> None:
        self._kept = kept

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call."""
        return ((AUTHORIZATION, f"{_PREFIX}{self._kept.tokens()[0]}"),)


def environment_source(variable: str) -> SecretSource | None:
    """What the variable holds; None where it is not set or empty."""
    text = os.environ.get(variable, "").strip()
    return SecretSource(origin=f"the environment variable {variable}", text=text) if text else None


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data).digest()
