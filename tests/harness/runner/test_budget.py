"""What a completion takes of a budget."""

from harness.clients.completion import Completion, CompletionTimes, TurnUsage
from harness.runs.spent import paid_tokens


def completion(*prompts: int | None) -> Completion:
    return Completion(
        transcript=(),
        finish_reason="stop",
        num_prompt_tokens=100,
        num_generated_tokens=7,
        num_inserted_tokens=3,
        num_searches=0,
        times=CompletionTimes(),
        usage=tuple(TurnUsage(num_prompt_tokens=prompt) for prompt in prompts),
    )


def test_a_dialogue_pays_for_its_prompt_in_every_turn() -> None:
    assert paid_tokens(completion(100, 120, 140)) == (360, 7)


def test_one_turn_or_none_that_is_counted_takes_what_the_completion_has() -> None:
    assert paid_tokens(completion(100)) == paid_tokens(completion(None, None)) == (103, 7)
