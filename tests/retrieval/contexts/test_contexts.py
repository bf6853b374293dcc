from dataclasses import replace

import pytest

from harness_retrieval.contexts.context_store import LIMITS, ContextStore
from harness_retrieval.errors import ContextNotFoundError, ContextTooLongError, InvalidArgumentError


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def store(clock: Clock | None = None, **limits: float) -> ContextStore:
    return ContextStore(replace(LIMITS, **limits), clock or Clock())  # type: ignore[arg-type]


def test_appending_the_same_text_again_changes_nothing() -> None:
    contexts = store()
    contexts.open("c", "ab")
    assert contexts.append("c", 2, "cd") == "abcd"
    assert contexts.append("c", 2, "cd") == "abcd"
    assert contexts.append("c", 3, "de") == "abcde"
    assert contexts.append("c", 0, "ab") == "ab"
    assert contexts.append("c", 5, "") == "abcde"


@pytest.mark.parametrize(
    ("context_id", "offset", "text"),
    [("unknown", 0, "a"), ("c", 3, "d"), ("c", 1, "x"), ("c", 0, "axx")],
)
def test_a_gap_another_text_or_an_unknown_id_is_a_context_not_found(
    context_id: str, offset: int, text: str
) -> None:
    contexts = store()
    contexts.open("c", "ab")
    with pytest.raises(ContextNotFoundError, match=context_id):
        contexts.append(context_id, offset, text)
    assert contexts.append("c", 2, "") == "ab"


def test_a_context_is_forgotten_when_unused_for_its_time() -> None:
    clock = Clock()
    contexts = store(clock, expires_after_s=10)
    contexts.open("old", "a")
    contexts.open("used", "b")
    clock.now_s = 9
    contexts.append("used", 1, "c")
    clock.now_s = 11
    assert len(contexts) == 1
    assert contexts.append("used", 0, "bc") == "bc"
    with pytest.raises(ContextNotFoundError):
        contexts.append("old", 1, "")


def test_past_the_limits_the_context_unused_for_longest_goes() -> None:
    contexts = store(max_contexts=2, max_total_size=10)
    contexts.open("a", "1234")
    contexts.open("b", "1234")
    contexts.append("a", 4, "")
    contexts.open("c", "12")
    with pytest.raises(ContextNotFoundError):
        contexts.append("b", 0, "")
    contexts.append("c", 2, "345678")
    with pytest.raises(ContextNotFoundError):
        contexts.append("a", 0, "")
    assert contexts.append("c", 0, "12") == "12"


def test_opening_again_replaces_another_text_but_keeps_a_longer_one() -> None:
    contexts = store(max_total_size=10)
    contexts.open("a", "123456")
    contexts.open("a", "x")
    contexts.open("b", "12345678")
    contexts.open("b", "12")
    assert contexts.append("a", 1, "") == "x"
    assert contexts.append("b", 8, "") == "12345678"
    contexts.close(["a", "a", "unknown"])
    assert len(contexts) == 1


def test_contexts_without_a_name_or_over_the_length_limit_are_refused() -> None:
    contexts = store()
    with pytest.raises(InvalidArgumentError):
        contexts.open("", "a")
    with pytest.raises(ContextTooLongError, match="'c' would have 4000001"):
        contexts.open("c", "x" * 4_000_001)
    contexts.open("c", "x" * 4_000_000)
    with pytest.raises(ContextTooLongError):
        contexts.append("c", 4_000_000, "x")
