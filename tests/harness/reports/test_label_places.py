"""Names of marks: over no other name and no mark, however many there are."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.reports.label_places import LEADER_FROM, Box, Label, Room, place_labels

WITHIN = Box(0, 0, 740, 420)
PLACES = st.tuples(st.floats(10, 730), st.floats(10, 410))


def around(place: tuple[float, float]) -> Box:
    x, y = place
    return Box(x - 7, y - 7, x + 7, y + 7)


def check(marks: dict[str, tuple[float, float]]) -> dict[str, Label]:
    hard = [around(place) for place in marks.values()]
    placed = place_labels(marks, Room(within=WITHIN, hard=hard, soft=[]), 12)
    boxes = [label.box for label in placed.values()]
    assert not any(one.meets(other) for one, other in combinations(boxes, 2))
    assert not any(box.meets(mark) for box in boxes for mark in hard)
    assert all(WITHIN.holds(box) for box in boxes)
    return placed


@given(st.lists(PLACES, max_size=12))
@settings(max_examples=25, deadline=None)
def test_no_two_names_meet_and_none_lies_over_a_mark(places: list[tuple[float, float]]) -> None:
    check({f"model_{number}": place for number, place in enumerate(places)})


def test_seventeen_models_in_one_corner_all_have_a_name() -> None:
    marks = {f"gated_model_{n}": (600 + 9.0 * (n % 6), 40 + 7.0 * n) for n in range(17)}
    assert check(marks).keys() == marks.keys()


def test_a_name_that_stands_alone_is_right_of_its_mark_and_needs_no_line() -> None:
    [label] = check({"gru": (100, 100)}).values()
    assert not label.has_leader
    assert label.distance < LEADER_FROM
    assert label.box.left > 100 > label.box.top - 100


def test_what_has_no_room_has_no_name() -> None:
    marks = {"a" * 200: (100.0, 100.0), "b": (100.0, 200.0)}
    assert check(marks).keys() == {"b"}


def test_a_line_through_a_box_crosses_it() -> None:
    box = Box(10, 10, 20, 20)
    assert box.is_crossed((0, 15), (30, 15))
    assert box.is_crossed((0, 0), (30, 30))
    assert box.is_crossed((15, 15), (16, 16))
    assert not box.is_crossed((0, 0), (30, 5))
    assert not box.is_crossed((0, 25), (4, 0))
    assert not box.is_crossed((0, 15), (9, 15))
