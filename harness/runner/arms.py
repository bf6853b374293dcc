"""The arms of a grid: how its cells are asked, and which of them cannot be asked so."""

from contextlib import nullcontext
from itertools import product
from typing import NamedTuple

from harnessapi.values import ModelDescription

from harness.endpoints.endpoint import Endpoint
from harness.errors import InputError
from harness.runs.run_options import RunOptions
from harness.sample import Split
from harness.tasks.foreign import naming
from harness.tasks.prompts import make_prompt
from harness.tasks.task import Task
from harness.way import Prompting, Reading, SearchArm, Way


class Asked(NamedTuple):
    """How a cell of the grid is asked; prompting None: as it is best."""

    prompting: Prompting | None
    reading: Reading
    filler: int
    search: SearchArm


def asked_of(options: RunOptions) -> list[Asked]:
    """Prompting x reading x filler x search."""
    promptings = options.prompting or (None,)
    grid = product(promptings, options.reading, options.filler, options.search)
    return [Asked(*one) for one in grid]


def require_arms(
    options: RunOptions, endpoint: Endpoint, task: Task, way: Way, model: ModelDescription | None
) -> None:
    """Raises InputError for what the task cannot be asked so, and a search that would look at more.

    What is read twice is searched once: it would count double, and a lie would not be found.
    """
    foreign = naming(way.name, task.name) if task.name in options.task_source else nullcontext()
    with foreign:
        make_prompt(task, task.sample(Split.TEST, options.seed, 0), way)
    is_searched = way.search is not SearchArm.EMPTY and way.retrieval is not None
    # Where it is not ours this program searches.
    if is_searched and endpoint.is_ours and model is not None and not model.takes_searched_text:
        raise InputError(
            f"{way.name}: endpoint '{endpoint.name}': its server does not say that it can search "
            "another text than the prompt (takes_searched_text of GetModel): what is read twice "
            "would count double, and a search would tell no lie. A newer server does"
        )
