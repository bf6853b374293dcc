"""Turns the options of a run into its cells; unusable combinations are refused one by one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Final

from harnessapi.values import Mode, ModelDescription

from harness.endpoints.endpoint import Endpoint
from harness.errors import InputError, unknown_name
from harness.runner.arms import Asked, asked_of, require_arms
from harness.runs.cell import Cell
from harness.runs.refused import Refused, nothing_left
from harness.runs.run_options import RunOptions
from harness.tasks import build_task
from harness.tasks.distinct import asked_indices
from harness.tasks.foreign import naming
from harness.tasks.parameters import parameters_of
from harness.tasks.promises import check_samples
from harness.tasks.task import Task
from harness.way import Prompting, SearchArm, Style, Way

_SPARE_TOKENS: Final = 32
_SPARE_NATURAL: Final = {Prompting.DIRECT: 128, Prompting.COT: 1024, Prompting.SEARCH: 1024}
# Where the style can be read.
_STYLE_HINTS: Final = {
    Style.NATURAL: ", or ask an endpoint with a language model (a web address in endpoints.toml)",
    Style.SYMBOLIC: ', or say style = "symbolic" and api = "completions" in endpoints.toml, where '
    "the server has one of our checkpoints",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The cells that can be asked, and those of the grid that cannot."""

    cells: tuple[Cell, ...]
    refused: tuple[Refused, ...]


def plan_cells(
    options: RunOptions, endpoints: Sequence[Endpoint], models: Mapping[str, ModelDescription]
) -> Plan:
    """Endpoint x task x size x how it is asked. A model that is not known yet offers all.

    A refused cell names what an endpoint, its model or a task does not have. Raises InputError
    where no cell is left, and for a parameter that a task allows at none of its sizes.
    """
    for name in options.parameter:
        _require_parameters(options, name)
    cells: list[Cell] = []
    refused: list[Refused] = []
    for endpoint, (name, size), asked in product(endpoints, _sizes(options), asked_of(options)):
        try:
            task = _task(options, name, size)
            cells.append(_cell(options, endpoint, task, asked, models.get(endpoint.name)))
        except InputError as error:
            refused.append(
                Refused(
                    endpoint=endpoint.name,
                    task=name,
                    size=size,
                    prompting=asked.prompting,
                    reason=str(error),
                )
            )
    if not cells:
        raise nothing_left(refused)
    if options.mode and not any(cell.retrieval for cell in cells):
        raise InputError(
            f"--retrieval {options.retrieval} has no use here: it needs prompting search, "
            "and an endpoint with a search channel"
        )
    if {*options.search} != {SearchArm.HONEST} and not any(cell.retrieval for cell in cells):
        raise InputError(
            f"--search {','.join(options.search)} has no use here: it needs prompting search, "
            "and an endpoint with a search channel"
        )
    return Plan(cells=tuple(dict.fromkeys(cells)), refused=tuple(refused))


def _task(options: RunOptions, name: str, size: int) -> Task:
    """Raises InputError for what it does not have; other people's are checked at the size."""
    kind, parameters = options.task_kind(name), options.parameter.get(name, {})
    if name not in options.task_source:
        return build_task(kind, size=size, **parameters)
    with naming(name, f"size {size}"):
        task = build_task(kind, size=size, **parameters)
    _check_foreign(task)
    return task


@cache
def _check_foreign(task: Task) -> None:
    """Once a size and its parameters. Raises InputError for a broken promise."""
    check_samples(task, task.name)


def _require_parameters(options: RunOptions, task: str) -> None:
    """Raises InputError for an unknown name, and a value that is out of range at every size."""
    kind = options.task_kind(task)
    asked = options.size or kind.default_sizes
    sizes = [size for size in asked if kind.min_size <= size <= kind.max_size]
    parameters = parameters_of(kind)
    for name, value in options.parameter[task].items():
        if name not in parameters:
            raise unknown_name(f"parameter of {task}", name, parameters)
        known = parameters[name]
        if sizes and not any(known.allows(value, size) for size in sizes):
            build_task(kind, size=sizes[-1], **{name: value})


def _sizes(options: RunOptions) -> list[tuple[str, int]]:
    return [
        (name, size)
        for name in options.task
        for size in options.size or options.task_kind(name).default_sizes
    ]


def _cell(
    options: RunOptions,
    endpoint: Endpoint,
    task: Task,
    asked: Asked,
    model: ModelDescription | None,
) -> Cell:
    if options.log_probs is not None:
        _require_log_probs(options.log_probs, endpoint, model)
    offered = _offered_modes(options, endpoint, model)
    usable = [mode for mode in task.retrieval_modes if mode in offered]
    prompting = asked.prompting or _default_prompting(task, can_search=bool(usable))
    if prompting not in task.promptings:
        raise InputError(
            f"{task.name}: no prompting {prompting}; usable: {_listed(task.promptings)}"
        )
    mode = None
    if prompting is Prompting.SEARCH:
        mode = _search_mode(options, endpoint, task, usable)
    style = _style(options, endpoint, task, model)
    way = Way(
        prompting=prompting,
        retrieval=mode,
        style=style,
        reading=asked.reading,
        filler=asked.filler,
        # As with --retrieval: of those that search.
        search=SearchArm.HONEST if mode is None else asked.search,
    )
    if way.arms:
        require_arms(options, endpoint, task, way, model)
    num_samples, in_shard = _num_samples(options, task)
    return Cell(
        endpoint=endpoint.name,
        task=task.name,
        size=task.size,
        prompting=prompting,
        retrieval=mode,
        style=style,
        max_new_tokens=options.max_new_tokens or _default_max_new_tokens(task, way),
        parameters=options.parameter.get(task.name, {}),
        reading=way.reading,
        filler=way.filler,
        search=way.search,
        samples=num_samples,
        shard_samples=in_shard,
    )


def _num_samples(options: RunOptions, task: Task) -> tuple[int | None, int | None]:
    """Fewer than asked for where the task has no more, and those of the shard; None: all."""
    if not options.distinct:
        return None, None
    indices = asked_indices(task, options.seed, options.samples)
    if len(indices) == options.samples:
        return None, None
    in_shard = None if options.shard is None else len(options.shard.among(indices))
    return len(indices), in_shard


def _require_log_probs(asked: int, endpoint: Endpoint, model: ModelDescription | None) -> None:
    option = f"--log-probs {asked}: endpoint '{endpoint.name}'"
    if not endpoint.is_ours:
        raise InputError(
            f"{option} ({endpoint.place}) is not asked for log-probabilities: model servers of "
            "this harness's gRPC API alone are (a checkpoint, or grpc:// in endpoints.toml)"
        )
    if model is None:
        return
    most = model.max_top_log_probs
    if most is None:
        raise InputError(f"{option}: its model '{model.name}' gives no log-probabilities")
    if asked > most:
        raise InputError(f"{option}: its model '{model.name}' gives at most {most} a token")


def _offered_modes(
    options: RunOptions, endpoint: Endpoint, model: ModelDescription | None
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
        reason = None if wanted is None else task.impossible.get(wanted)
        why = f" ({reason})" if reason else ""
        raise InputError(
            f"{task.name} on endpoint '{endpoint.name}': no search {asked}{why}; "
            f"usable: {_listed(usable)}"
        )
    return wanted


def _style(
    options: RunOptions, endpoint: Endpoint, task: Task, model: ModelDescription | None
) -> Style:
    read = _styles_read(endpoint, model)
    readable = [style for style in task.styles if read is None or style in read]
    if options.style is None and readable:
        return readable[0]
    if options.style is not None and options.style in readable:
        return options.style
    asked = options.style or "in common"
    hint = ""
    if options.style is not None and options.style in task.styles:
        hint = f"; leave out --style {options.style}{_STYLE_HINTS[options.style]}"
    raise InputError(
        f"{task.name} on endpoint '{endpoint.name}': no style {asked}; "
        f"usable: {_listed(readable)}{hint}"
    )


def _styles_read(endpoint: Endpoint, model: ModelDescription | None) -> tuple[str, ...] | None:
    """What an endpoint reads; None: it is not known before it is asked."""
    if model is not None:
        return model.styles
    return None if endpoint.style is None else (endpoint.style,)


def _default_max_new_tokens(task: Task, way: Way) -> int:
    """Room for twice the longest worked completion, and some more.

    A language model takes several tokens for a word, and more words to think.
    """
    longest = task.max_completion_tokens(way)
    if way.style is Style.NATURAL:
        return 8 * longest + _SPARE_NATURAL[way.prompting]
    return 2 * longest + _SPARE_TOKENS


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
