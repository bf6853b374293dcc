"""`harness eval` against servers that set the pace, started as a user would start them."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Start = Callable[[str], None]
ASKED = ("--task", "assoc_recall", "--size", "4", "--prompting", "direct")


@pytest.fixture
def start(workplace: Any) -> Iterator[Start]:
    """Starts a fake of this name; it is the endpoint `far` then."""
    processes: list[subprocess.Popen[str]] = []

    def starting(name: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.fakes.paced_servers", name],
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stderr
        address = process.stderr.readline().removeprefix("listening on ").strip()
        (workplace.folder / "endpoints.toml").write_text(
            f'[far]\naddress = "{address}"\nmodel = "m"\n'
        )

    yield starting
    for process in processes:
        process.terminate()
        process.communicate(timeout=600)


def ask(workplace: Any, *options: str) -> Any:
    return workplace.run("eval", "--endpoint", "far", *ASKED, "--json", *options)


def resume(workplace: Any) -> Any:
    return workplace.run("eval", "--resume", workplace.only_run().name, "--json")


def test_filtered_samples_are_done_and_shown_apart(workplace: Any, start: Start) -> None:
    start("filter")
    result = ask(workplace, "--samples", "20")
    assert result.exit_code == 0, result.stderr
    row = json.loads(result.stdout)
    assert (row["n"], row["filtered"], row["correct"]) == (20, 4, 16)
    run = workplace.only_run().name
    assert "nothing is left to do" in resume(workplace).stderr
    assert "filtered" in workplace.run("report", run).stdout
    rescored = workplace.run("rescore", run, "--in-place")
    assert "nothing changed" in rescored.stdout


def test_a_run_whose_every_request_is_refused_ends_and_can_be_resumed(
    workplace: Any, start: Start
) -> None:
    start("refuses-all")
    result = ask(workplace, "--samples", "30")
    assert result.exit_code == 4
    assert "refused 10 requests in a row; the last one: not today" in result.stderr
    assert "To go on: harness eval --resume" in result.stderr
    start("small-context")
    resumed = resume(workplace)
    assert resumed.exit_code == 0, resumed.stderr
    assert json.loads(resumed.stdout)["n"] == 30


def test_a_budget_stops_cleanly_and_says_how_to_go_on(workplace: Any, start: Start) -> None:
    start("small-context")
    result = ask(workplace, "--samples", "60", "--max-tokens-total", "3000")
    assert result.exit_code == 4
    assert "of 3,000 tokens (--max-tokens-total)" in result.stderr
    assert "To go on: harness eval --resume" in result.stderr
    assert 0 < json.loads(result.stdout)["n"] < 60
    resumed = resume(workplace)
    assert resumed.exit_code == 0
    assert json.loads(resumed.stdout)["n"] == 60


def test_repeats_are_of_the_run(workplace: Any, start: Start) -> None:
    start("small-context")
    result = ask(workplace, "--samples", "5", "--repeats", "3")
    assert result.exit_code == 0, result.stderr
    row = json.loads(result.stdout)
    assert (row["n"], row["repeats"], row["pass_at_k"], row["agreement"]) == (15, 3, 1, 1)
    path = workplace.only_run() / "samples.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
    assert resume(workplace).exit_code == 0
    keys = {(one["address"], one["repeat"]) for one in workplace.samples()}
    assert len(keys) == len(workplace.samples()) == 15
    run = workplace.only_run().name
    other = workplace.run("eval", "--resume", run, "--repeats", "2")
    assert other.exit_code == 2
    assert "--repeats: the run has 3, the command 2" in other.stderr
    pages = workplace.run("report", run, "--html", "r.html", "--samples-dir", "pages")
    assert pages.exit_code == 0, pages.stderr
    assert len(list((workplace.folder / "pages").glob("sample-*.html"))) == 15
    assert "Samples asked again" in (workplace.folder / "r.html").read_text()


def test_a_signal_during_a_back_off_stops_in_order(workplace: Any, start: Start) -> None:
    start("sixty-a-minute")
    process = workplace.start("eval", "--endpoint", "far", *ASKED)
    while "it turns requests away" not in (line := process.stderr.readline()):
        assert line, "it ended"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 4
    assert "Traceback" not in stderr
    assert "stopped by Ctrl-C" in stderr
    assert "To go on: harness eval --resume" in stderr
