"""A terminal of 50 columns: no number and no name is cut, and a grid may have more rows than it."""

import fcntl
import os
import pty
import re
import struct
import termios
from typing import Any

import pytest

from harness.tasks import TASKS

COLUMNS, ROWS = 50, 8


def shown(workplace: Any, *arguments: str) -> str:
    """All that is written to the terminal, without its control sequences."""
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = workplace.start(*arguments, terminal=terminal)
    os.close(terminal)
    output = bytearray()
    while True:
        try:
            output += os.read(master, 65536)
        except OSError:
            break
    os.close(master)
    assert process.wait(timeout=600) == 0, output.decode()
    text = output.decode().replace("\r", "\n")
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


@pytest.mark.parametrize("arguments", [("list",), ("show", "phonebook")])
def test_the_tasks_are_folded_between_words(workplace: Any, arguments: tuple[str, ...]) -> None:
    text = shown(workplace, "tasks", *arguments)
    folded = " ".join(text.split())
    if arguments == ("list",):
        assert max(map(len, text.splitlines())) <= COLUMNS
        for name, kind in TASKS.items():
            assert f"{name} {kind.summary}" in folded
    else:
        assert f"asks {TASKS['phonebook'].instruction}" in folded
        # A prompt is one line still: it is there to be copied.
        assert re.search(r"\nprompt     phonebook ; .* <dense> \w+ \w+\n", text)


def test_a_grid_shows_each_cell_whole_and_the_current_one_last(workplace: Any) -> None:
    text = shown(
        *(workplace, "eval", "--endpoint", "rnn", "--task", "assoc_recall,permutation_composition"),
        *("--size", "3,4,5,6,7,8", "--prompting", "direct,cot", "--samples", "4"),
    )
    for task in ("assoc_recall", "permutation_composition"):
        for size in range(3, 9):
            for prompting in ("direct", "cot"):
                name = f"rnn {task} {size} {prompting}"
                assert re.search(rf"^{name}$", text, re.MULTILINE), name
    assert len(re.findall(r"^ *4/4 accuracy \d\.\d{3}$", text, re.MULTILINE)) == 24
    assert "…" not in text
