from dataclasses import replace

from harnessapi.values import Mode, ModelDescription

from harness.reports.finding import finding
from harness.reports.pooling import without_repetitions
from harness.runs.cell import Cell
from harness.runs.metrics import Metrics
from harness.runs.results import CellResult
from harness.scoring.intervals import wilson_interval
from harness.way import Prompting, Reading, SearchArm, Style


def result(
    endpoint: str,
    correct: int,
    *,
    n: int = 200,
    weights: str = "",
    size: int = 8,
    mode: Mode | None = None,
    task: str = "assoc_recall",
) -> CellResult:
    return CellResult(
        run="run",
        label=endpoint,
        model=ModelDescription(name=endpoint, family="RNN", checkpoint_digest=weights or endpoint),
        asked=Cell(
            endpoint=endpoint,
            task=task,
            size=size,
            prompting=Prompting.SEARCH if mode else Prompting.COT,
            retrieval=mode,
            style=Style.SYMBOLIC,
            max_new_tokens=40,
        ),
        metrics=Metrics(
            n=n,
            correct=correct,
            accuracy=correct / n if n else None,
            ci95=wilson_interval(correct, n),
            no_answer=0,
            truncated=0,
            errored=0,
            tokens_per_s=None,
            ttft_ms_p50=None,
            searches_per_sample=None,
        ),
    )


def searching(endpoint: str, correct: int, **fields: int) -> CellResult:
    return result(f"{endpoint}-rag", correct, weights=endpoint, mode=Mode.DENSE, **fields)


def test_it_is_the_largest_difference_that_a_search_makes_for_the_same_weights() -> None:
    cells = [result("rnn", 132), searching("rnn", 200), result("ssm", 0, size=16)]
    cells += [result("rnn", 2, size=64), searching("rnn", 200, size=64), searching("ssm", 150)]
    assert finding(cells) == (
        "assoc_recall at 64 key-value pairs: rnn, cot, 0.010; the same weights with search 1.000 "
        "(n = 200 each)."
    )


def test_a_search_that_harms_is_a_finding_too() -> None:
    said = finding([result("rnn", 200), searching("rnn", 20)])
    assert "rnn, cot, 1.000; the same weights with search 0.100" in said


def test_other_weights_are_no_pair_of_with_and_without() -> None:
    said = finding([result("rnn", 2), searching("ssm", 200)])
    assert said == ""


def test_without_such_a_pair_it_is_the_worst_and_the_best_endpoint() -> None:
    said = finding([result("rnn", 2), result("hybrid", 200), result("ssm", 100)])
    assert said == (
        "assoc_recall at 8 key-value pairs: rnn, cot, 0.010; hybrid, cot, 1.000 (n = 200 each)."
    )


def test_overlapping_intervals_and_unequal_numbers_are_said() -> None:
    said = finding([result("rnn", 2, n=5), searching("rnn", 3, n=4)])
    assert said.endswith("(n = 5 and 4; the 95% intervals overlap, so it may be chance).")


def test_a_difference_that_may_be_chance_comes_after_one_that_is_none() -> None:
    cells = [result("rnn", 0, n=1), searching("rnn", 1, n=1)]
    cells += [result("rnn", 100, size=64), searching("rnn", 160, size=64)]
    assert finding(cells).startswith("assoc_recall at 64")


def test_nothing_is_said_where_there_is_nothing_to_say() -> None:
    assert finding([]) == ""
    assert finding([result("rnn", 5)]) == ""
    assert finding([result("rnn", 5), searching("rnn", 5)]) == ""
    assert finding([result("rnn", 0, n=0), searching("rnn", 5)]) == ""


def test_a_task_of_another_version_has_no_unit() -> None:
    said = finding([result("a", 5, task="of_tomorrow"), result("b", 9, task="of_tomorrow")])
    assert said.startswith("of_tomorrow at 8: a, cot, ")


def test_an_arm_of_an_experiment_is_no_finding() -> None:
    lying = searching("rnn", 0)
    lying = replace(lying, asked=replace(lying.asked, search=SearchArm.LYING))
    twice = result("rnn", 200)
    twice = replace(twice, asked=replace(twice.asked, reading=Reading.TWICE))
    assert finding([lying, result("rnn", 132), twice]) == ""
    assert "search 0.750" in finding([lying, result("rnn", 20), twice, searching("rnn", 150)])


def test_a_narrowed_state_is_not_the_same_weights_without_search() -> None:
    narrow = result("rnn-64", 20, weights="rnn")
    narrow = replace(narrow, model=replace(narrow.model, state_bits=64))
    assert "the same weights" not in finding([narrow, searching("rnn", 200)])
    assert "the same weights" in finding([narrow, result("rnn", 132), searching("rnn", 200)])


def test_states_of_other_widths_under_one_name_are_no_repetition() -> None:
    cells = [result("narrow", 20), result("narrow", 90)]
    narrowed = [
        replace(one, model=replace(one.model, state_bits=bits))
        for one, bits in zip(cells, (64, 128), strict=True)
    ]
    assert len(without_repetitions(narrowed)) == 2
    assert len(without_repetitions(cells)) == 1
