"""The model card: what a checkpoint is, how it was made, and what the harness measured of it."""

import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from safetensors import safe_open

from harness_training.measured import MeasuredCells
from harness_training.recipe import Recipe
from harness_training.state import Progress, read_progress
from harness_training.trained_contexts import budget_lines, trained_on

_COLUMNS = (
    "task",
    "size",
    "prompting",
    "retrieval",
    "n",
    "accuracy",
    "ci95",
    "balanced_accuracy",
    "chance",
    "no_answer",
    "truncated",
    "searches_per_sample",
)


class CardError(Exception):
    """An evaluation for the card failed."""


def write_card(recipe: Recipe, folder: Path, state_path: Path) -> None:
    """Runs the recipe's evaluations and writes README.md into the checkpoint's folder.

    An evaluation that was done for these weights before is not run again.
    """
    progress = read_progress(state_path)
    measured = MeasuredCells(state_path.with_suffix(".measured"), folder / "model.safetensors")
    parts = [_heading(recipe, folder, progress)]
    for evaluation in recipe.evaluations:
        arguments = evaluation.replace("{checkpoint}", folder.resolve().name)
        cells = measured.of(arguments)
        if cells is None:
            print(f"train: measuring: harness eval {arguments}", file=sys.stderr)
            cells = _measure(arguments)
            measured.add(arguments, cells)
        parts.append(_section(arguments, cells))
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")


def _measure(arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "harness", "eval", *shlex.split(arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise CardError(f"`harness eval {arguments}` ended with status {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _heading(recipe: Recipe, folder: Path, progress: Progress) -> str:
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        num_parameters = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118
    shape = ", ".join(f"{name} {value}" for name, value in recipe.model.items())
    command = f"harness train checkpoints/{recipe.name}/recipe.toml"
    if recipe.variant is not None:
        command += f" --model {recipe.variant} --seed {recipe.seed}"
    return (
        f"""{front_matter(recipe, progress.step)}
# {recipe.name if recipe.variant is None else folder.resolve().name}

{shape}; {num_parameters:,} parameters, float32.

Trained by `{command}` (seed {recipe.seed}):
{progress.step:,} steps of at most {recipe.batch_size} contexts, \
{progress.num_tokens / 1e6:.0f}M tokens, {progress.seconds / 60:.0f} minutes of training
on {machine()}. The contexts come from the train split alone; everything below is of the test split,
decoded freely (greedy), searches really made.

{recipe.note}
""".rstrip()
        + "\n"
    )


def front_matter(recipe: Recipe, num_steps: int) -> str:
    """What the card says to programs: the servers read from it what was trained, and how much."""
    return (
        f"---\ntrained_tasks: [{', '.join(recipe.trained_tasks)}]\n"
        f"{budget_lines(trained_on(recipe, num_steps))}---\n"
    )


def _section(arguments: str, cells: list[dict[str, Any]]) -> str:
    header = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"
    rows = [f"| {' | '.join(_text(cell[name]) for name in _COLUMNS)} |" for cell in cells]
    return "\n".join([f"`harness eval {arguments} --json`:\n", header, *rows, ""])


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return " - ".join(_text(part) for part in value)
    return str(value)


def machine() -> str:
    """The processor and how many of its cores this process may use: `AMD EPYC, 2 cores`."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
