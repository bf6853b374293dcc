import json
from pathlib import Path
from typing import Any

import pytest

EVAL = ("eval", "--endpoint", "rnn-rag", "--task", "assoc_recall", "--size", "2")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.fixture
def half(workplace: Any) -> Any:
    """A run of 20 samples of which the last 8 are missing."""
    assert workplace.run(*EVAL, "--samples", "20").exit_code == 0
    path = workplace.only_run() / "samples.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines(path)[:12]))
    return workplace


def addresses(workplace: Any) -> list[str]:
    return [sample["address"] for sample in workplace.samples()]


def test_a_resumed_run_does_exactly_what_is_missing(half: Any) -> None:
    before = lines(half.only_run() / "samples.jsonl")
    result = half.run("eval", "--resume", half.only_run().name)
    assert result.exit_code == 0, result.stderr
    after = lines(half.only_run() / "samples.jsonl")
    assert after[:12] == before
    assert len(set(addresses(half))) == len(after) == 20
    assert "20 samples, 12 stored already" in result.stderr


def test_a_run_is_found_by_its_folder_too(half: Any) -> None:
    result = half.run("eval", "--resume", str(half.only_run()), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["n"] == 20


def test_a_torn_last_line_is_cut_off_and_asked_again(half: Any) -> None:
    path = half.only_run() / "samples.jsonl"
    torn = path.read_bytes()[:-40]
    path.write_bytes(torn)
    result = half.run("eval", "--resume", half.only_run().name, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["n"] == 20
    assert len(set(addresses(half))) == len(addresses(half)) == 20


def test_a_damaged_line_in_the_middle_is_reported_with_its_number(half: Any) -> None:
    path = half.only_run() / "samples.jsonl"
    damaged = lines(path)
    damaged[4] = damaged[4][:50]
    path.write_text("\n".join(damaged) + "\n")
    result = half.run("eval", "--resume", half.only_run().name)
    assert result.exit_code == 2
    assert "samples.jsonl, line 5" in result.stderr


def test_a_complete_run_is_shown_and_starts_nothing(workplace: Any) -> None:
    workplace.run(*EVAL, "--samples", "3")
    result = workplace.run("eval", "--resume", workplace.only_run().name, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["n"] == 3
    assert "nothing is left to do" in result.stderr
    assert "starting" not in result.stderr


def test_options_that_differ_are_listed_and_nothing_is_done(half: Any) -> None:
    before = lines(half.only_run() / "samples.jsonl")
    result = half.run(
        *("eval", "--resume", half.only_run().name, "--samples", "30", "--seed", "1"),
        *("--size", "4", "--task", "assoc_recall", "--prompting", "cot"),
    )
    assert result.exit_code == 2
    assert "--samples: the run has 20, the command 30" in result.stderr
    assert "--seed: the run has 0, the command 1" in result.stderr
    assert "--size: the run has 2, the command 4" in result.stderr
    assert "--prompting: the run has the default, the command cot" in result.stderr
    assert "--task" not in result.stderr
    assert lines(half.only_run() / "samples.jsonl") == before


def test_options_that_change_no_result_may_differ(half: Any) -> None:
    result = half.run(
        *("eval", "--resume", half.only_run().name, "--concurrency", "2", "--deadline", "900")
    )
    assert result.exit_code == 0
    sessions = json.loads((half.only_run() / "manifest.json").read_text())["sessions"]
    assert [session["concurrency"] for session in sessions] == [64, 2]


def test_another_checkpoint_is_a_difference(half: Any) -> None:
    half.script(version=2)
    result = half.run("eval", "--resume", half.only_run().name)
    assert result.exit_code == 2
    assert "endpoint rnn-rag, checkpoint_digest: the run has" in result.stderr
    assert len(half.samples()) == 12


def test_another_number_of_bits_of_state_is_a_difference(half: Any) -> None:
    half.script(state_bits=64)
    result = half.run("eval", "--resume", half.only_run().name)
    assert result.exit_code == 2
    assert "endpoint rnn-rag, state_bits: the run has 0, now it is 64" in result.stderr


def test_another_cache_policy_is_a_difference(half: Any) -> None:
    half.script(cache_policy="tova=64")
    result = half.run("eval", "--resume", half.only_run().name)
    assert result.exit_code == 2
    assert "endpoint rnn-rag, cache_policy: the run has , now it is tova=64" in result.stderr


def test_another_use_of_the_channel_is_a_difference(half: Any) -> None:
    (half.folder / "endpoints.toml").write_text('[rnn-rag]\ncheckpoint = "rnn"\n')
    result = half.run("eval", "--resume", half.only_run().name)
    assert result.exit_code == 2
    assert "only in the run" in result.stderr
    assert "not in the run" in result.stderr


def test_near_run_names_are_suggested(half: Any) -> None:
    name = half.only_run().name
    result = half.run("eval", "--resume", name[:-1] + "x")
    assert result.exit_code == 2
    assert f"did you mean {name}?" in result.stderr
