"""Certificates with their keys, held against each other before anything is served or dialled."""

import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from harnessapi.rpc.secret_files import PEM_BEGIN, SecretSource, SecurityError

_CERTIFICATE: Final = f"{PEM_BEGIN} CERTIFICATE-----".encode()
# A handshake in memory takes three.
_MAX_TURNS: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """A certificate (PEM, with what stands between it and its CA) and its private key."""

    chain: bytes
    key: bytes = field(repr=False)


def read_identity(certificate: SecretSource, key: SecretSource, *, is_server: bool) -> Identity:
    """Both as they stand now. Raises SecurityError naming the file and what is wrong with it.

    A peer is asked, in memory: it finds a certificate that is expired, not valid yet, not its
    key's, too weak, or not for servers (for clients).
    """
    identity = Identity(chain=certificate.read(), key=key.read(is_private=True))
    if _CERTIFICATE not in identity.chain:
        raise SecurityError(f"{certificate}: no certificate in it (PEM is read)")
    own = _context(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    server = own if is_server else _context(ssl.PROTOCOL_TLS_SERVER)
    client = _context(ssl.PROTOCOL_TLS_CLIENT) if is_server else own
    for context in {server, own}:
        _load(context, identity, certificate, key)
    peer = client if is_server else server
    if not is_server:
        own.verify_mode = ssl.CERT_NONE
    peer.verify_mode = ssl.CERT_REQUIRED
    # The certificate is what is looked at; who signed it is for the real peer to judge.
    peer.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    peer.load_verify_locations(cadata=identity.chain.decode("ascii", "replace"))
    try:
        _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        raise SecurityError(f"{certificate}: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise SecurityError(f"{certificate}: {error.reason or error}") from None
    return identity


def read_authorities(source: SecretSource) -> bytes:
    """The certificates of CAs that are trusted. Raises SecurityError where none can be."""
    data = source.read()
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=data.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError):
        raise SecurityError(f"{source}: no certificate in it (PEM is read)") from None
    ends = [ssl.cert_time_to_seconds(str(ca["notAfter"])) for ca in context.get_ca_certs()]
    if ends and max(ends) < time.time():
        raise SecurityError(f"{source}: certificate has expired")
    return data


def _context(protocol: "ssl._SSLMethod") -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    return context


def _load(
    context: ssl.SSLContext, identity: Identity, certificate: SecretSource, key: SecretSource
) -> None:
    try:
        with _as_file(identity.chain) as chain_file, _as_file(identity.key) as key_file:
            # Without a password that is given, the terminal would be asked for one.
            context.load_cert_chain(chain_file, key_file, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SecurityError(f"{key} is not the key of {certificate}") from None
        if b"ENCRYPTED" in identity.key:
            raise SecurityError(
                f"{key}: it is encrypted; a key without a password is needed"
            ) from None
        if PEM_BEGIN.encode() not in identity.key or b"PRIVATE KEY" not in identity.key:
            raise SecurityError(f"{key}: no private key in it (PEM is read)") from None
        raise SecurityError(f"{certificate}, {key}: {error.reason or 'cannot be read'}") from None


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """In memory alone: a key is written to no disk."""
    number = os.memfd_create("pem")
    try:
        os.write(number, data)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(_MAX_TURNS):
        waiting = []
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(side)
        if not waiting:
            return
    raise ssl.SSLError("the handshake does not end")
