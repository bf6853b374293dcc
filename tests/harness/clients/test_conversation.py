"""How a worded prompt becomes the messages of a conversation."""

import pytest

from harness.clients.conversation import Message, conversation
from harness.endpoints.external import Api
from harness.sample import Prompt, Split
from harness.scoring.exact import Verdict
from harness.scoring.marked import score_marked
from harness.tasks import TASKS, make_task
from harness.tasks.natural import worked_examples
from harness.tasks.prompts import make_prompt
from harness.way import Style, Way

SEARCH = Way.parse("search regex natural")
DIRECT = Way.parse("direct natural")


def prompt_of(name: str, way: Way, num_examples: int = 2) -> Prompt:
    task = make_task(name, size=8 if name == "parity" else 4)
    sample = task.sample(Split.TEST, 0, 0)
    return make_prompt(task, sample, way, examples=worked_examples(task, 0, num_examples))


def said(prompt: Prompt, api: Api = Api.TURNS, *, results_are_messages: bool) -> list[Message]:
    return conversation(prompt, api, None, results_are_messages=results_are_messages)


@pytest.mark.parametrize("results_are_messages", [False, True])
@pytest.mark.parametrize("name", TASKS)
def test_user_and_model_take_turns_and_the_user_is_last(
    name: str, *, results_are_messages: bool
) -> None:
    for way in make_task(name).ways(Style.NATURAL):
        messages = said(prompt_of(name, way), results_are_messages=results_are_messages)
        roles = [message.role for message in messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        assert all(message.content.strip() == message.content for message in messages)


@pytest.mark.parametrize("name", TASKS)
def test_each_problem_is_asked_once_in_the_words_of_the_text(name: str) -> None:
    for way in make_task(name).ways(Style.NATURAL):
        prompt = prompt_of(name, way)
        messages = said(prompt, results_are_messages=False)
        *worked, asked = [one.content for one in messages if one.role == "user"]
        assert worked[0].startswith(make_task(name).instruction)
        for number, problem in enumerate([*worked, asked], start=1):
            _, heading, words = problem.partition(f"[Problem {number}]\n")
            assert heading + words in prompt.text
        # Nothing is solved below: it is said by turns.
        assert "solved below" not in worked[0]


@pytest.mark.parametrize("name", TASKS)
def test_every_worked_reply_is_scored_as_right(name: str) -> None:
    task = make_task(name, size=8 if name == "parity" else 4)
    for way in task.ways(Style.NATURAL):
        examples = worked_examples(task, 0, 2)
        replies = [exchange.reply for exchange in prompt_of(name, way).exchanges]
        for reply, example in zip(replies, examples, strict=True):
            assert score_marked(reply, example.target, truncated=False) is Verdict.CORRECT


def test_results_stand_inside_a_reply_or_are_the_users_messages() -> None:
    prompt = prompt_of("assoc_recall", SEARCH, num_examples=1)
    [inside] = [one.content for one in said(prompt, results_are_messages=False)[1:-1]]
    query, result, answer = [one.content for one in said(prompt, results_are_messages=True)[1:-1]]
    assert query.startswith("<search> ")
    assert query.endswith(" </search>")
    assert result == prompt.word_result(answer.removeprefix("Answer: ")).strip()
    assert inside == f"{query} {result}\n{answer}"


def test_one_message_has_all_of_the_text_behind_the_system_prompt() -> None:
    prompt = prompt_of("copy", DIRECT)
    assert conversation(prompt, Api.CHAT, "Be brief.", results_are_messages=True) == [
        Message("system", "Be brief."),
        Message("user", prompt.text),
    ]


def test_without_worked_problems_the_problem_is_the_only_message() -> None:
    prompt = prompt_of("copy", DIRECT, num_examples=0)
    assert said(prompt, results_are_messages=True) == [Message("user", prompt.text.rstrip())]


def test_a_prompt_that_was_not_worded_as_a_conversation_is_one_message() -> None:
    prompt = Prompt(text="copy ; bab", is_language=True)
    assert said(prompt, results_are_messages=False) == [Message("user", prompt.text)]


def test_the_words_that_are_sent_in_any_case_are_those_of_the_shorter_form() -> None:
    prompt = prompt_of("copy", DIRECT)
    messages = said(prompt, results_are_messages=False)
    num_said = sum(len(message.content.split()) for message in messages)
    assert prompt.least_words == num_said < len(prompt.text.split())
    assert Prompt(text="copy ; bab").least_words == 3
