"""Arms of an evaluation: what they ask, what is counted of them, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

SEARCHING = ("--endpoint", "rnn-rag", "--task", "assoc_recall", "--size", "4", "--samples", "6")


def rows(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_of_a_lying_search_all_answers_are_the_lie_and_of_an_empty_one_none_is_right(
    workplace: Any,
) -> None:
    asked = (*SEARCHING, "--search", "honest,empty,lying", "--json")
    honest, empty, lying = rows(workplace.run("eval", *asked))
    assert [row["search"] for row in (honest, empty, lying)] == ["honest", "empty", "lying"]
    assert [row["accuracy"] for row in (honest, empty, lying)] == [1.0, 0.0, 0.0]
    assert (lying["lies"], lying["lie_rate"], lying["n"]) == (6, 1.0, 6)
    assert honest["lies"] is honest["lie_rate"] is empty["lie_rate"] is None
    told = [s for s in workplace.samples() if s["cell"].endswith("/lying")]
    assert all(s["answer"] == s["lie"] != s["target"] for s in told)
    # The same samples, sent as the honest cell sends them.
    prompts = {s["prompt"] for s in workplace.samples()}
    assert len(prompts) == 6


def test_reports_comparisons_and_exports_tell_the_arms_apart(workplace: Any) -> None:
    shown = workplace.run("eval", *SEARCHING, "--search", "honest,lying")
    assert shown.exit_code == 0, shown.output
    assert "lies" in shown.stdout
    run = workplace.only_run().name
    report = workplace.run("report", run)
    assert "search dense lying" in report.stdout
    assert "lies" in report.stdout
    assert workplace.run("report", run, "--html", "r.html").exit_code == 0
    assert "search dense lying" in Path("r.html").read_text()
    compared = rows(
        workplace.run("compare", f"{run}:rnn-rag:honest", f"{run}:rnn-rag:search lying", "--json")
    )
    assert [row["difference"] for row in compared] == [1.0]
    assert compared[0]["second"]["search"] == "lying"
    exported = workplace.run("export", run, "--jsonl", "s.jsonl")
    assert exported.exit_code == 0, exported.output
    lines = [json.loads(line) for line in Path("s.jsonl").read_text().splitlines()]
    assert {(line["search"], line["is_lie"]) for line in lines} == {
        ("honest", None),
        ("lying", True),
    }


def test_an_export_has_no_search_where_nothing_is_searched(workplace: Any) -> None:
    asked = ("--endpoint", "rnn", "--task", "assoc_recall", "--size", "4", "--samples", "2")
    assert workplace.run("eval", *asked, "--prompting", "direct").exit_code == 0
    assert workplace.run("export", workplace.only_run().name, "--jsonl", "s.jsonl").exit_code == 0
    lines = [json.loads(line) for line in Path("s.jsonl").read_text().splitlines()]
    assert [line["search"] for line in lines] == [None, None]


def test_a_run_in_arms_is_resumed_and_keeps_them(workplace: Any) -> None:
    rows(workplace.run("eval", *SEARCHING, "--search", "lying", "--filler", "2", "--json"))
    run = workplace.only_run()
    lines = (run / "samples.jsonl").read_text().splitlines(keepends=True)
    (run / "samples.jsonl").write_text("".join(lines[:4]))
    [row] = rows(workplace.run("eval", "--resume", run.name, "--json"))
    assert (row["n"], row["lies"], row["filler"]) == (6, 6, 2)
    other = workplace.run("eval", "--resume", run.name, "--search", "honest")
    assert other.exit_code == 2
    assert "--search: the run has lying, the command honest" in other.stderr


def test_readings_and_fillers_make_a_grid_of_what_is_searched_once(workplace: Any) -> None:
    asked = (*SEARCHING, "--prompting", "direct,search", "--json")
    more = ("--reading", "once,twice,question-first", "--filler", "0,3", "--search", "lying")
    found = rows(workplace.run("eval", *asked, *more))
    assert [
        (row["prompting"], row["reading"], row["filler"], row["lie_rate"]) for row in found
    ] == [
        (prompting, reading, filler, 1.0 if prompting == "search" else None)
        for prompting in ("direct", "search")
        for reading in ("once", "twice", "question-first")
        for filler in (0, 3)
    ]
    # A bound on the state is none where the question comes first.
    bounds = {row["reading"]: row["bound"] for row in found if row["prompting"] == "direct"}
    assert bounds["question-first"] is None
    assert bounds["twice"] == bounds["once"] is not None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--prompting", "direct", "--search", "lying"), "--search lying has no use here"),
        (("--retrieval", "none", "--search", "empty"), "--search empty has no use here"),
        (("--search", "liyng"), "'liyng' is not one of"),
        (("--reading", "thrice"), "'thrice' is not one of"),
        (("--filler", "-1"), "-1 is not in the range 0<=x<=65536"),
        (("--task", "parity", "--reading", "question-first"), "its context alone is the question"),
        (("--task", "position_retrieval", "--size", "1", "--search", "lying"), "no false twin"),
    ],
)
def test_what_cannot_be_asked_is_named_before_anything_starts(
    workplace: Any, options: tuple[str, ...], reason: str
) -> None:
    refused = workplace.run("eval", *SEARCHING, *options)
    assert refused.exit_code == 2
    assert reason in refused.stderr
    assert not (workplace.folder / "runs").exists()


@pytest.mark.parametrize("arm", [("--reading", "twice"), ("--search", "lying"), ("--filler", "2")])
def test_a_server_that_would_search_all_that_was_read_is_refused(
    workplace: Any, arm: tuple[str, str]
) -> None:
    workplace.script(takes_searched_text=False)
    refused = workplace.run("eval", *SEARCHING, *arm)
    assert refused.exit_code == 2
    assert "would count double" in refused.stderr


def test_it_can_be_told_to_find_nothing_and_what_makes_no_search_reads_as_often_as_one_likes(
    workplace: Any,
) -> None:
    workplace.script(takes_searched_text=False)
    [empty] = rows(workplace.run("eval", *SEARCHING, "--search", "empty", "--json"))
    assert empty["accuracy"] == 0.0
    direct = ("--prompting", "direct", "--reading", "twice", "--json")
    [twice] = rows(workplace.run("eval", *SEARCHING, *direct))
    assert twice["accuracy"] == 1.0


def test_filler_that_a_tokenizer_cannot_write_is_named(workplace: Any) -> None:
    workplace.script(unknown_words=("<pad>",))
    refused = workplace.run("eval", *SEARCHING, "--filler", "4")
    assert refused.exit_code == 2
    assert "filler=4" in refused.stderr
    assert "unknown word '<pad>'" in refused.stderr


def test_filler_that_a_tokenizer_writes_in_other_tokens_is_named(workplace: Any) -> None:
    workplace.script(merged_words=("<pad>",))
    refused = workplace.run("eval", *SEARCHING, "--filler", "4")
    assert refused.exit_code == 2
    assert "does not write '<pad>' as one token: 4 of them are 1 tokens" in refused.stderr


def test_a_sample_in_an_arm_is_shown_with_its_lie(workplace: Any) -> None:
    arm = ("--reading", "twice", "--filler", "1", "--search", "lying")
    shown = workplace.run(
        *("tasks", "sample", "assoc_recall", "--size", "3", "--prompting", "search", *arm)
    )
    assert shown.exit_code == 0, shown.output
    assert "<dense> pab <pad>\n" in shown.stdout
    assert "target     rik\nlie        got\n" in shown.stdout
    assert "[pab got] <answer> got" in shown.stdout
    refused = workplace.run("tasks", "sample", "assoc_recall", "--search", "lying")
    assert refused.exit_code == 2
    assert "search lying: prompting direct makes no search" in refused.stderr


def test_more_filler_than_there_is_memory_for_is_refused(workplace: Any) -> None:
    refused = workplace.run("tasks", "sample", "index", "--filler", "99999999999999")
    assert refused.exit_code == 2
    assert "0<=x<=65536" in refused.stderr


NO_TWIN = """
from dataclasses import dataclass
from harness.tasks.assoc_recall import AssocRecall, OneOfPairs

@dataclass(frozen=True, kw_only=True, slots=True)
class Twinless(OneOfPairs):
    def false_twin(self, generator):
        return {}["twin"]

@dataclass(frozen=True, kw_only=True, slots=True)
class Mine(AssocRecall):
    name = "mine"

    def draws(self, generator):
        for one in AssocRecall.draws(self, generator):
            yield Twinless(keys=one.keys, values=one.values, asked=one.asked)
"""


def test_a_false_twin_of_others_that_fails_is_named_where_it_is_shown(workplace: Any) -> None:
    Path("mine.py").write_text(NO_TWIN)
    lying = ("--prompting", "search", "--search", "lying")
    refused = workplace.run("tasks", "sample", "./mine.py:Mine", "--size", "3", *lying)
    assert refused.exit_code == 2
    assert "search dense lying failed: KeyError: 'twin' (line 8 of mine.py" in refused.stderr
