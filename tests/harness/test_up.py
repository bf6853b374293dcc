import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_text(path: Path, text: str) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.02)
    raise TimeoutError(f"no {text!r} in {path}")


def child(pid: int) -> int:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True
    )
    return int(found.stdout.split()[0])


def test_the_fleet_comes_up_survives_a_crash_and_goes_down(workplace: Any) -> None:
    port = free_port()
    process = workplace.start("up", "--port", str(port))
    try:
        endpoints = workplace.folder / "runs" / "up" / "endpoints.toml"
        wait_for_text(endpoints, "rnn-rag")
        assert f'address = "grpc://127.0.0.1:{port}"' in endpoints.read_text()
        arguments = ("eval", "--endpoints", str(endpoints), "--endpoint", "rnn-rag")
        first = workplace.run(*arguments, "--task", "all", "--samples", "3")
        assert first.exit_code == 0, first.stderr
        server = child(process.pid)
        os.kill(server, signal.SIGKILL)
        log = workplace.folder / "runs" / "up" / "rnn.log"
        end = time.monotonic() + 20
        while log.read_text().count("listening on") < 2 and time.monotonic() < end:
            time.sleep(0.02)
        assert child(process.pid) != server
        second = workplace.run(*arguments, "--task", "all", "--samples", "3")
        assert second.exit_code == 0, second.stderr
    finally:
        process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 0, stderr
    assert "rnn-rag          healthy" in stdout
    assert "all servers are down" in stderr
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_an_address_in_use_is_refused(workplace: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = workplace.run("up", "rnn", "--port", str(port))
    assert result.exit_code == 2
    assert f"address 127.0.0.1:{port} is in use" in result.stderr


def test_there_is_nothing_to_start_for_a_server_of_anothers(workplace: Any) -> None:
    (workplace.folder / "endpoints.toml").write_text('[far]\naddress = "127.0.0.1:9"\n')
    result = workplace.run("up", "far")
    assert result.exit_code == 2
    assert "nothing to start" in result.stderr
