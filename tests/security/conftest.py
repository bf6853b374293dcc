"""Certificates of a CA of ours, made anew for every session, and a server that asks for things."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from harnessapi.inference.v1 import inference_pb2, inference_pb2_grpc
from harnessapi.observing.observed import UNOBSERVED, Observing
from harnessapi.rpc.listening import Listening
from harnessapi.rpc.secret_files import SecretSource
from harnessapi.rpc.server import RpcServer
from harnessapi.rpc.targets import parse_target

from harness.fakes.fake_model import FakeModel, Script

DAY = timedelta(days=1)
SERVICE = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path

    @property
    def sources(self) -> tuple[SecretSource, SecretSource]:
        return source(self.certificate, "cert"), source(self.key, "key")


def source(path: Path, origin: str = "file") -> SecretSource:
    return SecretSource(origin=origin, path=path)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Authority:
    """A CA; `issue` gives out certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=None)
        built = self._begun(self._name, self._key, -DAY, DAY).add_extension(basic, critical=True)
        self.certificate = self.folder / "ca.pem"
        self.certificate.write_bytes(_pem(built.sign(self._key, hashes.SHA256())))

    def issue(
        self,
        name: str,
        *,
        host: str = "localhost",
        begins: timedelta = -DAY,
        ends: timedelta = DAY,
        usage: x509.ObjectIdentifier | None = None,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = x509.SubjectAlternativeName([x509.DNSName(host)])
        built = self._begun(_named(name), key, begins, ends).add_extension(hosts, critical=False)
        if usage is not None:
            built = built.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        issued = Issued(
            certificate=self.folder / f"{name}.pem", key=self.folder / f"{name}.key.pem"
        )
        issued.certificate.write_bytes(_pem(built.sign(self._key, hashes.SHA256())))
        issued.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        issued.key.chmod(0o600)
        return issued

    def _begun(
        self, name: x509.Name, key: Any, begins: timedelta, ends: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, kw_only=True)
class Papers:
    """What the tests show and are shown."""

    authority: Authority
    other_authority: Authority
    server: Issued
    client: Issued
    stranger: Issued
    expired: Issued
    of_tomorrow: Issued
    for_clients_alone: Issued


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    authority, other = Authority(folder, "ours"), Authority(folder, "others")
    usage = ExtendedKeyUsageOID.CLIENT_AUTH
    return Papers(
        authority=authority,
        other_authority=other,
        server=authority.issue("server"),
        client=authority.issue("client"),
        stranger=other.issue("stranger"),
        expired=authority.issue("expired", begins=-3 * DAY, ends=-DAY),
        of_tomorrow=authority.issue("tomorrow", begins=DAY, ends=3 * DAY),
        for_clients_alone=authority.issue("clients", usage=usage),
    )


@pytest.fixture
def token_file(tmp_path: Path) -> Callable[..., SecretSource]:
    def write(*tokens: str, mode: int = 0o600) -> SecretSource:
        path = tmp_path / "tokens"
        path.touch(mode=0o600)
        path.write_text("\n".join(tokens))
        path.chmod(mode)
        return source(path, "--token-file")

    return write


class Acquainted(FakeModel):
    """Remembers from where it was called last: another port is another connection."""

    peer = ""

    async def GetModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.peer = context.peer()
        return await super().GetModel(request, context)


@dataclass
class Guarded:
    """The fake behind the server of every service of ours, on a thread with a loop of its own."""

    listening: Listening
    observing: Observing = UNOBSERVED
    address: str = "localhost:0"
    model: Acquainted = field(init=False)
    port: int = 0

    def __post_init__(self) -> None:
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(600)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        self.model = Acquainted(Script())
        server = RpcServer(SERVICE, listening=self.listening, observing=self.observing)
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(self.model, server.grpc_server)
        self.port = server.listen(parse_target(self.address)).port

        async def nothing() -> None:
            pass

        await server.run(start=nothing, stopped=self._stopped, ready=self._ready.set)

    def release(self) -> None:
        """Calls are answered from now on."""
        self._loop.call_soon_threadsafe(self.model.may_answer.set)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(600)


@pytest.fixture
def guarded() -> Iterator[Callable[..., Guarded]]:
    servers: list[Guarded] = []

    def start(*, observing: Observing = UNOBSERVED, **listening: Any) -> Guarded:
        servers.append(Guarded(Listening(**listening), observing))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
