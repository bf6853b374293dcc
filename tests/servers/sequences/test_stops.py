"""Stop strings: one automaton for all, against the slow obvious search."""

import random
from collections.abc import Sequence

import pytest

from harness_servers.sequences.stops import StopFinder


def first_stop(text: str, stops: Sequence[str]) -> str | None:
    """What stands before the stop that is complete first, the longest of those that end there."""
    for end in range(len(text) + 1):
        lengths = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if lengths:
            return text[: end - max(lengths)]
    return None


def read(finder: StopFinder, pieces: Sequence[str]) -> tuple[str, bool]:
    sent = ""
    for piece in pieces:
        text, is_stopped = finder.read(piece)
        sent += text
        if is_stopped:
            return sent, True
    return sent + finder.release(), False


def test_what_is_found_is_what_a_slow_search_finds_however_the_text_is_cut() -> None:
    chance = random.Random(7)
    num_stopped = 0
    for _ in range(3000):
        stops = ["".join(chance.choices("ab", k=chance.randint(1, 6))) for _ in range(3)]
        text = "".join(chance.choices("abc", k=chance.randint(0, 30)))
        pieces, left = [], text
        while left:
            length = chance.randint(1, len(left))
            pieces.append(left[:length])
            left = left[length:]
        before = first_stop(text, stops)
        num_stopped += before is not None
        assert read(StopFinder(stops), pieces) == (
            (text, False) if before is None else (before, True)
        )
    assert 300 < num_stopped < 2950


def test_only_what_may_become_a_stop_is_held_back() -> None:
    finder = StopFinder(["\n\n", "Problem"])
    assert finder.read("a Pro") == ("a ", False)
    assert finder.read("be") == ("Probe", False)
    assert finder.read("\n") == ("", False)
    assert finder.release() == "\n"
    # What was let go is nobody's beginning any more.
    assert finder.read("\nx") == ("\nx", False)


@pytest.mark.parametrize("length", [1_000, 100_000])
def test_the_worst_of_stops_cost_a_few_steps_a_character(length: int) -> None:
    steps = 0

    class Counted(StopFinder):
        def _follow(self, node: int, character: str) -> int:
            nonlocal steps
            steps += 1
            return super()._follow(node, character)

    finder = Counted(["a" * 255 + last for last in "bcdefghijklmnopq"])
    steps = 0
    for _ in range(length // 100):
        finder.read("a" * 100)
    assert steps == length
