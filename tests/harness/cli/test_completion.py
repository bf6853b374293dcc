"""What the shell offers, through Click's own completion."""

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from harness.cli import main
from harness.tasks import TASKS


def offered(*words: str) -> list[str]:
    """For the last of the words of a command line."""
    *before, incomplete = words
    complete = ShellComplete(main, {}, "harness", "_HARNESS_COMPLETE")
    return [item.value for item in complete.get_completions(before, incomplete)]


def test_the_names_of_endpoints_are_offered_that_begin_so() -> None:
    assert offered("eval", "--endpoint", "rnn") == ["rnn", "rnn-rag"]
    assert offered("up", "ssm-") == ["ssm-rag"]
    assert offered("endpoints", "check", "al") == ["all"]


def test_the_last_of_a_list_is_completed_behind_the_others() -> None:
    assert offered("eval", "--endpoint", "rnn,ss") == ["rnn,ssm", "rnn,ssm-rag"]
    assert offered("eval", "--endpoint", "rnn,rnn") == ["rnn,rnn-rag"]
    assert offered("eval", "--prompting", "cot,") == ["cot,direct", "cot,search"]


def test_every_task_is_offered_and_all_where_all_may_be_asked() -> None:
    assert offered("eval", "--task", "") == [*TASKS, "all"]
    assert offered("tasks", "show", "") == list(TASKS)


def test_the_endpoints_are_those_of_the_file_that_is_given(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[mine]\naddress = "grpc://127.0.0.1:1"\n')
    assert offered("eval", "--endpoints", str(file), "--endpoint", "") == ["mine", "all"]


def test_a_broken_file_of_endpoints_offers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endpoints.toml").write_text("[mine")
    monkeypatch.chdir(tmp_path)
    assert offered("eval", "--endpoint", "") == []
