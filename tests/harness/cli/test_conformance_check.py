"""`harness endpoints check --conformance`: what it prints, and its exit status."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harnessapi.rpc.probe import why_not_healthy
from harnessapi.rpc.targets import parse_target

from harness.conformance.all_promises import PROMISES

CHECK = ("endpoints", "check", "--conformance")
StartBroken = Callable[..., str]


@pytest.fixture
def broken(tmp_path: Path, wait_until: Any) -> Iterator[StartBroken]:
    """Starts a shipped broken server; gives its address."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> str:
        address = f"unix:{tmp_path}/{len(started)}.s"
        program = (sys.executable, "-m", "harness.fakes.broken_servers")
        path = {"PYTHONPATH": ":".join(part for part in sys.path if part)}
        started.append(subprocess.Popen([*program, *options, "--listen", address], env=path))
        target = parse_target(address)
        wait_until(lambda: "UNAVAILABLE" not in (why_not_healthy(target, timeout_s=600) or ""))
        return address

    yield start
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_line_a_promise_says_what_was_seen_and_what_is_right(
    workplace: Any, broken: StartBroken
) -> None:
    result = workplace.run(*CHECK, broken("--defect", "ignores-stop"))
    assert result.exit_code == 2, result.output
    *lines, last = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [promise.name for promise in PROMISES]
    [failed] = [line for line in lines if " failed " in line]
    assert failed.startswith("stop  ")
    assert failed.endswith("; right: the answer ends before the stop string, with STOP")
    assert last.endswith("1 failed, 1 not offered, 0 not tried: stop")


def test_it_is_told_as_one_object(workplace: Any, broken: StartBroken) -> None:
    address = broken("--defect", "no-get-model")
    result = workplace.run(*CHECK, address, "--json")
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert (told["place"], told["status"], told["exit_status"]) == (address, "broken", 2)
    by_name = {one["name"]: one for one in told["promises"]}
    assert by_name["GetModel"]["verdict"] == "failed"
    assert by_name["Generate"]["verdict"] == "not tried"


def test_an_endpoint_is_asked_by_its_name(workplace: Any, broken: StartBroken) -> None:
    Path("endpoints.toml").write_text(f'[mine]\naddress = "{broken()}"\n')
    result = workplace.run(*CHECK, "mine")
    assert result.exit_code == 0, result.output
    assert "0 failed" in result.stdout


def test_where_nobody_listens_it_exits_3(workplace: Any, tmp_path: Path) -> None:
    workplace.connect_timeout_s = 0.1
    result = workplace.run(*CHECK, f"unix:{tmp_path}/nobody.s", "--json")
    assert result.exit_code == 3
    assert "there is no such socket" in result.stderr
    assert json.loads(result.stdout)["exit_status"] == 3


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ((), "needs the ADDRESS of a server"),
        (("127.0.0.1",), "neither unix:/path nor host:port"),
        (("far",), "endpoint 'far' is asked over HTTP"),
    ],
)
def test_what_is_no_grpc_server_is_a_wrong_command(
    workplace: Any, place: tuple[str, ...], said: str
) -> None:
    Path("endpoints.toml").write_text('[far]\naddress = "http://127.0.0.1:1/v1"\nmodel = "m"\n')
    result = workplace.run(*CHECK, *place)
    assert result.exit_code == 2
    assert said in result.stderr
