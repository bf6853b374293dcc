"""What README.md shows of a command is what the command says."""

from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[3] / "README.md"
PROGRAM = "$ .venv/bin/harness "


def shown() -> list[tuple[str, str]]:
    """(arguments, output) of every block that begins with a command and goes on with its output."""
    blocks = README.read_text(encoding="utf-8").split("```")[1::2]
    texts = [block.partition("\n")[2] for block in blocks]
    commands = [text.partition("\n") for text in texts if text.startswith(PROGRAM)]
    return [(command.removeprefix(PROGRAM), output) for command, _, output in commands]


def test_there_is_a_sample() -> None:
    assert [command.split()[:2] for command, _ in shown()] == [["tasks", "sample"]]


@pytest.mark.parametrize(("command", "output"), shown())
def test_it_shows_what_the_command_says(workplace: Any, command: str, output: str) -> None:
    result = workplace.run(*command.split())
    assert result.exit_code == 0, result.stderr
    assert result.stdout == output
