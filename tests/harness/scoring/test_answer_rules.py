"""Every rule of docs/scoring.md with its example, and with what it does not tolerate."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.exact import Verdict
from harness.scoring.marked import extract_marked_answer, is_in_last_line, score_marked
from harness.scoring.normalizing import normalize
from harness.scoring.think_tags import without_reasoning
from harness.scoring.wording import AS_IT_STANDS, Wording
from harness.tasks import TASKS

PAGE = (Path(__file__).parents[3] / "docs/scoring.md").read_text(encoding="utf-8")
Row = tuple[str, str, str, str]


def rows(heading: str) -> list[Row]:
    """Of the tables below a heading: rule, target, what is right, what is not."""
    [section] = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    found = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[1].startswith("`"):
            rule, *texts = (cell.replace("\\|", "|") for cell in cells)
            target, right, wrong = (text.strip("`").replace("⏎", "\n") for text in texts)
            found.append((rule, target, right, wrong))
    assert len(found) >= 5
    return found


def verdict(reply: str, target: str, wording: Wording = AS_IT_STANDS) -> Verdict:
    return score_marked(reply, target, truncated=False, wording=wording)


@pytest.mark.parametrize(
    "row", rows("Which part of a reply is read") + rows("When an answer is the target")
)
def test_a_rule_reads_its_example_and_tolerates_no_more(row: Row) -> None:
    _, target, right, wrong = row
    assert verdict(right, target) is Verdict.CORRECT
    assert verdict(wrong, target) in {Verdict.WRONG, Verdict.NO_ANSWER}


@pytest.mark.parametrize("row", rows("Targets that may be worded otherwise"))
def test_a_target_may_be_worded_as_its_task_says_and_no_other_way(row: Row) -> None:
    task, target, right, wrong = row
    wording = TASKS[task].wording
    assert verdict(right, target, wording) is Verdict.CORRECT
    assert verdict(wrong, target, wording) is Verdict.WRONG


@pytest.mark.parametrize("row", rows("The lenient verdict"))
def test_the_lenient_verdict_reads_the_last_line_and_no_more(row: Row) -> None:
    _, target, right, wrong = row
    assert is_in_last_line(right, target)
    assert not is_in_last_line(wrong, target)


def test_a_task_whose_targets_are_one_word_has_no_other_wording() -> None:
    worded = {name for name, kind in TASKS.items() if kind.wording.told}
    assert worded == {"mqar", "needle", "phonebook", "permutation_composition"}


@pytest.mark.parametrize("name", list(TASKS))
def test_a_target_is_right_as_it_stands_whatever_its_wording(name: str) -> None:
    wording = TASKS[name].wording
    for target in ("bek", "7 9 6", "fok bat lik", "4 5 2 3 1", "yes", "10", "796"):
        same = verdict(f"Answer: {target}", target, wording)
        # A number in one piece is no target of a task that has its digits one by one.
        is_target = target != "796" or wording.num_digits != 3
        assert (same is Verdict.CORRECT) == is_target


@pytest.mark.parametrize(
    ("line", "is_there"),
    [("the numbers are 796 and 102.", True), ("(796), 102", True), ("796 10 2", False)],
)
def test_the_lenient_verdict_knows_the_wording_of_the_task(line: str, is_there: bool) -> None:
    wording = TASKS["phonebook"].wording
    assert is_in_last_line(line, "7 9 6 1 0 2", wording) is is_there


@given(st.text(max_size=40), st.sampled_from(["bek", "7 9 6", "fok bat"]))
def test_a_right_last_line_is_right_for_both(before: str, target: str) -> None:
    reply = f"{without_reasoning(before)}\n</think>\nAnswer: {target}"
    assert verdict(reply, target) is Verdict.CORRECT
    assert is_in_last_line(reply, target)


TAGS = st.sampled_from(["<think>", "</think>", "<Thinking>", "[/THINK]", "a", "\n"])


@given(st.lists(TAGS, max_size=12).map("".join))
def test_what_is_left_has_no_tag_and_nothing_is_made_up(reply: str) -> None:
    said = without_reasoning(reply)
    assert not re.search(r"</?think(ing)?>|\[/?think\]", said, re.IGNORECASE)
    assert len(said.replace("\n", "")) <= reply.count("a")


@given(st.lists(st.sampled_from(["$", r"\(", r"\)", r"\boxed{", "}", "a", "</s>", " "])))
def test_any_formula_is_normalized_once_and_for_all(parts: list[str]) -> None:
    text = normalize("".join(parts[:12]))
    assert normalize(text) == text


# What a model that fell into a loop may write, a megabyte of it: were any rule to read a text once
# for each place in it, one of these would take hours.
@pytest.mark.parametrize(
    "hostile",
    [
        "Answer: a\n" * 100_000,
        "Answer:\n" * 125_000,
        "Answer: " + "*" * 1_000_000,
        "Answer:\n```a\n" + "```a\n" * 200_000,
        "Answer:\n``` " + " " * 1_000_000 + "!",
        "*" * 1_000_000 + "Answer",
        "final " * 160_000,
        "\nAnswer " * 125_000,
        "Answer:" + " \n" * 500_000,
        "Answer: " + "\\boxed{" * 140_000,
        "Answer: " + "\\boxed{" * 120_000 + "}" * 120_000,
        "Answer: " + "$" * 1_000_000,
        "Answer: " + "$a$ " * 250_000,
        "Answer: \\(" + "\\) " * 300_000,
        "Answer: a" + "</s> " * 200_000,
        "Answer: a" + " and" * 250_000,
        "Answer: a" + ", " * 500_000 + "b",
        "<think>" * 140_000,
        "</think>" * 120_000,
        "<think></think>" * 60_000,
        "7 9 " * 250_000,
    ],
    ids=lambda text: text[:20].strip(),
)
def test_a_megabyte_of_hostile_text_is_read_in_one_go(hostile: str) -> None:
    wording = Wording(is_list=True, num_digits=3)
    assert verdict(hostile, "7 9 6", wording) in {Verdict.WRONG, Verdict.NO_ANSWER}
    assert not is_in_last_line(hostile, "7 9 6", wording)
    assert extract_marked_answer(hostile + "\nAnswer: bek") in {"bek", None}
