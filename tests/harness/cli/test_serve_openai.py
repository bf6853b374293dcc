"""`harness serve openai` as a process: it starts what it needs, answers, and ends in order."""

import importlib.util
import re
import signal
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

TEXT = "assoc_recall ; bab dok ; fem gik ; <dense> fem"
SERVE = ("serve", "openai", "--listen", "127.0.0.1:0", "--endpoint")
EXTERNAL = """
[theirs]
address = "http://127.0.0.1:1/v1"
model = "x"
"""


def base_url(process: Any) -> str:
    """What it says once it takes requests."""
    found = None
    while found is None:
        line = process.stderr.readline()
        assert line, "it ended"
        found = re.search(r" at (http://\S+)", line)
    return found[1]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_endpoints_until_it_is_told_to_stop(workplace: Any, sign: int) -> None:
    process = workplace.start(*SERVE, "rnn,rnn-rag")
    try:
        texts = {}
        with httpx.Client(base_url=base_url(process), timeout=600, trust_env=False) as http:
            for name in ("rnn", "rnn-rag"):
                answer = http.post("completions", json={"model": name, "prompt": TEXT})
                texts[name] = answer.json()["choices"][0]["text"]
    finally:
        process.send_signal(sign)
    process.communicate(timeout=600)
    assert process.returncode == 0
    assert texts["rnn"] == " <answer> gik"
    assert texts["rnn-rag"].startswith("<search> fem </search>")
    assert workplace.fakes_running() == []


def test_it_listens_on_a_unix_socket_and_takes_it_away(workplace: Any) -> None:
    path = workplace.temporary / "face.sock"
    process = workplace.start("serve", "openai", "--endpoint", "rnn", "--listen", f"unix:{path}")
    try:
        while f"rnn at unix:{path}" not in process.stderr.readline():
            assert process.poll() is None, "it ended"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=600) as http:
            assert http.get("http://face/v1/models").json()["data"][0]["id"] == "rnn"
    finally:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    assert process.returncode == 0
    assert not path.exists()


def test_a_call_under_way_ends_with_the_server(workplace: Any) -> None:
    workplace.script(hang_from_call=1)
    process = workplace.start(*SERVE, "rnn")
    url = base_url(process)
    with socket.create_connection(httpx.URL(url).netloc.decode().split(":"), timeout=600) as one:
        body = f'{{"model": "rnn", "prompt": "{TEXT}"}}'
        head = f"POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
        one.sendall((head + body).encode())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=600)
    assert process.returncode == 0
    assert workplace.fakes_running() == []


def test_the_harness_asks_its_own_face_as_any_other_endpoint(workplace: Any) -> None:
    process = workplace.start(*SERVE, "rnn")
    try:
        url = base_url(process)
        table = f'[face]\naddress = "{url}"\nmodel = "rnn"\napi = "completions"\n'
        (workplace.folder / "face.toml").write_text(table + 'style = "symbolic"\n')
        result = workplace.run(
            *("eval", "--endpoints", "face.toml", "--endpoint", "face", "--samples", "5"),
            *("--task", "assoc_recall", "--prompting", "direct", "--json"),
        )
    finally:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert result.exit_code == 0, result.stderr
    assert '"accuracy": 1.0' in result.stdout


def test_an_address_in_use_is_said_before_anything_is_started(workplace: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        result = workplace.run("serve", "openai", "--endpoint", "rnn", "--listen", place)
    assert result.exit_code == 2
    assert f"cannot listen on {place}: Address already in use" in result.stderr
    assert "starting" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--endpoint", "rn"), "unknown endpoint 'rn'"),
        (("--endpoint", "rnn", "--listen", "here"), "neither unix:/path nor host:port"),
        (("--endpoint", "rnn", "--retrieval", "fuzzy"), "'fuzzy' is not one of"),
        ((), "Missing option '--endpoint'"),
    ],
)
def test_a_wrong_command_is_refused(workplace: Any, arguments: tuple[str, ...], said: str) -> None:
    result = workplace.run("serve", "openai", "--quiet", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_an_endpoint_that_speaks_the_api_already_is_refused(workplace: Any) -> None:
    (workplace.folder / "endpoints.toml").write_text(EXTERNAL)
    result = workplace.run(*SERVE, "theirs")
    assert result.exit_code == 2
    assert "speaks the OpenAI API already: ask it at http://127.0.0.1:1/v1" in result.stderr


def test_a_channel_that_the_model_has_not_is_refused(workplace: Any) -> None:
    workplace.script(has_channel=False)
    result = workplace.run(*SERVE, "rnn-rag")
    assert result.exit_code == 2
    assert "endpoint 'rnn-rag': its model has no search channel" in result.stderr


def test_an_endpoint_that_does_not_start_ends_it(workplace: Any) -> None:
    workplace.script(refuse_with_status=7)
    result = workplace.run(*SERVE, "rnn")
    assert result.exit_code == 3
    assert "the script refuses" in result.stderr


def test_what_is_not_installed_is_named_with_its_extra(
    workplace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = importlib.util.find_spec
    lacking = {"starlette", "uvicorn"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in lacking else real(name, *a)
    )
    result = workplace.run(*SERVE, "rnn")
    assert result.exit_code == 2
    assert "pip install 'recall-harness[openai-server]'" in result.stderr
