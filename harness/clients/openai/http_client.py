"""The HTTP connection to a server of others: address, headers, proxy, and what is wrong with it."""

import ipaddress
import socket
import ssl
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from harness.endpoints.external import External
from harness.endpoints.request_options import RequestOptions
from harness.errors import InputError
from harness.version import harness_version

PROBE_TIMEOUT: Final = httpx.Timeout(5.0)
# httpx reads also the redirects that it does not follow, and not every host is a name.
HTTP_FAULTS: Final = (httpx.RequestError, httpx.InvalidURL, UnicodeError)
# A compressed stream comes late and in lumps.
UNCOMPRESSED: Final = {"Accept-Encoding": "identity"}
_CONNECT_TIMEOUT_S: Final = 10.0


class _Dialled(httpx.AsyncBaseTransport):
    """Connects to one number of a host that has several; what is sent, and its TLS, name the host.

    A proxy would look the name up itself: none is asked.
    """

    def __init__(self, number: str) -> None:
        self._number = number
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._inner = httpx.AsyncHTTPTransport(limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As httpx has it."""
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host=self._number)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """As httpx has it."""
        await self._inner.aclose()


def open_http(
    address: str, external: External, request: RequestOptions, number: str | None = None
) -> httpx.AsyncClient:
    """`number`: what is dialled, where it is one of several that the host has.

    Raises InputError for a key or a proxy of the environment that is missing or malformed."""
    parts = urlsplit(address)
    headers = {
        "User-Agent": f"recall-harness/{harness_version()}",
        **request.headers,
        **request.secret_headers(),
        **external.key_headers(),
    }
    try:
        return httpx.AsyncClient(
            base_url=parts._replace(query="").geturl().rstrip("/"),
            params=httpx.QueryParams(parts.query),
            headers=headers,
            # The runner bounds how many requests there are; the deadline of a sample ends them.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S),
            # A proxy of the environment is not meant for this machine.
            trust_env=number is None and not is_loopback(parts.hostname or ""),
            transport=None if number is None else _Dialled(number),
        )
    except (ValueError, httpx.InvalidURL) as error:
        proxies = _proxy_variables()
        if not proxies:
            raise InputError(f"address {address!r}: {error}") from None
        # What a proxy's address holds may be secret.
        raise InputError(f"the proxy in {proxies} cannot be used: {type(error).__name__}") from None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or number."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def cause(error: httpx.RequestError, address: str) -> str:
    """What is wrong, in words that say what to look at."""
    innermost = _innermost(error)
    host = urlsplit(address).hostname or ""
    text = str(innermost) or str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        text = f"no connection within {_CONNECT_TIMEOUT_S:.0f} s"
    elif isinstance(innermost, ConnectionRefusedError):
        text = "connection refused: nobody listens there"
    elif isinstance(innermost, socket.gaierror):
        text = f"the name {host} is not known ({innermost.strerror})"
    elif isinstance(innermost, ssl.SSLCertVerificationError):
        text = (
            f"its certificate is not trusted: {innermost.verify_message} "
            "(SSL_CERT_FILE names a file with others to trust)"
        )
    elif isinstance(error, httpx.RemoteProtocolError):
        text = _no_answer(text)
    elif isinstance(innermost, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(innermost):
        text = "it does not speak TLS: the address may have to begin with http://"
    proxies = "" if is_loopback(host) or proxy_bypass(host) else _proxy_variables()
    return f"{text} (through the proxy in {proxies})" if proxies else text


def _no_answer(text: str) -> str:
    """What a server that answers nothing, or nothing of HTTP, may be."""
    if "without sending a response" in text:
        return "it closed the connection without an answer"
    if "illegal" in text:
        return (
            f"it does not speak HTTP ({text}): the address of a gRPC model server is "
            "HOST:PORT, without http://"
        )
    return text


def _innermost(error: BaseException) -> BaseException:
    """The error that the others tell of; of several attempts the first."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ssl.SSLError | socket.gaierror | ConnectionRefusedError):
            return error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif below := error.__cause__ or error.__context__:
            error = below
    return error


def _proxy_variables() -> str:
    """The environment's variables that name a proxy for the web, or none."""
    names = [f"{scheme.upper()}_PROXY" for scheme in getproxies() if scheme in _PROXIED]
    return ", ".join(sorted(names))


_PROXIED: Final = ("all", "http", "https")
