"""The shipped LSTM behind TLS and tokens, its search too, evaluated: where does a token go?"""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOKEN = "let-me-in-9f86d081884c7d65"
SEARCH_TOKEN = "let-me-search-2c26b46b68ffc68f"
WRONG = "let-me-try-fcde2b2edba56bf4"
TRACED = {"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_SCHEDULE_DELAY": "100"}


@dataclass
class Place:
    """Processes whose output lies in files of one folder, where they run."""

    folder: Path
    processes: list["subprocess.Popen[bytes]"]
    # What was seen of every process while they ran, as ps shows it.
    listings: bytes = b""

    def start(self, name: str, module: str, *arguments: object, **env: str) -> Any:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                cwd=self.folder,
                env=self._environment(env),
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def harness(self, *arguments: object, **env: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "harness", *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment(env),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        with (self.folder / "harness.log").open("a") as log:
            log.write(done.stdout + done.stderr)
        self._list()
        return done

    def say(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(600)

    def _environment(self, env: dict[str, str]) -> dict[str, str]:
        path = os.pathsep.join(part for part in sys.path if part)
        return {**os.environ, "PYTHONPATH": path, **env}

    def _list(self) -> None:
        for process in self.processes:
            self.listings += Path(f"/proc/{process.pid}/cmdline").read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path, [])
    try:
        yield place
    finally:
        place.stop()


def test_an_eval_over_tls_with_tokens_leaves_none_of_them_anywhere(
    place: Place, papers: Any, free_port: Callable[..., int], wait_until: Any
) -> None:
    port = free_port(3)
    ca, server = papers.authority.certificate, papers.server
    papers_of_server = ("--tls-cert", server.certificate, "--tls-key", server.key)
    (place.folder / "tokens").touch(mode=0o600)
    (place.folder / "tokens").write_text(f"{SEARCH_TOKEN}\n")
    place.start(
        *("search", "harness_retrieval.command"),
        *("--listen", f"localhost:{port}", *papers_of_server, "--token-file", "tokens"),
        *("--log-format", "json"),
        **TRACED,
    )
    place.start(
        *("model", "harness_servers.command", ROOT / "checkpoints" / "rnn"),
        *("--listen", f"localhost:{port + 1}", *papers_of_server, "--tls-client-ca", ca),
        *("--retrieval", f"localhost:{port}", "--retrieval-ca", ca, "--log-format", "json"),
        *("--metrics-port", port + 2),
        **TRACED,
        HARNESS_SERVER_TOKENS=f"an-older-one-0123456789 {TOKEN}",
        HARNESS_SERVER_RETRIEVAL_TOKEN=SEARCH_TOKEN,
    )
    for name in ("search", "model"):
        wait_until(lambda name=name: '"listening"' in place.say(name))
    shown = f'ca = "{ca}"\nclient_cert = "{papers.client.certificate}"\n'
    shown += f'client_key = "{papers.client.key}"\ntoken_env = "MY_TOKEN"\n'
    address = f'address = "grpc://localhost:{port + 1}"\nretrieval = true\n'
    (place.folder / "endpoints.toml").write_text(f"[mine]\n{address}{shown}")
    command = ("eval", "--endpoint", "mine", "--task", "assoc_recall", "--samples", "8")

    done = place.harness(*command, "--json", MY_TOKEN=TOKEN, **TRACED)
    assert done.returncode == 0, done.stderr
    [row] = done.stdout.splitlines()
    with urllib.request.urlopen(f"http://127.0.0.1:{port + 2}/metrics", timeout=600) as answer:
        (place.folder / "metrics").write_bytes(answer.read())
    assert '"searches_per_sample": 1.0' in done.stdout
    assert place.harness("endpoints", "check", "mine", MY_TOKEN=TOKEN).returncode == 0
    refused = place.harness(*command, MY_TOKEN=WRONG)
    assert refused.returncode == 2
    assert "the server wants another token: see token_env and token_file" in refused.stderr
    place.stop()

    written = [path for path in place.folder.rglob("*") if path.is_file()]
    assert {"manifest.json", "samples.jsonl", "model.log"} <= {path.name for path in written}
    for token in (TOKEN, SEARCH_TOKEN, WRONG):
        found = [path.name for path in written if token.encode() in path.read_bytes()]
        assert found == (["tokens"] if token == SEARCH_TOKEN else [])
        assert token.encode() not in place.listings
    for line in lines(place, "search"):
        assert line["level"] == "INFO", line
    check_ids(place, json.loads(row)["run"])
    check_traces(place)
    # With the right token the search was really behind its own.
    assert "UNAUTHENTICATED" not in place.say("search")


def lines(place: Place, name: str) -> list[dict[str, Any]]:
    """Those of a log in JSON; between them the console exporter has written spans."""
    found = [line for line in place.say(name).splitlines() if line.startswith('{"time"')]
    return [json.loads(line) for line in found]


def check_ids(place: Place, run: str) -> None:
    """Of every stored sample the id is in both servers' logs, once for each search of it."""
    stored = (place.folder / "runs" / run / "samples.jsonl").read_text().splitlines()
    ids = [json.loads(line)["request_id"] for line in stored]
    assert len(set(ids)) == len(ids) == 8
    told = lines(place, "model")
    for message in ("call", "completion"):
        of = {line["request_id"]: line for line in told if line["message"] == message}
        assert set(ids) <= set(of)
    assert of[ids[0]]["searches"] == 1
    assert {"UNAUTHENTICATED", "OK"} == {line["code"] for line in told if "code" in line}
    searched = [x["request_id"] for x in lines(place, "search") if x["message"] == "search"]
    assert all(searched.count(one) == 1 for one in ids)


def check_traces(place: Place) -> None:
    """One trace of a sample goes through client, server and search."""
    traces = {
        name: set(re.findall(r'"trace_id": "(0x[0-9a-f]+)"', place.say(name)))
        for name in ("harness", "model", "search")
    }
    assert len(traces["harness"]) == 8
    assert traces["harness"] <= traces["model"]
    assert traces["harness"] <= traces["search"]
    for name, service in (("harness", "harness"), ("model", "InferenceService")):
        assert f'"service.name": "{service}"' in place.say(name)
