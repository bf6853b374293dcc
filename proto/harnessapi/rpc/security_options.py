"""The options of every server of ours about who may come in, and of every client about how to."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from harnessapi.rpc.dialing import Dialing
from harnessapi.rpc.listening import KEEPALIVE_S, MAX_CONNECTION_AGE_S, Listening
from harnessapi.rpc.secret_files import PEM_BEGIN, SecretSource, SecurityError
from harnessapi.rpc.targets import Target
from harnessapi.rpc.tokens import environment_source

_Option = Callable[[Any], Any]
# Of servers: `harness up` and `eval` keep these from the servers that they start.
SERVER_PREFIX: Final = "HARNESS_SERVER_"
_SERVER_TOKENS: Final = f"{SERVER_PREFIX}TOKENS"


def _source(ctx: click.Context, param: click.Parameter, value: str | None) -> SecretSource | None:
    if value is None:
        return None
    is_typed = ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
    origin = param.opts[-1] if is_typed else f"the environment variable {param.envvar}"
    if not value.startswith(PEM_BEGIN):
        return SecretSource(origin=origin, path=Path(value))
    if is_typed:
        raise click.BadParameter("it names a file: what is typed here, everybody sees in ps.")
    return SecretSource(origin=origin, text=value)


def _file(flag: str, text: str, envvar: str | None = None) -> _Option:
    told = text if envvar is None else f"{text}  [env: {envvar}]"
    return click.option(flag, callback=_source, envvar=envvar, metavar="FILE", help=told)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListeningChoice:
    """What a command line says of who may come in; the names are the options'."""

    tls_cert: SecretSource | None
    tls_key: SecretSource | None
    tls_client_ca: SecretSource | None
    token_file: SecretSource | None
    insecure: bool
    max_connection_age: float
    max_connection_age_grace: float | None
    keepalive: float

    def listening(self, target: Target) -> Listening:
        """Checked. Raises SecurityError."""
        held = environment_source(_SERVER_TOKENS)
        if self.token_file is not None and held is not None:
            raise SecurityError(f"{self.token_file} and {held} both have tokens: give one of them")
        listening = Listening(
            certificate=self.tls_cert,
            key=self.tls_key,
            client_ca=self.tls_client_ca,
            tokens=self.token_file or held,
            insecure=self.insecure,
            max_connection_age_s=self.max_connection_age or None,
            max_connection_age_grace_s=self.max_connection_age_grace,
            keepalive_s=self.keepalive,
        )
        listening.check(target)
        return listening


@dataclass(frozen=True, kw_only=True, slots=True)
class DialingChoice:
    """What a command line says of how a server is dialled."""

    tls: bool
    ca: SecretSource | None
    cert: SecretSource | None
    key: SecretSource | None
    server_name: str | None
    token: SecretSource | None

    def dialing(self, target: Target, *, insecure: bool = False) -> Dialing:
        """Checked. Raises SecurityError."""
        given = (self.ca, self.cert, self.key, self.server_name)
        dialing = Dialing(
            tls=self.tls or any(value is not None for value in given),
            ca=self.ca,
            certificate=self.cert,
            key=self.key,
            server_name=self.server_name,
            token=self.token,
            insecure=insecure,
        )
        dialing.check(target)
        return dialing


def listening_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of ListeningChoice; the command gets one as `listening`."""

    @functools.wraps(command)
    def gathered(*arguments: Any, **values: Any) -> Any:
        own = {one.name: values.pop(one.name) for one in fields(ListeningChoice)}
        return command(*arguments, listening=ListeningChoice(**own), **values)

    return _with_options(gathered, _LISTENING)


def dialing_options(
    prefix: str, variable: str, what: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds `--PREFIXca` and the like; the command gets a DialingChoice as `dialing`.

    `variable`: of the environment, which may hold the token; `what`: who is dialled.
    """
    names = {one.name: f"{prefix}{one.name}".replace("-", "_") for one in fields(DialingChoice)}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def gathered(*arguments: Any, **values: Any) -> Any:
            own = {name: values.pop(names[name]) for name in names if name != "token"}
            token = values.pop(f"{names['token']}_file") or environment_source(variable)
            choice = DialingChoice(**own, token=token)
            return command(*arguments, dialing=choice, **values)

        return _with_options(gathered, _dialing(prefix, variable, what))

    return decorate


def _with_options(command: Callable[..., Any], options: list[_Option]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


_LISTENING: Final[list[_Option]] = [
    _file("--tls-cert", "The server's certificate, PEM.", f"{SERVER_PREFIX}TLS_CERT"),
    _file("--tls-key", "Its private key, PEM.", f"{SERVER_PREFIX}TLS_KEY"),
    _file(
        "--tls-client-ca",
        "CAs, of one of which clients have to show a certificate.",
        f"{SERVER_PREFIX}TLS_CLIENT_CA",
    ),
    _file(
        "--token-file",
        f"Tokens, one a line, of which a caller has to show one; or in {_SERVER_TOKENS}.",
        f"{SERVER_PREFIX}TOKEN_FILE",
    ),
    click.option(
        "--insecure",
        is_flag=True,
        help="Listen where other machines reach it without TLS, or without a token.",
    ),
    click.option(
        "--max-connection-age",
        type=click.FloatRange(min=0),
        default=MAX_CONNECTION_AGE_S,
        show_default=True,
        metavar="SECONDS",
        help="After which a client is asked to connect anew; 0: never.",
    ),
    click.option(
        "--max-connection-age-grace",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        help="What its calls under way are given then.  [default: as long as they take]",
    ),
    click.option(
        "--keepalive",
        type=click.FloatRange(min=1),
        default=KEEPALIVE_S,
        show_default=True,
        metavar="SECONDS",
        help="Of silence, after which a client is asked whether it is there.",
    ),
]


def _dialing(prefix: str, variable: str, what: str) -> list[_Option]:
    return [
        click.option(
            f"--{prefix}tls", is_flag=True, help=f"Reach {what} over TLS, by the public CAs."
        ),
        _file(f"--{prefix}ca", f"CAs of which {what} has its certificate; means TLS."),
        _file(f"--{prefix}cert", f"A certificate to show to {what}."),
        _file(f"--{prefix}key", "Its private key."),
        click.option(
            f"--{prefix}server-name",
            metavar="NAME",
            help=f"In the certificate of {what}, where it is not that of its address.",
        ),
        _file(f"--{prefix}token-file", f"A token to show to {what}; or in {variable}."),
    ]
