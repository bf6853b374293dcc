"""Dials servers: in the clear or over TLS, with a certificate and a token where asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harnessapi.rpc.certificates import read_authorities, read_identity
from harnessapi.rpc.options import channel_options
from harnessapi.rpc.secret_files import SecretSource, SecurityError
from harnessapi.rpc.targets import Target
from harnessapi.rpc.tokens import KeptTokens, ShownToken

if TYPE_CHECKING:
    import grpc
    import grpc.aio

Options = Sequence[tuple[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialing:
    """How a server is dialled, besides where; by default in the clear, and with no token."""

    tls: bool = False
    # Of the CAs that are trusted; None: those that come with gRPC.
    ca: SecretSource | None = None
    # What the client shows where the server wants to know it.
    certificate: SecretSource | None = None
    key: SecretSource | None = None
    # The name in the server's certificate, where it is not that of the address.
    server_name: str | None = None
    token: SecretSource | None = None
    # The network is trusted: a token may cross it in the clear.
    insecure: bool = False

    def check(self, target: Target) -> None:
        """Raises SecurityError for what cannot be used, before anything is dialled."""
        self._credentials()
        self._shown_token()
        if self.token is not None and not (self.tls or self.insecure or target.is_loopback):
            raise SecurityError(
                f"{self.token}: the token would cross the network to {target} in the clear; with "
                "TLS (a CA, or the public ones) it does not, and `insecure` allows it"
            )

    def aio_channel(self, target: Target, options: Options | None = None) -> "grpc.aio.Channel":
        """On the running event loop. `options`: others than `channel_options`.

        Raises SecurityError.
        """
        # Here and not at the top: who reads an endpoint's table dials nobody.
        import grpc.aio  # noqa: PLC0415

        credentials, told = self._credentials(), self._options(target, options)
        if credentials is None:
            channel = grpc.aio.insecure_channel(target.name, options=told)
        else:
            channel = grpc.aio.secure_channel(target.name, credentials, options=told)
        shown: grpc.aio.Channel = self._with_token(channel)
        return shown

    def channel(self, target: Target) -> "grpc.Channel":
        """For calls that block. Raises SecurityError."""
        import grpc  # noqa: PLC0415

        credentials, told = self._credentials(), self._options(target, None)
        if credentials is None:
            channel = grpc.insecure_channel(target.name, options=told)
        else:
            channel = grpc.secure_channel(target.name, credentials, options=told)
        shown: grpc.Channel = self._with_token(channel)
        return shown

    def _options(self, target: Target, options: Options | None) -> list[tuple[str, Any]]:
        told: list[tuple[str, Any]] = [*(channel_options(target) if options is None else options)]
        if self.server_name is not None:
            told.append(("grpc.ssl_target_name_override", self.server_name))
        return told

    def _credentials(self) -> "grpc.ChannelCredentials | None":
        if (self.certificate is None) != (self.key is None):
            given = self.certificate or self.key
            raise SecurityError(f"{given}: a certificate and its key are given together")
        if not self.tls:
            return None
        import grpc  # noqa: PLC0415

        identity = None
        if self.certificate is not None and self.key is not None:
            identity = read_identity(self.certificate, self.key, is_server=False)
        return grpc.ssl_channel_credentials(
            root_certificates=None if self.ca is None else read_authorities(self.ca),
            private_key=None if identity is None else identity.key,
            certificate_chain=None if identity is None else identity.chain,
        )

    def _shown_token(self) -> ShownToken | None:
        return None if self.token is None else ShownToken(KeptTokens(self.token))

    def _with_token(self, channel: Any) -> Any:
        shown = self._shown_token()
        return channel if shown is None else _TokenChannel(channel, shown)


IN_THE_CLEAR: Final = Dialing()


class _TokenChannel:
    """A channel, blocking or not, whose calls show a token.

    gRPC has credentials of calls for this, on encrypted connections alone: not on a Unix socket.
    """

    def __init__(self, channel: Any, shown: ShownToken) -> None:
        self._channel = channel
        self._shown = shown

    def unary_unary(self, *arguments: Any, **options: Any) -> "_TokenCall":
        """See grpc.Channel."""
        return _TokenCall(self._channel.unary_unary(*arguments, **options), self._shown)

    def unary_stream(self, *arguments: Any, **options: Any) -> "_TokenCall":
        """See grpc.Channel."""
        return _TokenCall(self._channel.unary_stream(*arguments, **options), self._shown)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


class _TokenCall:
    def __init__(self, call: Any, shown: ShownToken) -> None:
        self._call = call
        self._shown = shown

    def __call__(self, request: Any, *, metadata: Sequence[Any] = (), **options: Any) -> Any:
        told = (*(metadata or ()), *self._shown.metadata())
        return self._call(request, metadata=told, **options)

    def future(self, request: Any, *, metadata: Sequence[Any] = (), **options: Any) -> Any:
        """See grpc.UnaryUnaryMultiCallable."""
        told = (*(metadata or ()), *self._shown.metadata())
        return self._call.future(request, metadata=told, **options)
