"""`harness train RECIPE`: trains the recipe's checkpoint, then measures it for its model card."""

import argparse
import contextlib
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import torch

from harness_servers.checkpoints.checkpoint import save_checkpoint
from harness_servers.models.protocol import ConfigError
from harness_training.card import CardError, write_card
from harness_training.loop import make_optimizer, train_steps
from harness_training.model import make_model
from harness_training.recipe import Recipe, RecipeError, load_recipe
from harness_training.state import Progress, load_state, save_state
from harness_training.tokenizer import build_tokenizer, checkpoint_config

SECONDS_BETWEEN_REPORTS = 10.0
SECONDS_BETWEEN_SAVES = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 the recipe is wrong, 4 stopped and resumable."""
    options = _parse(arguments)
    try:
        recipe = load_recipe(options.recipe)
    except RecipeError as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    folder: Path = options.out or recipe.path.resolve().parent
    state_path: Path = options.state / f"{recipe.name}.safetensors"
    if options.restart:
        state_path.unlink(missing_ok=True)
    torch.set_num_threads(options.threads)
    try:
        is_done = _train(recipe, folder, state_path)
    except ConfigError as error:
        print(f"train: {recipe.path}: {error}", file=sys.stderr)
        return 2
    if not is_done:
        print(f"train: stopped; the same command goes on from {state_path}", file=sys.stderr)
        return 4
    if options.no_card:
        return 0
    try:
        write_card(recipe, folder, state_path)
    except CardError as error:
        print(f"train: trained, but the card could not be written: {error}", file=sys.stderr)
        return 4
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="harness train", description=__doc__)
    parser.add_argument("recipe", type=Path, help="for example checkpoints/rnn/recipe.toml")
    parser.add_argument("--out", type=Path, help="checkpoint folder (default: the recipe's own)")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("training-state"),
        help="folder of what a stopped training goes on from (default: %(default)s)",
    )
    parser.add_argument("--restart", action="store_true", help="forget an earlier stopped training")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    parser.add_argument("--no-card", action="store_true", help="do not measure and write the card")
    return parser.parse_args(arguments)


def _train(recipe: Recipe, folder: Path, state_path: Path) -> bool:
    """Returns False where a signal stopped it before the end; the state is saved either way."""
    tokenizer = build_tokenizer()
    config = checkpoint_config(recipe.model, tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = make_model(config, recipe.seed, device)
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


if __name__ == "__main__":
    sys.exit(main())
