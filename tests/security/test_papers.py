"""Certificates and keys that cannot be used are named before anything starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from harnessapi.rpc.certificates import read_authorities, read_identity
from harnessapi.rpc.secret_files import SecretSource, SecurityError


def why_not(certificate: SecretSource, key: SecretSource, *, is_server: bool = True) -> str:
    with pytest.raises(SecurityError) as raised:
        read_identity(certificate, key, is_server=is_server)
    return str(raised.value)


def test_a_certificate_and_its_key_are_read_for_both_sides(papers: Any) -> None:
    for is_server in (True, False):
        identity = read_identity(*papers.server.sources, is_server=is_server)
        assert identity.chain == papers.server.certificate.read_bytes()
        assert identity.key == papers.server.key.read_bytes()


def test_a_key_is_in_no_text_of_what_holds_it(papers: Any) -> None:
    text = papers.server.key.read_text()
    held = SecretSource(origin="the variable", text=text)
    identity = read_identity(papers.server.sources[0], held, is_server=True)
    for value in (held, identity):
        assert "PRIVATE" not in f"{value!r} {value}"


@pytest.mark.parametrize("is_server", [True, False])
def test_one_that_is_expired_or_not_valid_yet_is_named(papers: Any, is_server: bool) -> None:
    said = why_not(*papers.expired.sources, is_server=is_server)
    assert said == f"cert {papers.expired.certificate}: certificate has expired"
    said = why_not(*papers.of_tomorrow.sources, is_server=is_server)
    assert said == f"cert {papers.of_tomorrow.certificate}: certificate is not yet valid"


def test_one_for_clients_alone_is_no_servers(papers: Any) -> None:
    assert "purpose" in why_not(*papers.for_clients_alone.sources)
    read_identity(*papers.for_clients_alone.sources, is_server=False)


def test_a_key_of_another_certificate_is_named_with_both(papers: Any) -> None:
    certificate, key = papers.server.sources[0], papers.client.sources[1]
    assert why_not(certificate, key) == f"{key} is not the key of {certificate}"


def test_a_file_that_is_missing_empty_or_something_else_is_named(
    papers: Any, tmp_path: Path
) -> None:
    certificate, key = papers.server.sources
    gone = SecretSource(origin="--tls-key", path=tmp_path / "gone")
    assert why_not(certificate, gone) == f"--tls-key {tmp_path}/gone: No such file or directory"
    for content, said in (("", "the file is empty"), ("hello", "no private key in it")):
        (tmp_path / "odd").write_text(content)
        (tmp_path / "odd").chmod(0o600)
        odd = SecretSource(origin="--tls-key", path=tmp_path / "odd")
        assert said in why_not(certificate, odd)
    assert "no certificate in it" in why_not(key, key)
    assert "Is a directory" in why_not(SecretSource(origin="cert", path=tmp_path), key)


def test_a_key_that_everybody_can_read_or_that_needs_a_password_is_refused(
    papers: Any, tmp_path: Path
) -> None:
    certificate, key = papers.server.sources
    copy = tmp_path / "key.pem"
    copy.write_bytes(papers.server.key.read_bytes())
    copy.chmod(0o644)
    said = why_not(certificate, SecretSource(origin="--tls-key", path=copy))
    assert "every user of this machine can read it (mode 0644)" in said
    loaded = serialization.load_pem_private_key(key.read(), password=None)
    copy.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    copy.chmod(0o640)
    assert "encrypted" in why_not(certificate, SecretSource(origin="--tls-key", path=copy))


def test_authorities_are_read_and_a_file_without_one_is_named(
    papers: Any, tmp_path: Path, token_file: Callable[..., SecretSource]
) -> None:
    certificate = papers.authority.certificate
    ours = SecretSource(origin="ca", path=certificate)
    assert read_authorities(ours) == certificate.read_bytes()
    with pytest.raises(SecurityError, match="no certificate in it"):
        read_authorities(token_file("hello"))
