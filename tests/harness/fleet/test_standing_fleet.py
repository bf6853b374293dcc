"""What `harness up` would start, without starting it."""

import os
import sys
from functools import partial
from pathlib import Path

import pytest

from harness.endpoints.endpoint import Endpoint
from harness.errors import InputError
from harness.fleet.plans import MODEL_SERVER
from harness.fleet.process import ServerProcess
from harness.fleet.standing_fleet import plan_standing_fleet


def test_the_log_of_an_endpoint_lies_in_the_folder_whatever_its_name(tmp_path: Path) -> None:
    names = ("org/model", "../../model", "/model", "..")
    endpoints = [
        Endpoint(name=name, checkpoint=str(number), folders=(tmp_path,))
        for number, name in enumerate(names)
    ]
    for endpoint in endpoints:
        (tmp_path / str(endpoint.checkpoint)).mkdir()
    fleet = plan_standing_fleet(
        endpoints, MODEL_SERVER, tmp_path, host="127.0.0.1", port=1, say=lambda _text: None
    )
    logs = [server.plan.log for server in fleet.models.values()]
    assert {log.parent for log in logs} == {tmp_path}
    assert len(set(logs)) == len(names)


@pytest.mark.parametrize(("host", "allowed"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_its_servers_are_told_that_a_network_is_trusted_where_that_was_said(
    tmp_path: Path, host: str, allowed: bool
) -> None:
    endpoint = Endpoint(name="rnn", checkpoint=".", folders=(tmp_path,))
    plan = partial(
        plan_standing_fleet, [endpoint], MODEL_SERVER, tmp_path, host=host, port=1, say=print
    )
    fleet = plan(insecure=True)
    assert {"--insecure" in server.plan.arguments for server in fleet.servers} == {allowed}
    if allowed:
        with pytest.raises(InputError, match="--insecure"):
            plan(insecure=False)


def test_what_a_server_of_ours_is_started_with_says_nothing_of_other_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_SERVER_TOKENS", "let-me-in-0123456789")
    monkeypatch.setenv("MY_OWN", "kept")
    program = tmp_path / "told.py"
    program.write_text("import os; print(sorted(os.environ))")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.pathsep.join(filter(None, sys.path))}")
    process = ServerProcess(["told"], log=tmp_path / "log")
    process.wait_stopped()
    told = process.log_tail()
    assert "'MY_OWN'" in told
    assert "HARNESS_SERVER" not in told
