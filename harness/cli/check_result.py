"""What `harness endpoints check` found of an endpoint, as lines and as JSON."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from harnessapi.values import ModelDescription

from harness.endpoints.endpoint import Endpoint
from harness.errors import HarnessError, printable
from harness.runner.endpoint_check import Learnt


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What it said of its model, what its answer told, and what went wrong."""

    model: ModelDescription | None = None
    learnt: Learnt | None = None
    error: HarnessError | None = None


def as_object(endpoint: Endpoint, checked: Checked) -> str:
    """One line of JSON; `error` and its exit status stand there where something went wrong."""
    found: dict[str, Any] = {
        "endpoint": endpoint.name,
        "place": endpoint.place,
        "status": "answers" if checked.error is None else "failed",
        "model": None if checked.model is None else asdict(checked.model),
        "learnt": None if checked.learnt is None else asdict(checked.learnt),
        "error": None if checked.error is None else str(checked.error),
        "exit_status": 0 if checked.error is None else checked.error.exit_status,
    }
    return json.dumps(found)


def as_text(endpoint: Endpoint, checked: Checked) -> str:
    """Lines for a terminal."""
    if checked.model is None:
        return f"{endpoint.name}: failed"
    lines = _model_lines(endpoint, checked.model)
    state = "healthy" if endpoint.external is None else "answers"
    if checked.error is not None:
        state = "failed"
    if checked.learnt is not None:
        lines += _learnt_lines(endpoint, checked.learnt)
    return printable("\n  ".join([f"{endpoint.name}: {state}", *lines]))


def _model_lines(endpoint: Endpoint, model: ModelDescription) -> list[str]:
    modes = ", ".join(model.modes) if endpoint.retrieval else "off"
    if not endpoint.is_ours:
        limit = (
            "" if model.context_limit is None else f", {model.context_limit:,} tokens of context"
        )
        return [
            f"model       {model.name}, {model.family}{limit}",
            f"search      {modes}",
            f"styles      {', '.join(model.styles)}",
            f"engine      {model.engine}",
        ]
    return [
        f"model       {model.name}, {model.family}, {model.num_parameters:,} parameters",
        f"state       {_state(model)}, {model.num_slots} at once",
        f"checkpoint  {model.checkpoint_digest}",
        f"search      {modes or 'none'}",
        f"styles      {', '.join(model.styles)}",
        f"trained on  {', '.join(model.trained_tasks) or 'not said'}",
        *_budget(model),
        *_training(model),
        f"engine      {', '.join(_engine(model))}",
    ]


def _budget(model: ModelDescription) -> list[str]:
    """About how many contexts of each task and way, a line a task."""
    tasks = dict.fromkeys(one.task for one in model.trained_on)
    return [
        f"contexts    {task}: "
        + ", ".join(f"{one.way} {one.contexts:,}" for one in model.trained_on if one.task == task)
        for task in tasks
    ]


def _training(model: ModelDescription) -> list[str]:
    """The recipe, which of its models, and the seed, where it says so."""
    if (training := model.trained_by) is None:
        return []
    names = " ".join(name for name in (training.recipe, training.model) if name)
    return [f"recipe      {names}, seed {training.seed}"]


def _engine(model: ModelDescription) -> list[str]:
    told = [f"{model.engine} {model.engine_version}", _dtype(model), model.device]
    return [*told, f"decodes {model.decoding}"] if model.decoding else told


def _dtype(model: ModelDescription) -> str:
    if model.stored_dtype in ("", model.dtype):
        return model.dtype
    return f"{model.dtype} (stored as {model.stored_dtype})"


def _state(model: ModelDescription) -> str:
    state = f"{model.state_bytes:,} bytes a sequence"
    if model.state_bits:
        state = f"{model.state_bits:,} bits of its context, for each question"
    if model.cache_policy:
        state += f" (--cache-policy {model.cache_policy})"
    if model.state_bytes_per_token:
        state += f" and {model.state_bytes_per_token:,} for each token of its context"
    return state


def _learnt_lines(endpoint: Endpoint, learnt: Learnt) -> list[str]:
    counted = "" if learnt.counts_tokens else " (an estimate: the server does not count)"
    lines = [
        f"tokens      {learnt.num_prompt_tokens} read, "
        f"{learnt.num_generated_tokens} written{counted}",
        f"streaming   {_streaming(learnt.num_pieces)}",
    ]
    if endpoint.external is not None:
        lines = [
            f"listed      {_LISTED[learnt.is_listed]}",
            *lines,
            f"stops       {_STOPS[learnt.takes_stop_strings]}",
            f"refused     {', '.join(learnt.refused_parameters) or 'nothing'}",
        ]
        if learnt.reply_models:
            lines.append(f"calls it    {', '.join(learnt.reply_models)}")
    return [*lines, f"answer      {_answer(learnt)}"]


_LISTED = {
    True: "yes, the server's list has it",
    False: "no: the server lists others alone, and answers all the same",
    None: "not told: the server gave no list",
}
_STOPS = {
    True: "stop strings work",
    False: "stop strings do not work: what follows one is cut off after it came",
    None: "not told by this answer",
}


def _streaming(num_pieces: int) -> str:
    if num_pieces <= 1:
        return "no: the answer came whole"
    return f"in {num_pieces} pieces"


def _answer(learnt: Learnt) -> str:
    if learnt.answer:
        return f"{learnt.answer!r} (right is {learnt.target})"
    if learnt.reasoning:
        return f"none within the limit; its reasoning begins {learnt.reasoning!r}"
    return f"none ({learnt.finish_reason})"
