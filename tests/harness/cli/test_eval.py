import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import termios
from pathlib import Path
from typing import Any

import pytest

EVAL = ("eval", "--endpoint", "rnn-rag", "--task", "assoc_recall")
KEYS = [
    "run",
    "endpoint",
    "family",
    "task",
    "size",
    "task_parameters",
    "prompting",
    "retrieval",
    "style",
    "n",
    "correct",
    "accuracy",
    "ci95",
    "no_answer",
    "truncated",
    "errored",
    "tokens_per_s",
    "ttft_ms_p50",
    "searches_per_sample",
]


def test_a_run_ends_with_a_table_and_says_where_it_is_stored(workplace: Any) -> None:
    result = workplace.run(*EVAL, "--samples", "20")
    assert result.exit_code == 0, result.stderr
    for word in ("RNN", "1.2k", "512 B", "1.000", "0.839-1.000", f"stored in {Path('runs')}"):
        assert word in result.stdout
    assert "starting rnn-rag (rnn)" in result.stderr
    assert "20/20 samples accuracy 1.000" in result.stderr


def test_json_is_one_object_a_cell_and_nothing_else_on_standard_output(workplace: Any) -> None:
    workplace.script(wrong_share=0.5)
    result = workplace.run(
        *("eval", "--endpoint", "all", "--task", "assoc_recall", "--size", "2,4"),
        *("--samples", "30", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(row.keys() >= set(KEYS) for row in rows)
    assert [(row["endpoint"], row["size"]) for row in rows] == [
        ("rnn", 2),
        ("rnn", 4),
        ("rnn-rag", 2),
        ("rnn-rag", 4),
    ]
    assert [row["retrieval"] for row in rows] == [None, None, "dense", "dense"]
    assert [row["searches_per_sample"] for row in rows] == [0, 0, 1, 1]
    for row in rows:
        assert (row["n"], row["family"], row["style"]) == (30, "RNN", "symbolic")
        assert row["accuracy"] == row["correct"] / 30
        assert row["ci95"][0] <= row["accuracy"] <= row["ci95"][1]
        assert row["tokens_per_s"] > 0
        assert 0 < row["ttft_ms_p50"] <= row["ttft_ms_p90"] <= row["ttft_ms_p99"]
        assert "token_interval_ms_p99" in row
    assert json.loads((workplace.only_run() / "summary.json").read_text())["cells"] == rows


def test_endpoints_of_one_checkpoint_share_one_server(workplace: Any) -> None:
    result = workplace.run("eval", "--endpoint", "rnn,rnn-rag", "--task", "all", "--samples", "2")
    assert result.stderr.count("starting") == 1


def test_a_stored_sample_holds_all_that_scoring_needs(workplace: Any) -> None:
    workplace.run(*EVAL, "--samples", "1", "--size", "2", "--retrieval", "regex")
    [sample] = workplace.samples()
    assert sample["cell"] == "rnn-rag/assoc_recall/size=2/search/regex/symbolic"
    assert sample["address"].endswith("size=2/test/seed=0/index=0")
    assert "<regex>" in sample["prompt"]
    assert sample["searches"][0]["expanded_query"] == ""
    assert len(sample["prompt_token_ids"]) == len(sample["prompt"].split())
    assert [channel for channel, _ in sample["transcript"]] == ["query", "inserted", "answer"]
    assert sample["searches"][0]["outcome"] == "found"
    assert sample["answer"] == sample["target"]
    assert (sample["verdict"], sample["finish_reason"]) == ("correct", "eos")
    assert sample["times"]["ttft_ms"] <= sample["times"]["total_ms"]
    assert (sample["num_attempts"], sample["faults"]) == (1, [])
    manifest = json.loads((workplace.only_run() / "manifest.json").read_text())
    assert manifest["options"]["retrieval"] == "regex"
    assert manifest["endpoints"][0]["model"]["checkpoint_digest"]
    assert manifest["sessions"][0]["concurrency"] == 64


def test_truncated_completions_are_counted_and_never_answers(workplace: Any) -> None:
    result = workplace.run(*EVAL, "--samples", "5", "--max-new-tokens", "2", "--json")
    [row] = [json.loads(line) for line in result.stdout.splitlines()]
    assert (row["n"], row["truncated"], row["correct"]) == (5, 5, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--endpoint", "rn", "--task", "all"], "unknown endpoint 'rn'; did you mean rnn"),
        (["--endpoint", "rnn", "--task", "asoc_recall"], "did you mean assoc_recall?"),
        (["--endpoint", "rnn", "--task", "all", "--size", "257"], "size 257 is out of range"),
        (["--endpoint", "rnn", "--task", "index", "--size", "0,300"], "size 300 is out of range"),
        (["--endpoint", "rnn", "--task", "all", "--size", "4,x"], "'x' is not a valid integer"),
        (["--endpoint", "rnn", "--task", "all", "--size", "4,,5"], "empty part"),
        (["--endpoint", "rnn", "--task", "all", "--samples", "0"], "0 is not in the range"),
        (["--endpoint", "rnn", "--task", "all", "--max-new-tokens", "0"], "0 is not in the"),
        (["--endpoint", "rnn", "--task", "all", "--concurrency", "0"], "0 is not in the range"),
        (["--endpoint", "rnn", "--task", "all", "--prompting", "cat"], "'cat' is not one of"),
        (["--endpoint", "rnn", "--task", "all", "--prompting", "search"], "no search channel"),
        (["--endpoint", "rnn"], "--task is needed"),
        (["--resume", "nope"], "unknown run 'nope'"),
        (["--endpoint", "rnn", "--task", "all", "--endpoints", "no.toml"], "no.toml"),
    ],
)
def test_a_wrong_command_exits_2_and_starts_nothing(
    workplace: Any, arguments: list[str], message: str
) -> None:
    result = workplace.run("eval", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert "starting" not in result.stderr
    assert not (workplace.folder / "runs").exists()


def test_a_checkpoint_that_does_not_read_the_style_exits_2(workplace: Any) -> None:
    result = workplace.run(*EVAL, "--style", "natural")
    assert result.exit_code == 2
    assert "no style natural; usable: symbolic; leave out --style natural" in result.stderr
    assert list((workplace.folder / "runs").iterdir()) == []


def test_a_folder_that_cannot_be_written_exits_2_before_anything_starts(workplace: Any) -> None:
    (workplace.folder / "file").touch()
    result = workplace.run(*EVAL, "--out", "file/runs")
    assert result.exit_code == 2
    assert "file/runs" in result.stderr
    assert "starting" not in result.stderr


def test_all_endpoints_are_asked_or_the_missing_ones_are_named(workplace: Any) -> None:
    with (workplace.folder / "endpoints.toml").open("a") as file:
        file.write('[ssm]\ncheckpoint = "ssm"\n[hybrid]\ncheckpoint = "hybrid"\n')
    result = workplace.run("eval", "--endpoint", "all", "--task", "all")
    assert result.exit_code == 2
    for name in ("ssm", "hybrid"):
        assert f"endpoint '{name}': no checkpoint at {workplace.folder}/{name}" in result.stderr
    assert "starting" not in result.stderr


@pytest.mark.parametrize(("status", "exit_code"), [(2, 2), (1, 3)])
def test_a_server_that_does_not_start_is_told_with_its_last_words(
    workplace: Any, status: int, exit_code: int
) -> None:
    workplace.script(refuse_with_status=status)
    result = workplace.run(*EVAL)
    assert result.exit_code == exit_code
    assert "the script refuses" in result.stderr
    assert list((workplace.folder / "runs").iterdir()) == []


def test_a_prompt_over_the_servers_length_exits_2_before_the_first_sample(workplace: Any) -> None:
    workplace.script(max_prompt_tokens=20)
    result = workplace.run(*EVAL, "--size", "16")
    assert result.exit_code == 2
    assert "at size 16: a prompt has 52 tokens, endpoint 'rnn-rag' takes 20" in result.stderr
    assert list((workplace.folder / "runs").iterdir()) == []


GRID = ("eval", "--endpoint", "rnn,rnn-rag", "--task", "assoc_recall,parity", "--size", "2,16,129")
GRID = (*GRID, "--prompting", "direct,search", "--samples", "3")


def test_the_rest_of_a_grid_is_run_and_what_is_refused_is_told_and_exits_4(workplace: Any) -> None:
    workplace.script(max_prompt_tokens=100)
    result = workplace.run(*GRID, "--json")
    assert result.exit_code == 4, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["endpoint"], row["task"], row["size"], row["prompting"]) for row in rows] == [
        ("rnn", "assoc_recall", 2, "direct"),
        ("rnn", "assoc_recall", 16, "direct"),
        ("rnn", "parity", 16, "direct"),
        ("rnn-rag", "assoc_recall", 2, "direct"),
        ("rnn-rag", "assoc_recall", 2, "search"),
        ("rnn-rag", "assoc_recall", 16, "direct"),
        ("rnn-rag", "assoc_recall", 16, "search"),
        ("rnn-rag", "parity", 16, "direct"),
    ]
    assert all(row.keys() >= set(KEYS) and row["n"] == 3 for row in rows)
    refused = [line for line in result.stderr.splitlines() if line.startswith("refused, ")]
    assert [line.partition(": ")[2] for line in refused] == [
        "--prompting search: endpoint 'rnn' has no search channel "
        "(retrieval = true in endpoints.toml gives it one)",
        "assoc_recall: size 129 is out of range: 1 to 128 key-value pairs",
        "parity: size 2 is out of range: 4 to 256 bits",
        "parity: no prompting search; usable: direct, cot",
        "parity balanced=1 at size 129: a prompt has 132 tokens, endpoint 'rnn' takes 100",
        "parity balanced=1 at size 129: a prompt has 132 tokens, endpoint 'rnn-rag' takes 100",
    ]
    assert len(json.loads((workplace.only_run() / "manifest.json").read_text())["refused"]) == 16


def test_resume_and_report_say_what_was_refused_too(workplace: Any) -> None:
    assert workplace.run(*GRID).exit_code == 4
    run = workplace.only_run()
    told = "refused, 4 cells: assoc_recall: size 129 is out of range: 1 to 128 key-value pairs"
    again = workplace.run("eval", "--resume", run.name)
    assert again.exit_code == 4
    assert "nothing is left to do" in again.stderr
    assert told in again.stderr
    samples = (run / "samples.jsonl").read_text().splitlines(keepends=True)
    (run / "samples.jsonl").write_text("".join(samples[:-2]))
    resumed = workplace.run("eval", "--resume", run.name)
    assert resumed.exit_code == 4
    assert told in resumed.stderr
    assert len((run / "samples.jsonl").read_text().splitlines()) == len(samples)
    report = workplace.run("report", run.name, "--html", "report.html")
    assert report.exit_code == 0
    assert told in report.stdout
    assert told in (workplace.folder / "report.html").read_text()


def test_a_server_that_dies_is_started_again_and_the_result_is_the_same(workplace: Any) -> None:
    workplace.script(wrong_share=0.3, delay_s=0.01, die_at_call=30)
    result = workplace.run(*EVAL, "--samples", "60", "--concurrency", "16", "--json")
    assert result.exit_code == 0, result.stderr
    assert "starting it again (1 of 3)" in result.stderr
    samples = workplace.samples()
    assert len({sample["address"] for sample in samples}) == len(samples) == 60
    assert any(sample["num_attempts"] > 1 for sample in samples)
    workplace.script(wrong_share=0.3)
    again = workplace.run(*EVAL, "--samples", "60", "--out", "again", "--json")
    rows = [json.loads(r.stdout) for r in (result, again)]
    assert rows[0]["correct"] == rows[1]["correct"] < 60


def test_a_server_that_keeps_dying_is_given_up_and_the_run_can_go_on(workplace: Any) -> None:
    workplace.script(delay_s=0.01, die_at_call=10, dies_again=True)
    result = workplace.run(*EVAL, "--samples", "90", "--concurrency", "2")
    assert result.exit_code == 4
    assert "starting it again (3 of 3)" in result.stderr
    assert "it is given up" in result.stderr
    assert "To go on: harness eval --resume runs/" in result.stderr
    workplace.script()
    resumed = workplace.run("eval", "--resume", workplace.only_run().name, "--json")
    assert resumed.exit_code == 0
    assert json.loads(resumed.stdout)["n"] == 90


def test_a_terminal_gets_a_bar_and_a_narrow_one_a_narrow_table(workplace: Any) -> None:
    master, terminal = pty.openpty()
    # The wide table takes 78 columns, or more where there are more digits.
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 72, 0, 0))
    process = workplace.start(
        "eval", "--endpoint", "all", "--task", "assoc_recall", "--samples", "20", terminal=terminal
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed: the program is done
        while piece := os.read(master, 4096):
            shown += piece
    os.close(master)
    assert process.wait(timeout=600) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "20/20 accuracy 1.000" in text
    assert "endpoint rnn-rag, family RNN, parameters 1.2k, state a sequence 512 B" in text
    table = text[text.index("task assoc_recall") :]
    assert max(len(line) for line in table.splitlines()) <= 72
    assert "…" not in table


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_order_and_says_how_to_go_on(workplace: Any, number: int) -> None:
    workplace.script(hang_from_call=9)
    process = workplace.start(*EVAL, "--samples", "500", "--concurrency", "4")
    workplace.wait_for_samples(8)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 4, stderr
    assert "Traceback" not in stderr
    assert f"--resume runs/{workplace.only_run().name}" in stderr
    assert "accu-" in stdout
    assert workplace.fakes_running() == []


def test_a_killed_run_leaves_no_server_and_is_finished_by_resume_exactly_once(
    workplace: Any,
) -> None:
    workplace.script(hang_from_call=21, wrong_share=0.3)
    options = ("--samples", "60", "--seed", "5", "--size", "2,4")
    process = workplace.start(*EVAL, *options, "--concurrency", "4")
    workplace.wait_for_samples(20)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=600)
    workplace.wait_until(lambda: not workplace.fakes_running())
    workplace.script(wrong_share=0.3)
    resumed = workplace.run("eval", "--resume", workplace.only_run().name, "--json")
    assert resumed.exit_code == 0, resumed.stderr
    keys = [(sample["cell"], sample["address"]) for sample in workplace.samples()]
    assert len(set(keys)) == len(keys) == 120
    whole = workplace.run(*EVAL, *options, "--out", "undisturbed", "--json")
    counts = [
        [(row["size"], row["n"], row["correct"]) for row in map(json.loads, r.stdout.splitlines())]
        for r in (resumed, whole)
    ]
    assert counts[0] == counts[1]
