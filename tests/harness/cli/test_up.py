import contextlib
import fcntl
import os
import pty
import signal
import socket
import struct
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAKE_MODULE = "harness.fakes.fake_server"


def server(folder: Path, module: str) -> int:
    """The process that runs a module of ours on behalf of a workplace; 0: there is none."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if module.encode() in words and (entry / "cwd").readlink() == folder:
                return int(entry.name)
    return 0


def holds(path: Path, text: str, times: int = 1) -> bool:
    return path.exists() and path.read_text().count(text) >= times


def test_the_fleet_comes_up_survives_a_crash_and_goes_down(
    workplace: Any, free_port: Callable[..., int]
) -> None:
    port = free_port(2)
    process = workplace.start("up", "--port", str(port))
    up = workplace.folder / "runs" / "up"
    try:
        workplace.wait_until(lambda: holds(up / "endpoints.toml", "rnn-rag"))
        assert f'address = "grpc://127.0.0.1:{port}"' in (up / "endpoints.toml").read_text()
        arguments = ("eval", "--endpoints", str(up / "endpoints.toml"), "--endpoint", "rnn-rag")
        first = workplace.run(*arguments, "--task", "all", "--samples", "3")
        assert first.exit_code == 0, first.stderr
        for module, log in (
            (FAKE_MODULE, "rnn.log"),
            ("harness_retrieval.command", "retrieval.log"),
        ):
            killed = server(workplace.folder, module)
            os.kill(killed, signal.SIGKILL)
            workplace.wait_until(lambda log=log: holds(up / log, "listening on", times=2))
            assert server(workplace.folder, module) != killed
        second = workplace.run(*arguments, "--task", "all", "--samples", "3")
        assert second.exit_code == 0, second.stderr
    finally:
        process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    assert "rnn-rag          healthy" in stdout
    assert "rnn-rag          restarting" in stdout
    assert "retrieval        healthy" in stdout
    assert "harness eval --endpoints runs/up/endpoints.toml" in stderr
    assert "all servers are down" in stderr
    for number in (port, port + 1):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", number), timeout=600)


def test_a_server_that_hangs_is_shown_as_unhealthy_until_it_goes_on(
    workplace: Any, free_port: Callable[..., int]
) -> None:
    process = workplace.start("up", "rnn", "--port", str(free_port(3)))
    try:
        endpoints = workplace.folder / "runs" / "up" / "endpoints.toml"
        workplace.wait_until(lambda: holds(endpoints, "rnn"))
        hanging = server(workplace.folder, FAKE_MODULE)
        os.kill(hanging, signal.SIGSTOP)
        lines = []
        while not lines or "unhealthy" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended"
        os.kill(hanging, signal.SIGCONT)
        assert "rnn              healthy" in process.stdout.readline()
    finally:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode == 0


def test_a_terminal_shows_one_table_and_gets_its_cursor_back(
    workplace: Any, free_port: Callable[..., int]
) -> None:
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = workplace.start("up", "--port", str(free_port(3)), terminal=terminal)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed: the program is done
        while piece := os.read(master, 4096):
            if b"all are up" in shown + piece and b"all are up" not in shown:
                process.send_signal(signal.SIGINT)
            shown += piece
    os.close(master)
    assert process.wait(timeout=600) == 0
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 1
    last = shown[shown.rindex(b"endpoint") :].decode()
    assert last.count("stopped") == 3
    for word in ("health", "address", "restarts", "log", "retrieval.log", "rnn.log"):
        assert word in last


def test_every_missing_checkpoint_is_named_and_nothing_is_started(workplace: Any) -> None:
    with (workplace.folder / "endpoints.toml").open("a") as file:
        file.write('[ssm]\ncheckpoint = "ssm"\n[hybrid]\ncheckpoint = "hybrid"\n')
    result = workplace.run("up")
    assert result.exit_code == 2
    for name in ("ssm", "hybrid"):
        assert f"endpoint '{name}': no checkpoint at {workplace.folder}/{name}" in result.stderr
    assert "starting" not in result.stderr


def test_all_that_failed_to_start_are_told_at_once(
    workplace: Any, free_port: Callable[..., int]
) -> None:
    (workplace.folder / "ssm").mkdir()
    (workplace.folder / "ssm" / "fake.json").write_text('{"refuse_with_status": 2}')
    with (workplace.folder / "endpoints.toml").open("a") as file:
        file.write('[ssm]\ncheckpoint = "ssm"\n')
    workplace.script(refuse_with_status=2)
    result = workplace.run("up", "--port", str(free_port(3)))
    assert result.exit_code == 2
    for label in ("rnn (rnn) did not start", "ssm (ssm) did not start"):
        assert label in result.stderr


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
