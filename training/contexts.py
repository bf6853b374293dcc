"""The contexts.txt of a checkpoint that was trained on recall, which `--state-bits` fits a code to.

Contexts of the train split, as they stand before a question. Written to standard output by
`python -m harness_training.contexts`.
"""

import itertools
from collections.abc import Iterator
from typing import Final

import click

from harness.sample import Split
from harness.tasks import make_task

NUM_CONTEXTS: Final = 1024
# (alphabet, pairs): keys are distinct, so there are no more pairs than words.
_CELLS: Final = [(8, pairs) for pairs in (1, 2, 3, 4, 6, 8)] + [
    (32, pairs) for pairs in (1, 2, 3, 4, 6, 8, 12, 16)
]


def contexts() -> Iterator[str]:
    """So many, of one alphabet and number of pairs after another."""
    cells = itertools.islice(itertools.cycle(_CELLS), NUM_CONTEXTS)
    for index, (alphabet, pairs) in enumerate(cells):
        task = make_task("assoc_recall", size=pairs, alphabet=alphabet)
        yield task.sample(Split.TRAIN, 0, index).context


if __name__ == "__main__":
    for one in contexts():
        click.echo(one)
