"""The training loop: next-token cross entropy on what the model is to write itself.

Shapes: B rows, L tokens, V vocabulary.
"""

import math
import time
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness.tasks import vocabulary as words
from harness_training.data import Batch, make_batch, make_encode
from harness_training.recipe import Recipe, Stage
from harness_training.state import Progress

# Weight of the newest step in the running averages.
_SMOOTHING = 0.05
_FINAL_SHARE = 0.01


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with a short memory for squares: the mixture changes from step to step."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(0.9, 0.98),
    )


@runtime_checkable
class GrowingModel(Protocol):
    """A model whose upper layers can wait."""

    def set_identity_layers(self, count: int) -> None:
        """The upper `count` layers pass on what they get, untrained."""
        ...


def train_steps(
    recipe: Recipe,
    model: nn.Module,
    tokenizer: Tokenizer,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> Iterator[Progress]:
    """Trains from `progress` to the end of the recipe; changes it and yields it at every step."""
    encode = make_encode(tokenizer)
    end_id = encode(words.EOS)[0]
    entered = None
    while progress.stage < len(recipe.stages):
        stage = recipe.stages[progress.stage]
        if stage is not entered:
            entered = stage
            if isinstance(model, GrowingModel):
                model.set_identity_layers(stage.num_identity_layers)
            if stage.forgets_moments and progress.step_in_stage == 0:
                optimizer.state.clear()
        started = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, stage, progress)
        batch = make_batch(recipe, stage, progress.step, encode)
        loss, accuracy = _train_step(model, optimizer, batch, end_id, recipe.gradient_clip)
        progress.seconds += time.monotonic() - started
        progress.num_tokens += batch.tokens_BL.numel()
        _advance(progress, stage, loss, accuracy)
        yield progress


def learning_rate(recipe: Recipe, stage: Stage, progress: Progress) -> float:
    """Linear warm-up while the moments are new; within a decaying stage a cosine to a hundredth."""
    highest = recipe.learning_rate if stage.learning_rate is None else stage.learning_rate
    num_warm = progress.step_in_stage if stage.forgets_moments else progress.step
    rate = highest * min(1.0, (num_warm + 1) / recipe.warmup_steps)
    if stage.decay:
        cosine = 0.5 * (1 + math.cos(math.pi * progress.step_in_stage / stage.max_steps))
        rate *= _FINAL_SHARE + (1 - _FINAL_SHARE) * cosine
    return rate


def _train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    end_id: int,
    gradient_clip: float,
) -> tuple[float, float]:
    """One update; returns the loss and the share of completions with every token right."""
    device = next(model.parameters()).device
    tokens_BL = batch.tokens_BL.to(device)
    before_BL, after_BL = tokens_BL[:, :-1], tokens_BL[:, 1:]
    is_target_BL = batch.is_target_BL[:, 1:].to(device)
    logits_TV = model(before_BL, is_target_BL)
    targets_T = after_BL[is_target_BL]
    loss = F.cross_entropy(logits_TV, targets_T)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
    optimizer.step()
    wrong_T = logits_TV.argmax(-1) != targets_T
    return loss.item(), share_of_right_completions(wrong_T, targets_T == end_id)


def share_of_right_completions(wrong_T: Tensor, is_end_T: Tensor) -> float:
    """Of targets T in reading order; a completion is what stands up to and with its end token."""
    ends_T = is_end_T.long()
    completion_T = ends_T.cumsum(0) - ends_T
    num_wrong_C = torch.zeros(int(ends_T.sum()), device=wrong_T.device)
    num_wrong_C.index_add_(0, completion_T, wrong_T.float())
    return (num_wrong_C == 0).float().mean().item()


def _advance(progress: Progress, stage: Stage, loss: float, accuracy: float) -> None:
    progress.loss += _SMOOTHING * (loss - progress.loss)
    progress.accuracy += _SMOOTHING * (accuracy - progress.accuracy)
    progress.step += 1
    progress.step_in_stage += 1
    good = stage.until_accuracy is not None and progress.accuracy >= stage.until_accuracy
    if good or progress.step_in_stage >= stage.max_steps:
        progress.stage += 1
        progress.step_in_stage = 0
        # The next stage has to show its own accuracy.
        progress.accuracy = 0.0
