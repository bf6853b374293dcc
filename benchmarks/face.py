"""`harness serve openai` for as long as a block runs, and what other programs ask of it."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harnessapi.values import Mode

from benchmarks.processes import free_port, running, wait_started
from harness.endpoints.config import PACKAGED_FILE, load_endpoints
from harness.endpoints.endpoint import Endpoint
from harness.sample import Sample, Split
from harness.tasks import make_task
from harness.tasks.prompts import make_prompt
from harness.tasks.symbolic import write
from harness.tasks.task import Task
from harness.way import Prompting, Way

ROOT: Final = Path(__file__).parents[1]
SEARCH: Final = Way(prompting=Prompting.SEARCH, retrieval=Mode.DENSE)
COT: Final = Way(prompting=Prompting.COT)
DIRECT: Final = Way(prompting=Prompting.DIRECT)
_MAX_START_S: Final = 900
_HARNESS: Final = (sys.executable, "-m", "harness")


@dataclass(frozen=True, kw_only=True)
class Served:
    """`base_url` of the face; `endpoints`: a file with the addresses of the servers behind it."""

    base_url: str
    endpoints: Path


@contextlib.contextmanager
def served(names: Sequence[str], folder: Path) -> Iterator[Served]:
    """Starts the endpoints of the packaged file and the face. Raises StartError."""
    folder.mkdir(parents=True, exist_ok=True)
    endpoints = folder / "endpoints.toml"
    endpoints.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        fleet = folder / "fleet.toml"
        fleet.write_text("".join(map(_table, load_endpoints(PACKAGED_FILE, ROOT).select(names))))
        up = ("up", *names, "--endpoints", str(fleet), "--logs", str(folder))
        log = folder / "up.txt"
        child = stack.enter_context(running([*_HARNESS, *up, "--port", str(free_port())], log))
        wait_started(
            lambda: endpoints.exists() and bool(endpoints.read_text()),
            child,
            log,
            within_s=_MAX_START_S,
        )
        said = folder / "face.txt"
        face = ("serve", "openai", "--endpoint", ",".join(names), "--listen", "127.0.0.1:0")
        command = [*_HARNESS, *face, "--endpoints", str(endpoints)]
        child = stack.enter_context(running(command, said))
        wait_started(lambda: " at http" in said.read_text(), child, said, within_s=_MAX_START_S)
        yield Served(base_url=said.read_text().rpartition(" at ")[2].strip(), endpoints=endpoints)


def _table(endpoint: Endpoint) -> str:
    """As the packaged file has it, with more time to start than a busy machine needs."""
    retrieval = "true" if endpoint.retrieval else "false"
    return (
        f'[{endpoint.name}]\ncheckpoint = "{endpoint.checkpoint_folder()}"\n'
        f"retrieval = {retrieval}\nstart_timeout_s = {_MAX_START_S}\n"
    )


def samples(size: int, number: int) -> tuple[Task, list[Sample]]:
    """The first of assoc_recall's test split, seed 0: those that `harness eval` asks."""
    task = make_task("assoc_recall", size=size)
    return task, [task.sample(Split.TEST, 0, index) for index in range(number)]


def prompts(size: int, number: int, way: Way) -> list[dict[str, str]]:
    """What is asked in one way, and the right answers."""
    task, drawn = samples(size, number)
    return [
        {"prompt": make_prompt(task, sample, way).text, "target": sample.target} for sample in drawn
    ]


def choices(size: int, number: int, way: Way) -> list[dict[str, Any]]:
    """Each value of a context as the answer, behind all that a perfect model writes before it."""
    task, drawn = samples(size, number)
    rows = []
    for sample in drawn:
        values = list(dict.fromkeys(one.target for one in sample.siblings()))
        worked = " ".join(piece.text for piece in write(sample.steps(way)))
        before = worked.rpartition("<answer>")[0]
        rows.append(
            {
                "context": f"{make_prompt(task, sample, way).text} {before}".strip(),
                "choices": [f"<answer> {value}" for value in values],
                "gold": values.index(sample.target),
            }
        )
    return rows


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """As JSON lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
