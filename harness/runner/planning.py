"""Turns the options of a run into its cells; every unusable combination is refused here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from harness.endpoints.config import Endpoint
from harness.endpoints.model_info import ModelInfo
from harness.errors import InputError
from harness.run_store.cell import Cell
from harness.run_store.options import RunOptions
from harness.sample import Prompting, Style
from harness.tasks import TASKS, make_task
from harness.tasks.task import Task
from retrieval.types import Mode

_SPARE_TOKENS: Final = 32


def plan_cells(
    options: RunOptions, endpoints: Sequence[Endpoint], models: Mapping[str, ModelInfo]
) -> tuple[Cell, ...]:
    """Endpoint x task x size x prompting. A model that is not known yet is taken to offer all.

    Raises InputError naming the option that an endpoint, its model or a task does not have.
    """
    cells = tuple(
        _cell(options, endpoint, task, prompting, models.get(endpoint.name))
        for endpoint in endpoints
        for task in _tasks(options)
        for prompting in options.prompting or (None,)
    )
    if options.mode and not any(cell.retrieval for cell in cells):
        raise InputError(
            f"--retrieval {options.retrieval} has no use here: it needs prompting search, "
            "and an endpoint with a search channel"
        )
    return tuple(dict.fromkeys(cells))


def select_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """Task names, `all` replaced by every one. Raises InputError for unknown names."""
    chosen: dict[str, None] = {}
    for name in names:
        for one in TASKS if name == "all" else (name,):
            make_task(one)
            chosen[one] = None
    return tuple(chosen)


def _tasks(options: RunOptions) -> list[Task]:
    return [
        make_task(name, size=size)
        for name in options.task
        for size in options.size or TASKS[name].default_sizes
    ]


def _cell(
    options: RunOptions,
    endpoint: Endpoint,
    task: Task,
    prompting: Prompting | None,
    model: ModelInfo | None,
) -> Cell:
    offered = _offered_modes(options, endpoint, model)
    usable = [mode for mode in task.retrieval_modes if mode in offered]
    if prompting is None:
        prompting = _default_prompting(task, can_search=bool(usable))
    if prompting not in task.promptings:
        raise InputError(f"{task.name} has no prompting {prompting}: {_listed(task.promptings)}")
    mode = None
    if prompting is Prompting.SEARCH:
        mode = _search_mode(options, endpoint, task, usable)
    limit = options.max_new_tokens or _default_max_new_tokens(task, prompting, mode)
    return Cell(
        endpoint=endpoint.name,
        task=task.name,
        size=task.size,
        prompting=prompting,
        retrieval=mode,
        style=_style(options, endpoint, task, model),
        max_new_tokens=limit,
    )


def _offered_modes(
    options: RunOptions, endpoint: Endpoint, model: ModelInfo | None
) -> tuple[Mode, ...]:
    if not endpoint.retrieval or options.retrieval == "none":
        return ()
    if model is None:
        return tuple(Mode)
    if not model.modes:
        raise InputError(
            f"endpoint '{endpoint.name}' has retrieval = true, but its model "
            f"'{model.name}' has no search channel"
        )
    return model.modes


def _default_prompting(task: Task, *, can_search: bool) -> Prompting:
    if can_search and Prompting.SEARCH in task.promptings:
        return Prompting.SEARCH
    return Prompting.COT if Prompting.COT in task.promptings else Prompting.DIRECT


def _search_mode(
    options: RunOptions, endpoint: Endpoint, task: Task, usable: Sequence[Mode]
) -> Mode:
    if options.retrieval == "none":
        raise InputError("--prompting search and --retrieval none exclude each other")
    if not endpoint.retrieval:
        raise InputError(
            f"--prompting search: endpoint '{endpoint.name}' has no search channel "
            "(retrieval = true in endpoints.toml gives it one)"
        )
    wanted = options.mode
    if wanted is None and usable:
        return usable[0]
    if wanted is None or wanted not in usable:
        asked = wanted or "of any kind"
        raise InputError(
            f"{task.name} on endpoint '{endpoint.name}': no search {asked}; "
            f"usable: {_listed(usable)}"
        )
    return wanted


def _style(options: RunOptions, endpoint: Endpoint, task: Task, model: ModelInfo | None) -> Style:
    readable = [s for s in task.styles if model is None or s in model.styles]
    if options.style is None and readable:
        return readable[0]
    if options.style is None or options.style not in readable:
        asked = options.style or "in common"
        raise InputError(
            f"{task.name} on endpoint '{endpoint.name}': no style {asked}; "
            f"usable: {_listed(readable)}"
        )
    return options.style


def _default_max_new_tokens(task: Task, prompting: Prompting, mode: Mode | None) -> int:
    """Room for twice the longest worked completion, and some more."""
    return 2 * task.max_completion_tokens(prompting, mode) + _SPARE_TOKENS


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
