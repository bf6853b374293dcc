"""docs/tutorial-add-a-task.md, followed to the letter in a copy of the repository.

Of `make check` it runs what a task can break: lint, format, the types of its module, import rules
and generated pages. Of `make test` the tests that run over the table, for the new task alone, and
those that look at the whole table or at all of our modules. The others see no task, and the whole
suite within one test would take as long again.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

FOLDERS = (
    *("benchmarks", "checkpoints", "deploy", "docs", "harness", "proto", "retrieval", "servers"),
    *("tests", "tools", "training"),
)
# What has the new task in its name, and what is about all of the table.
CHOSEN = "latest or samples_are_what_they_were or no_two or every_task or all_stands"
TESTS = (
    "tests/harness/tasks",
    "tests/harness/scoring",
    "tests/harness/runner/test_planning.py",
    "tests/harness/cli/test_completion.py",
    "tests/test_rooms.py",
    "tests/training/test_data.py",
    "tests/training/test_tokenizer.py",
)
CHECKS = (
    ("-m", "ruff", "check", "."),
    ("-m", "ruff", "format", "--check", "."),
    ("-m", "mypy", "--package", "harness.tasks"),
    ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
    ("docs/generate.py", "--check"),
)


class Copy:
    """The repository, with an environment that is ready: make has nothing to install."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        for name in FOLDERS:
            copytree(root / name, folder / name)
        for path in root.iterdir():
            if path.is_file() and path.name != ".git":
                (folder / path.name).write_bytes(path.read_bytes())
        names = folder / ".names"
        names.mkdir()
        for name in ("servers", "retrieval", "training"):
            (names / f"harness_{name}").symlink_to(folder / name)
        environment = folder / ".venv"
        environment.mkdir()
        for path in Path(sys.prefix).iterdir():
            (environment / path.name).symlink_to(path)
        for stamp in (".eval", ".dev", ".vllm"):
            (environment / stamp).unlink(missing_ok=True)
            (environment / stamp).touch()
        path = [str(folder), str(folder / "proto"), str(names)]
        # Ours are those of the copy, and not the ones that the environment has as its own.
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}

    def run(self, *command: str) -> str:
        """Its output. A failure shows all of it."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}"
        return done.stdout


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "tutorial-add-a-task.md").read_text()


@pytest.fixture(scope="module")
def followed(
    root: Path,
    page: str,
    tutorial_task: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Copy:
    """The file of step 1, and the commands of step 2 up to the checks.

    Whoever has followed it in this very tree has its lines in the tables: not a second time.
    """
    copy = Copy(root, tmp_path_factory.mktemp("copy"))
    module = copy.folder / "harness" / "tasks" / "latest.py"
    is_followed_here = module.exists()
    module.write_text(tutorial_task("latest"))
    table = page.partition("## 2. The table")[2].partition("\n## ")[0]
    block = table.split("```")[1]
    commands = [line.removeprefix("$ ") for line in block.strip().splitlines()]
    assert commands[-2:] == ["make check", "make test"]
    if is_followed_here:
        commands = [command for command in commands if not command.startswith("sed ")]
    said = copy.run("bash", "-euo", "pipefail", "-c", "\n".join(commands[:-2]))
    assert "prompt     assoc_recall ; " in said
    assert "latest/size=4/test/seed=0/index=0" in said
    return copy


@pytest.mark.parametrize("check", CHECKS, ids=("lint", "format", "types", "imports", "pages"))
def test_whoever_follows_it_passes_the_checks(followed: Copy, check: tuple[str, ...]) -> None:
    followed.run(".venv/bin/python", *check)


def test_whoever_follows_it_passes_the_tests_over_the_table(followed: Copy) -> None:
    options = ("-q", "--numprocesses", "0", "-p", "no:cacheprovider", "-k", CHOSEN)
    said = followed.run(".venv/bin/python", "-m", "pytest", *options, *TESTS)
    # The new one was among them.
    assert int(said.splitlines()[-1].split(" passed")[0].split()[-1]) > 30
