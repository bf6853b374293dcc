"""Trains a recipe's checkpoint, from its beginning or from where an earlier training stopped."""

import contextlib
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import torch

from harness_servers.checkpoints.checkpoint import save_checkpoint
from harness_servers.models.protocol import ConfigError
from harness_training.loop import make_optimizer, train_steps
from harness_training.model import make_model
from harness_training.recipe import Recipe, RecipeError
from harness_training.state import Progress, load_state, save_state
from harness_training.tokenizer import build_tokenizer, checkpoint_config

SECONDS_BETWEEN_REPORTS = 10.0
SECONDS_BETWEEN_SAVES = 60.0


def train(recipe: Recipe, folder: Path, state_path: Path, threads: int) -> bool:
    """Returns False where a signal stopped it before the end; the state is saved either way.

    Raises RecipeError where the model cannot have the recipe's shape.
    """
    torch.set_num_threads(threads)
    tokenizer = build_tokenizer()
    config = checkpoint_config(recipe.model, tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = make_model(config, recipe.seed, device)
    except ConfigError as error:
        raise RecipeError(f"{recipe.path}: {error}") from error
    optimizer = make_optimizer(model, recipe)
    progress = Progress()
    with contextlib.suppress(FileNotFoundError):
        progress = load_state(state_path, model, optimizer)
        print(f"train: going on from {state_path}, step {progress.step}", file=sys.stderr)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"train: {recipe.name}, {num_parameters:,} parameters, on {device}", file=sys.stderr)
    stop = _StopSignal()
    reported = saved = time.monotonic()
    for _ in train_steps(recipe, model, tokenizer, optimizer, progress):
        now = time.monotonic()
        if now - reported > SECONDS_BETWEEN_REPORTS:
            reported = now
            print(_progress_line(recipe, progress), file=sys.stderr, flush=True)
        if stop.was_received or now - saved > SECONDS_BETWEEN_SAVES:
            saved = now
            save_state(state_path, model, optimizer, progress)
        if stop.was_received:
            return False
    save_state(state_path, model, optimizer, progress)
    # By parameters: a matrix that stands in two places is written once.
    weights = {name: value.detach() for name, value in model.named_parameters()}
    save_checkpoint(folder, config, weights, tokenizer)
    print(f"train: wrote {folder}", file=sys.stderr)
    return True


class _StopSignal:
    """Remembers Ctrl-C and SIGTERM, so that a training stops between two steps, never within."""

    def __init__(self) -> None:
        self.was_received = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self.was_received = True


def _progress_line(recipe: Recipe, progress: Progress) -> str:
    stage = recipe.stages[min(progress.stage, len(recipe.stages) - 1)]
    return (
        f"train: stage {progress.stage + 1}/{len(recipe.stages)}"
        f"  step {progress.step_in_stage}/{stage.max_steps}"
        f"  loss {progress.loss:.3f}  completions right {progress.accuracy:.3f}"
        f"  {progress.num_tokens / progress.seconds:,.0f} tokens/s"
        f"  {progress.seconds / 60:.1f} min"
    )
