"""A grid with an endpoint that is away, or is lost: the others are asked, and it can come later."""

import json
import signal
from typing import Any

import pytest

ENDPOINTS = """
[rnn]
checkpoint = "rnn"

[ssm]
checkpoint = "ssm"

[ssm-rag]
checkpoint = "ssm"
retrieval = true

[far]
address = "unix:{folder}/nobody.sock"
"""


def script(workplace: Any, checkpoint: str, **fields: Any) -> None:
    (workplace.folder / checkpoint).mkdir(exist_ok=True)
    (workplace.folder / checkpoint / "fake.json").write_text(json.dumps(fields))


@pytest.fixture
def grid(workplace: Any) -> Any:
    (workplace.folder / "endpoints.toml").write_text(ENDPOINTS.format(folder=workplace.folder))
    script(workplace, "ssm")
    return workplace


def ask(workplace: Any, endpoints: str, *more: str) -> Any:
    asked = ("--task", "assoc_recall", "--size", "2,4", "--samples", "5", "--prompting", "direct")
    return workplace.run("eval", "--endpoint", endpoints, *asked, "--json", *more)


def resume(workplace: Any) -> Any:
    return workplace.run("eval", "--resume", workplace.only_run().name, "--json")


def rows(result: Any) -> list[tuple[str, int, int]]:
    found = map(json.loads, result.stdout.splitlines())
    return [(row["endpoint"], row["size"], row["n"]) for row in found]


def manifest(workplace: Any) -> Any:
    return json.loads((workplace.only_run() / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("status", "reason"), [(2, "ssm (ssm) did not start:"), (1, "ssm (ssm) ended with status 1:")]
)
def test_a_grid_goes_on_without_an_endpoint_that_does_not_start(
    grid: Any, status: int, reason: str
) -> None:
    script(grid, "ssm", refuse_with_status=status)
    result = ask(grid, "ssm,rnn")
    assert result.exit_code == 4
    assert rows(result) == [("rnn", 2, 5), ("rnn", 4, 5)]
    told = f"left out, 2 cells of ssm: {reason} {grid.folder}/ssm: the script refuses\n"
    assert result.stderr.count(told) == 2
    assert "10 samples are missing" in result.stderr
    assert "To go on: harness eval --resume" in result.stderr
    assert [one["is_away"] for one in manifest(grid)["refused"]] == [True, True]
    report = grid.run("report", grid.only_run().name)
    assert told.strip() in report.stdout
    assert "10 missing" in report.stdout


def test_a_grid_goes_on_without_an_address_that_does_not_answer(grid: Any) -> None:
    grid.connect_timeout_s = 0
    result = ask(grid, "far,rnn")
    assert result.exit_code == 4
    assert rows(result) == [("rnn", 2, 5), ("rnn", 4, 5)]
    assert result.stderr.count("left out, 2 cells of far: endpoint 'far' (unix:") == 2


def test_endpoints_of_one_checkpoint_share_its_fate(grid: Any) -> None:
    script(grid, "ssm", refuse_with_status=1)
    result = ask(grid, "ssm,rnn,ssm-rag")
    assert result.exit_code == 4
    assert rows(result) == [("rnn", 2, 5), ("rnn", 4, 5)]
    for name in ("ssm", "ssm-rag"):
        assert f"left out, 2 cells of {name}: ssm (ssm) ended" in result.stderr


@pytest.mark.parametrize(("statuses", "exit_code"), [((2, 2), 2), ((1, 2), 3)])
def test_where_no_endpoint_is_left_all_are_told_and_nothing_is_stored(
    grid: Any, statuses: tuple[int, int], exit_code: int
) -> None:
    for name, status in zip(("rnn", "ssm"), statuses, strict=True):
        script(grid, name, refuse_with_status=status)
    result = ask(grid, "rnn,ssm")
    assert result.exit_code == exit_code
    for name in ("rnn", "ssm"):
        assert f"{grid.folder}/{name}: the script refuses" in result.stderr
    assert list((grid.folder / "runs").iterdir()) == []


def test_a_resumed_run_asks_an_endpoint_that_was_away(grid: Any) -> None:
    script(grid, "ssm", refuse_with_status=1)
    ask(grid, "ssm,rnn")
    before = grid.samples()
    again = resume(grid)
    assert again.exit_code == 4
    assert "left out, 2 cells of ssm" in again.stderr
    assert grid.samples() == before
    script(grid, "ssm")
    resumed = resume(grid)
    assert resumed.exit_code == 0, resumed.stderr
    assert rows(resumed) == [("ssm", 2, 5), ("ssm", 4, 5), ("rnn", 2, 5), ("rnn", 4, 5)]
    assert grid.samples()[:10] == before
    stored = manifest(grid)
    assert [one["name"] for one in stored["endpoints"]] == ["ssm", "rnn"]
    assert (stored["refused"], len(stored["sessions"])) == ([], 3)
    assert "nothing is left to do" in resume(grid).stderr


def test_a_cell_that_was_left_out_can_be_refused_once_its_endpoint_is_there(grid: Any) -> None:
    script(grid, "ssm", refuse_with_status=1)
    ask(grid, "ssm,rnn")
    script(grid, "ssm", max_prompt_tokens=12)
    resumed = resume(grid)
    assert resumed.exit_code == 4
    assert rows(resumed) == [("ssm", 2, 5), ("rnn", 2, 5), ("rnn", 4, 5)]
    assert "every cell that can be asked is done" in resumed.stderr
    [refused] = manifest(grid)["refused"]
    assert (refused["size"], refused["is_away"]) == (4, False)


def test_a_resumed_run_goes_on_without_an_endpoint_that_is_away_now(grid: Any) -> None:
    assert ask(grid, "ssm,rnn").exit_code == 0
    path = grid.only_run() / "samples.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[2:-2]))
    before = manifest(grid)
    script(grid, "ssm", refuse_with_status=1)
    resumed = resume(grid)
    assert resumed.exit_code == 4
    assert rows(resumed) == [("ssm", 2, 3), ("ssm", 4, 5), ("rnn", 2, 5), ("rnn", 4, 5)]
    assert resumed.stderr.count("left out, 2 cells of ssm") == 2
    assert "2 samples are missing" in resumed.stderr
    del before["sessions"]
    assert before.items() <= manifest(grid).items()
    script(grid, "ssm", version=2)
    other = resume(grid)
    assert other.exit_code == 2
    assert "endpoint ssm, checkpoint_digest: the run has" in other.stderr
    script(grid, "ssm")
    assert resume(grid).exit_code == 0
    assert len(grid.samples()) == 20


def test_a_grid_goes_on_without_an_endpoint_that_is_lost_on_the_way(grid: Any) -> None:
    script(grid, "ssm", die_at_call=3, dies_again=True)
    result = ask(grid, "ssm,rnn", "--concurrency", "1", "--quiet")
    assert result.exit_code == 4
    assert rows(result)[2:] == [("rnn", 2, 5), ("rnn", 4, 5)]
    assert "going on without ssm: endpoint 'ssm': ssm (ssm) ended with status -9" in result.stderr
    assert "Error: endpoint 'ssm': ssm (ssm) ended with status -9" in result.stderr
    script(grid, "ssm")
    resumed = resume(grid)
    assert resumed.exit_code == 0, resumed.stderr
    assert rows(resumed) == [("ssm", 2, 5), ("ssm", 4, 5), ("rnn", 2, 5), ("rnn", 4, 5)]


def test_a_signal_while_a_server_starts_stops_them_all(grid: Any) -> None:
    script(grid, "ssm", never_listens=True)
    process = grid.start("eval", "--endpoint", "rnn,ssm", "--task", "assoc_recall")
    while "rnn (rnn) is ready" not in (line := process.stderr.readline()):
        assert line, "it ended"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 4, stderr
    assert "stopped by Ctrl-C; nothing was stored" in stderr
    assert grid.fakes_running() == []
    assert list((grid.folder / "runs").iterdir()) == []


def test_quiet_leaves_warnings_and_the_table(grid: Any) -> None:
    quiet = grid.run("eval", "--endpoint", "rnn", "--task", "assoc_recall", "--samples", "5", "-q")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert "1.000" in quiet.stdout
    script(grid, "ssm", die_at_call=2, refuse_with_status=0)
    result = ask(grid, "ssm", "--quiet", "--out", "again")
    assert result.exit_code == 0
    assert result.stderr == ("ssm (ssm) stopped with status -9; starting it again (1 of 3)\n")


def test_quiet_leaves_what_is_refused(grid: Any) -> None:
    result = ask(grid, "rnn", "--quiet", "--size", "2,129")
    assert result.exit_code == 4
    assert result.stderr.splitlines()[0].startswith("refused, 1 cell: assoc_recall: size 129")
    assert "starting" not in result.stderr
