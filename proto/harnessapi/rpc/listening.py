"""How a server of ours listens, besides where: who may come in, and for how long they may stay."""

import logging
from dataclasses import dataclass
from typing import Any, Final

import grpc

from harnessapi.rpc.certificates import read_authorities, read_identity
from harnessapi.rpc.secret_files import SecretSource, SecurityError, Stamp
from harnessapi.rpc.targets import Target
from harnessapi.rpc.tokens import AcceptedTokens, KeptTokens

_log = logging.getLogger(__name__)
# After so long a client connects anew, and finds servers that came meanwhile; what runs ends first.
MAX_CONNECTION_AGE_S: Final = 3600.0
# A client that is silent for so long is asked whether it is there.
KEEPALIVE_S: Final = 60.0
_KEEPALIVE_TIMEOUT_S: Final = 20.0
_NEVER_MS: Final = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Listening:
    """By default in the clear and for everybody, as a loopback address may."""

    certificate: SecretSource | None = None
    key: SecretSource | None = None
    # Clients have to show a certificate of one of these CAs.
    client_ca: SecretSource | None = None
    tokens: SecretSource | None = None
    # The network is trusted: other addresses than loopback ones may be listened on all the same.
    insecure: bool = False
    # Seconds; None: for ever. The grace is what calls under way are given at the end of an age.
    max_connection_age_s: float | None = MAX_CONNECTION_AGE_S
    max_connection_age_grace_s: float | None = None
    keepalive_s: float = KEEPALIVE_S

    def check(self, target: Target) -> None:
        """Raises SecurityError for what cannot be used, or is missing where others can connect."""
        if self.certificate is None or self.key is None:
            given = self.certificate or self.key or self.client_ca
            if given is not None:
                raise SecurityError(f"{given}: TLS needs both --tls-cert and --tls-key")
        self.server_credentials()
        self.accepted_tokens()
        missing = [
            what
            for what, value in (
                ("TLS (--tls-cert, --tls-key)", self.certificate),
                ("a token (--token-file)", self.tokens),
            )
            if value is None
        ]
        if missing and not (self.insecure or target.is_loopback):
            raise SecurityError(
                f"other machines may reach {target}, which needs {' and '.join(missing)}; "
                "--insecure goes without, on a network that you trust (docs/trust.md)"
            )

    def server_credentials(self) -> grpc.ServerCredentials | None:
        """None: in the clear. Certificates are read anew when a file has changed.

        Raises SecurityError.
        """
        if self.certificate is None or self.key is None:
            return None
        served = _ServedIdentity(self.certificate, self.key, self.client_ca)
        # None for "as before" is gRPC's own; its stubs do not say so.
        changed: Any = served.changed
        return grpc.dynamic_ssl_server_credentials(
            served.read(), changed, require_client_authentication=self.client_ca is not None
        )

    def accepted_tokens(self) -> AcceptedTokens | None:
        """None: nobody is asked for one. Raises SecurityError."""
        return None if self.tokens is None else AcceptedTokens(KeptTokens(self.tokens))

    def options(self) -> tuple[tuple[str, int], ...]:
        """What gRPC is told of connections."""
        return (
            ("grpc.keepalive_time_ms", _milliseconds(self.keepalive_s)),
            ("grpc.keepalive_timeout_ms", _milliseconds(_KEEPALIVE_TIMEOUT_S)),
            ("grpc.max_connection_age_ms", _milliseconds(self.max_connection_age_s)),
            ("grpc.max_connection_age_grace_ms", _milliseconds(self.max_connection_age_grace_s)),
        )


FOR_EVERYBODY: Final = Listening()


class _ServedIdentity:
    """Asked by gRPC at every handshake, on threads of its own."""

    def __init__(
        self, certificate: SecretSource, key: SecretSource, client_ca: SecretSource | None
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._stamps = self._look()

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Raises SecurityError."""
        identity = read_identity(self._certificate, self._key, is_server=True)
        return grpc.ssl_server_certificate_configuration(
            [(identity.key, identity.chain)],
            root_certificates=None
            if self._client_ca is None
            else read_authorities(self._client_ca),
        )

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """None: those before stay, also where the new ones cannot be used, which is logged."""
        stamps = self._look()
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        try:
            read = self.read()
        except SecurityError as error:
            _log.warning("%s; the certificate before it stays in use", error)
            return None
        _log.info("%s was read again", self._certificate)
        return read

    def _look(self) -> list[Stamp]:
        sources = (self._certificate, self._key, self._client_ca)
        return [None if source is None else source.stamp() for source in sources]


def _milliseconds(seconds: float | None) -> int:
    return _NEVER_MS if seconds is None else min(_NEVER_MS, int(seconds * 1e3))
