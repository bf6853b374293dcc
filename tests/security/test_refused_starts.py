"""What cannot be used is named, with exit status 2, before anything is loaded or started."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.health import health_command
from harness_retrieval.command import retrieval_command
from harness_servers.command import model_command

TOKEN = "unlike-any-other-0123456789"
ANYWHERE = "0.0.0.0:50051"
COMMANDS = ("model", "retrieval")


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Result]:
    """A server's command; its checkpoint is an empty folder, which would be named last."""

    def run(command: str, *arguments: object) -> Result:
        told = [str(argument) for argument in arguments]
        if command == "retrieval":
            return CliRunner().invoke(retrieval_command, told)
        return CliRunner().invoke(model_command, [str(tmp_path), *told])

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_where_other_machines_reach_it_what_is_missing_is_named(
    serve: Callable[..., Result], papers: Any, token_file: Any, command: str
) -> None:
    tokens = token_file(TOKEN).path
    tls = ("--tls-cert", papers.server.certificate, "--tls-key", papers.server.key)
    both = "TLS (--tls-cert, --tls-key) and a token (--token-file)"
    for given, missing in (
        ((), both),
        (tls, "a token (--token-file)"),
        (("--token-file", tokens), "TLS (--tls-cert, --tls-key)"),
    ):
        result = serve(command, "--listen", ANYWHERE, *given)
        assert result.exit_code == 2
        assert f"other machines may reach {ANYWHERE}, which needs {missing}; " in result.stderr
        assert "--insecure" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_papers_that_cannot_be_used_are_named(
    serve: Callable[..., Result], papers: Any, token_file: Any, tmp_path: Path, command: str
) -> None:
    def refused(*arguments: object) -> str:
        result = serve(command, *arguments)
        assert result.exit_code == 2, result.output
        return result.stderr

    cert, key = papers.server.certificate, papers.server.key
    expired = papers.expired
    said = refused("--tls-cert", expired.certificate, "--tls-key", expired.key)
    assert f"--tls-cert {expired.certificate}: certificate has expired" in said
    said = refused("--tls-cert", cert, "--tls-key", papers.client.key)
    assert f"--tls-key {papers.client.key} is not the key of --tls-cert {cert}" in said
    said = refused("--tls-cert", cert, "--tls-key", tmp_path / "gone")
    assert f"--tls-key {tmp_path}/gone: No such file" in said
    assert "needs both --tls-cert and --tls-key" in refused("--tls-cert", cert)
    said = refused("--tls-client-ca", papers.authority.certificate)
    assert "needs both --tls-cert and --tls-key" in said
    said = refused("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", key)
    assert f"--tls-client-ca {key}: no certificate in it" in said
    said = refused("--token-file", token_file("").path)
    assert "the file is empty" in said
    said = refused("--token-file", token_file(TOKEN, mode=0o644).path)
    assert "every user of this machine can read it" in said
    assert TOKEN not in said


@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_environment_holds_is_used_and_named(
    serve: Callable[..., Result],
    papers: Any,
    token_file: Any,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setenv("HARNESS_SERVER_TLS_CERT", papers.expired.certificate.read_text())
    monkeypatch.setenv("HARNESS_SERVER_TLS_KEY", str(papers.expired.key))
    said = serve(command).stderr
    assert "the environment variable HARNESS_SERVER_TLS_CERT: certificate has expired" in said
    monkeypatch.setenv("HARNESS_SERVER_TLS_CERT", papers.server.certificate.read_text())
    monkeypatch.setenv("HARNESS_SERVER_TLS_KEY", papers.server.key.read_text())
    monkeypatch.setenv("HARNESS_SERVER_TOKENS", f"{TOKEN} short")
    result = serve(command)
    assert (result.exit_code, TOKEN in result.output) == (2, False)
    assert "HARNESS_SERVER_TOKENS: token 2 has 5 characters" in result.stderr
    monkeypatch.setenv("HARNESS_SERVER_TOKENS", TOKEN)
    result = serve(command, "--token-file", token_file(TOKEN).path)
    assert "both have tokens" in result.stderr


def test_a_key_that_is_typed_is_refused_and_not_shown(
    serve: Callable[..., Result], papers: Any
) -> None:
    text = papers.server.key.read_text()
    result = serve("retrieval", "--tls-key", text)
    assert result.exit_code == 2
    assert "everybody sees in ps" in result.stderr
    assert text.splitlines()[1] not in result.output


def test_what_the_search_service_is_dialled_with_is_checked_too(
    serve: Callable[..., Result], papers: Any, token_file: Any
) -> None:
    to_search = ("--retrieval", "search.example:50052")
    ca = ("--retrieval-ca", papers.authority.certificate)
    token = ("--retrieval-token-file", token_file(TOKEN).path)
    said = serve("model", *to_search, *token).stderr
    assert "would cross the network to search.example:50052 in the clear" in said
    expired = ("--retrieval-cert", papers.expired.certificate, "--retrieval-key")
    said = serve("model", *to_search, *ca, *expired, papers.expired.key).stderr
    assert "certificate has expired" in said
    said = serve("model", *to_search, *ca, *token).stderr
    assert "is missing" in said  # all is well but the checkpoint


def test_the_health_check_names_what_it_cannot_use(papers: Any, token_file: Any) -> None:
    result = CliRunner().invoke(
        health_command, ["127.0.0.1:1", "--token-file", str(token_file("", mode=0o600).path)]
    )
    assert result.exit_code == 1
    assert "the file is empty" in result.stderr


def test_up_starts_nothing_where_other_machines_would_reach_it(workplace: Any) -> None:
    result = CliRunner().invoke(main, ["up", "rnn", "--host", "0.0.0.0"])
    assert result.exit_code == 2
    assert "--insecure" in result.stderr
    assert not (workplace / "runs" / "up" / "rnn.log").exists()


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('token_env = "NO_SUCH_TOKEN"', "NO_SUCH_TOKEN is not set (token_env)"),
        ('token_env = "the-token-itself"', "token_env has to name an environment variable"),
        ('token_file = "nowhere"', "token_file {folder}/nowhere: No such file"),
        ('token_file = "open"', "every user of this machine can read it"),
        ('ca = "nowhere.pem"', "ca {folder}/nowhere.pem: No such file"),
        ('ca = "open"', "no certificate in it"),
        ('client_cert = "open"', "a certificate and its key are given together"),
        ('tls = "yes"', "tls = 'yes': it has to be true or false"),
        ('tls = false\nserver_name = "x"', "server_name needs TLS"),
        ('token_env = "A"\ntoken_file = "b"', "two places for one token"),
    ],
)
def test_what_an_endpoint_is_dialled_with_is_named_before_anything_is_asked(
    workplace: Path, table: str, said: str
) -> None:
    (workplace / "open").write_text(TOKEN)
    (workplace / "open").chmod(0o644)
    (workplace / "endpoints.toml").write_text(f'[mine]\naddress = "grpc://h.example:1"\n{table}\n')
    result = CliRunner().invoke(main, ["eval", "--endpoint", "mine", "--task", "assoc_recall"])
    assert result.exit_code == 2
    assert said.format(folder=workplace) in result.stderr
    assert TOKEN not in result.output
    assert "the-token-itself" not in result.output
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    "place", ['checkpoint = "rnn"', 'address = "http://127.0.0.1:1/v1"\nmodel = "m"']
)
def test_such_keys_are_for_grpc_addresses_alone(workplace: Path, place: str) -> None:
    (workplace / "endpoints.toml").write_text(f"[mine]\n{place}\ntls = true\n")
    result = CliRunner().invoke(main, ["endpoints", "list"])
    assert result.exit_code == 2
    assert "tls is for an address that begins with grpc://" in result.stderr
