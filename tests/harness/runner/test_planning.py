import dataclasses
from typing import Any

import pytest
from harnessapi.values import Mode, ModelDescription

from harness.endpoints.endpoint import Endpoint
from harness.endpoints.external import External
from harness.errors import HarnessError
from harness.runner.plan import plan_cells
from harness.runs.cell import Cell
from harness.runs.refused import refused_lines
from harness.runs.run_options import RunOptions
from harness.tasks import TASKS, make_task
from harness.tasks.choosing import choose_tasks
from harness.way import Prompting, Style, Way

PLAIN = Endpoint(name="rnn", checkpoint="x")
WITH_CHANNEL = Endpoint(name="rnn-rag", checkpoint="x", retrieval=True)

EXTERNAL = Endpoint(name="gpt", address="https://h/v1", external=External(model="m"))


def options(**changes: Any) -> RunOptions:
    unset = RunOptions(
        endpoint=("rnn",),
        task=("assoc_recall",),
        size=None,
        samples=1,
        seed=0,
        prompting=None,
        style=None,
        retrieval=None,
        max_new_tokens=None,
    )
    return dataclasses.replace(unset, **changes)


def model(*modes: Mode) -> ModelDescription:
    return ModelDescription(
        name="m",
        family="RNN",
        checkpoint_digest="",
        tokenizer_digest="",
        num_parameters=1,
        state_bytes=1,
        state_bytes_per_token=0,
        context_limit=None,
        engine="",
        engine_version="",
        dtype="",
        device="",
        vocabulary_size=1,
        num_slots=1,
        max_prompt_tokens=1,
        modes=modes,
        styles=("symbolic",),
    )


def only_cell(endpoint: Endpoint, *modes: Mode, **changes: Any) -> Cell:
    plan = plan_cells(options(**changes), [endpoint], {endpoint.name: model(*modes)})
    [cell] = plan.cells
    assert plan.refused == ()
    return cell


def test_a_channel_and_a_search_chain_make_search_the_default() -> None:
    cell = only_cell(WITH_CHANNEL, Mode.REGEX, Mode.DENSE)
    assert (cell.prompting, cell.retrieval) == (Prompting.SEARCH, Mode.DENSE)


def test_without_a_channel_the_default_is_the_chain_of_thought() -> None:
    cell = only_cell(PLAIN, Mode.REGEX, Mode.DENSE)
    assert (cell.prompting, cell.retrieval) == (Prompting.COT, None)


def test_the_preferred_mode_is_taken_among_those_offered() -> None:
    assert only_cell(WITH_CHANNEL, Mode.REGEX).retrieval is Mode.REGEX


def test_a_search_that_cannot_find_the_answer_is_taken_where_it_is_asked_for() -> None:
    both = (Mode.REGEX, Mode.DENSE)
    assert only_cell(WITH_CHANNEL, *both, task=("index",)).retrieval is Mode.REGEX
    cell = only_cell(WITH_CHANNEL, *both, task=("index",), retrieval="dense")
    assert cell.retrieval is Mode.DENSE


def test_retrieval_none_closes_the_channel() -> None:
    cell = only_cell(WITH_CHANNEL, Mode.REGEX, retrieval="none")
    assert (cell.prompting, cell.retrieval) == (Prompting.COT, None)


def test_the_limit_leaves_room_for_every_worked_completion() -> None:
    assert only_cell(PLAIN, prompting=(Prompting.DIRECT,)).max_new_tokens == 2 * 3 + 32
    longest = make_task("is_tree", size=128).max_completion_tokens(Way.parse("search regex"))
    cell = only_cell(WITH_CHANNEL, Mode.REGEX, task=("is_tree",), size=(128,))
    assert cell.max_new_tokens == 2 * longest + 32
    assert only_cell(PLAIN, max_new_tokens=1).max_new_tokens == 1


def test_cells_are_endpoint_by_task_by_size_by_prompting() -> None:
    both = (Prompting.DIRECT, Prompting.COT)
    cells = plan_cells(options(size=(4, 8), prompting=both), [PLAIN, WITH_CHANNEL], {}).cells
    assert len({cell.key for cell in cells}) == len(cells) == 8


@pytest.mark.parametrize(
    ("endpoint", "changes", "message"),
    [
        (PLAIN, {"prompting": (Prompting.SEARCH,)}, "'rnn' has no search channel"),
        (PLAIN, {"retrieval": "regex"}, "--retrieval regex has no use"),
        (WITH_CHANNEL, {"prompting": (Prompting.DIRECT,), "retrieval": "regex"}, "no use"),
        (WITH_CHANNEL, {"prompting": (Prompting.SEARCH,), "retrieval": "none"}, "exclude"),
        (EXTERNAL, {"style": Style.SYMBOLIC}, "no style symbolic; usable: natural; leave out"),
        (EXTERNAL, {"prompting": (Prompting.SEARCH,)}, "'gpt' has no search channel"),
        (WITH_CHANNEL, {"size": (129,)}, "129 is out of range"),
        (WITH_CHANNEL, {"task": ("parity",), "prompting": (Prompting.SEARCH,)}, "usable: direct"),
    ],
)
def test_an_unusable_combination_is_refused_before_anything_starts(
    endpoint: Endpoint, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(HarnessError, match=message):
        plan_cells(options(**changes), [endpoint], {})


def test_a_mode_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(HarnessError, match="no search dense; usable: regex"):
        only_cell(WITH_CHANNEL, Mode.REGEX, retrieval="dense", prompting=(Prompting.SEARCH,))


def test_an_endpoint_with_retrieval_needs_a_model_with_a_channel() -> None:
    with pytest.raises(HarnessError, match="'m' has no search channel"):
        only_cell(WITH_CHANNEL)


def test_a_checkpoint_is_not_asked_in_natural_language() -> None:
    with pytest.raises(HarnessError, match="usable: symbolic; leave out --style natural, or ask"):
        only_cell(PLAIN, style=Style.NATURAL)


def test_each_endpoint_is_asked_in_the_style_that_it_reads() -> None:
    both = [PLAIN, EXTERNAL]
    cells = plan_cells(options(), both, {}).cells
    assert [cell.style.value for cell in cells] == ["symbolic", "natural"]


def test_a_language_model_has_room_to_think() -> None:
    cells = plan_cells(options(prompting=tuple(Prompting)[:2]), [EXTERNAL], {}).cells
    assert [cell.max_new_tokens for cell in cells] == [8 * 3 + 128, 8 * 5 + 1024]


def test_all_stands_for_every_task() -> None:
    assert choose_tasks(["all"]).names == tuple(TASKS)
    with pytest.raises(HarnessError, match="did you mean assoc_recall"):
        choose_tasks(["assoc_recal"])


def test_what_a_grid_cannot_ask_is_refused_cell_by_cell_and_the_rest_is_planned() -> None:
    plan = plan_cells(
        options(task=("assoc_recall", "parity"), size=(2, 16, 200), prompting=tuple(Prompting)),
        [PLAIN, WITH_CHANNEL],
        {"rnn-rag": model(*Mode)},
    )
    assert len(plan.cells) + len(plan.refused) == 2 * 2 * 3 * 3
    # assoc_recall at 2 and 16, parity at 16 and 200; searches on one endpoint, of one task.
    assert len(plan.cells) == 2 * (2 + 2) * 2 + 2
    assert len(refused_lines(plan.refused)) == 4
    for line, part in zip(
        sorted(refused_lines(plan.refused)),
        (
            "2 cells: --prompting search: endpoint 'rnn' has no search channel (retrieval = true",
            "4 cells: parity: no prompting search; usable: direct, cot",
            "6 cells: assoc_recall: size 200 is out of range: 1 to 128 key-value pairs",
            "6 cells: parity: size 2 is out of range: 4 to 256 bits",
        ),
        strict=True,
    ):
        assert part in line


def test_a_style_that_one_endpoint_does_not_read_leaves_the_others() -> None:
    plan = plan_cells(options(style=Style.NATURAL), [PLAIN, EXTERNAL], {"rnn": model()})
    assert [cell.endpoint for cell in plan.cells] == ["gpt"]
    [refused] = plan.refused
    assert (refused.endpoint, refused.prompting) == ("rnn", None)
    assert "no style natural; usable: symbolic; leave out --style natural" in refused.reason


def test_a_search_that_is_impossible_is_refused_with_the_reason() -> None:
    with pytest.raises(HarnessError, match=r"no search dense \(the context has no passages"):
        only_cell(WITH_CHANNEL, *Mode, task=("counting",), retrieval="dense")
