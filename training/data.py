"""Turns tasks into training batches: token ids, and which of them the model has to predict.

Shapes: B rows, L tokens.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from tokenizers import Tokenizer
from torch import Tensor

from harness.sample import Sample, Split
from harness.tasks import make_task
from harness.tasks import vocabulary as words
from harness.tasks.symbolic import ask, write
from harness_training.recipe import Ingredient, Recipe, Stage

Encode = Callable[[str], tuple[int, ...]]
Row = tuple[list[int], list[bool]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """`is_target_BL` marks what the model writes itself: never prompts, never inserted text."""

    tokens_BL: Tensor
    is_target_BL: Tensor


def make_encode(tokenizer: Tokenizer) -> Encode:
    """Encodes text word by word and remembers each word: training repeats few words often."""

    @cache
    def encode_word(word: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(word, add_special_tokens=False).ids)

    def encode(text: str) -> tuple[int, ...]:
        return tuple(token for word in text.split() for token in encode_word(word))

    return encode


def make_batch(recipe: Recipe, stage: Stage, step: int, encode: Encode) -> Batch:
    """The batch of one step: a pure function of its arguments, so a resumed training sees it too.

    One task and size a batch, so that its rows are about equally long.
    """
    digest = hashlib.sha256(f"{recipe.name}/seed={recipe.seed}/step={step}".encode()).digest()
    generator = random.Random(int.from_bytes(digest, "big"))
    weights = [part.weight for part in stage.mixture]
    part = generator.choices(stage.mixture, weights=weights)[0]
    size = generator.randint(part.min_size, part.max_size)
    task = make_task(part.task, size=size, **dict(part.parameters))
    first = step * recipe.batch_size
    num_rows = part.batch_size or recipe.batch_size
    samples = [task.sample(Split.TRAIN, recipe.seed, first + row) for row in range(num_rows)]
    rows = [_make_row(part, sample, generator, encode) for sample in samples]
    return _pad(rows, encode(words.PAD)[0])


def _make_row(part: Ingredient, sample: Sample, generator: random.Random, encode: Encode) -> Row:
    """One context and several questions about it, each answered in a way drawn at random."""
    tokens = list(encode(sample.context))
    is_target = [False] * len(tokens)
    for question in _draw_questions(sample, part.max_questions, generator):
        way = generator.choice(part.ways)
        asked = encode(ask(question, way))
        tokens += asked
        is_target += [False] * len(asked)
        for piece in write(question.steps(way)):
            encoded = encode(piece.text)
            tokens += encoded
            is_target += [not piece.inserted] * len(encoded)
    return tokens, is_target


def _draw_questions(sample: Sample, limit: int, generator: random.Random) -> list[Sample]:
    if limit == 1:
        return [sample]
    siblings = sample.siblings()
    return generator.sample(siblings, min(limit, len(siblings)))


def _pad(rows: list[Row], pad: int) -> Batch:
    length = max(len(tokens) for tokens, _ in rows)
    return Batch(
        tokens_BL=torch.tensor([tokens + [pad] * (length - len(tokens)) for tokens, _ in rows]),
        is_target_BL=torch.tensor([mask + [False] * (length - len(mask)) for _, mask in rows]),
    )
