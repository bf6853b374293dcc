"""The frontier draws what the cells say: means, ranges, states, a bound where there is one."""

import re
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest
from harnessapi.values import Mode

from harness.errors import InputError
from harness.reports.frontier import Panel, choose, panels
from harness.reports.frontier_chart import FRAME
from harness.reports.frontier_picture import frontier_picture
from harness.reports.text_size import text_width
from harness.way import Prompting, Reading

SVG = "{http://www.w3.org/2000/svg}"
SEARCH = {"prompting": Prompting.SEARCH, "retrieval": Mode.DENSE}
# A pixel is drawn to a tenth.
EXACT = 0.001


def drawn(panel: Panel) -> Any:
    return ElementTree.fromstring(frontier_picture(panel))


def points(svg: Any) -> dict[str, Any]:
    """The group of each mark, by the words of its tooltip before the colon."""
    found = {}
    for group in svg.iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        if group.get("class", "").startswith("point") and title is not None:
            found[title.text.partition(":")[0]] = group
    return found


def accuracy(y: float) -> float:
    return 1 - (y - FRAME.top) / (FRAME.base - FRAME.top)


def words(svg: Any) -> str:
    return "\n".join(text.text for text in svg.iter(f"{SVG}text"))


@pytest.fixture
def trained(trained_cell: Any) -> Any:
    """A model of three seeds without a search and with one, and one of a single seed."""
    right = {1: (20, 196), 2: (40, 200), 3: (90, 198)}
    cells = [trained_cell("gru", few, seed=seed) for seed, (few, _) in right.items()]
    cells += [trained_cell("gru", all_, seed=s, **SEARCH) for s, (_, all_) in right.items()]
    return [*cells, trained_cell("lstm", 50, state_bytes=4096)]


def test_marks_are_means_and_bars_reach_from_the_worst_training_to_the_best(trained: Any) -> None:
    [panel] = panels(trained)
    found = points(drawn(panel))
    assert found.keys() == {"gru, direct", "gru, search dense", "lstm, direct"}
    for name, mean, low, high in (
        ("gru, direct", 0.25, 0.1, 0.45),
        ("gru, search dense", 0.99, 0.98, 1.0),
    ):
        group = found[name]
        assert accuracy(float(group.find(f"{SVG}circle").get("cy"))) == pytest.approx(
            mean, abs=EXACT
        )
        bar = group.find(f"{SVG}path").get("d")
        ends = re.match(r"M[\d.]+ ([\d.]+) V([\d.]+)", bar)
        assert [accuracy(float(end)) for end in ends.groups()] == pytest.approx(
            [low, high], abs=EXACT
        )
        told = f"{mean:.3f}, mean of 3 trainings ({low:.3f}-{high:.3f}); state 1.0 KiB"
        assert group.find(f"{SVG}title").text.endswith(told)


def test_a_model_of_one_training_has_a_mark_and_no_bar(trained: Any) -> None:
    [panel] = panels(trained)
    alone = points(drawn(panel))["lstm, direct"]
    assert accuracy(float(alone.find(f"{SVG}circle").get("cy"))) == pytest.approx(0.25, abs=EXACT)
    assert alone.find(f"{SVG}path") is None
    assert alone.find(f"{SVG}title").text == "lstm, direct: 0.250; state 4.0 KiB"


def test_hollow_marks_are_the_same_weights_with_a_search(trained: Any) -> None:
    [panel] = panels(trained)
    found = points(drawn(panel))
    kinds = {name: group.get("class") for name, group in found.items()}
    assert kinds == {
        "gru, direct": "point",
        "gru, search dense": "point hollow",
        "lstm, direct": "point",
    }
    above, below = (found[f"gru, {way}"].find(f"{SVG}circle") for way in ("search dense", "direct"))
    assert above.get("cx") == below.get("cx")


def test_further_to_the_right_is_more_state_and_a_growing_one_is_what_was_held(
    trained_cell: Any,
) -> None:
    cells = [
        trained_cell("small", 20),
        trained_cell("large", 20, state_bytes=2**16),
        # 53 tokens of a sample at its end.
        trained_cell("grows", 20, state_bytes=0, state_bytes_per_token=256),
    ]
    [panel] = panels(cells)
    states = {one.model.name: one.closed and one.closed.state_bytes for one in panel.standings}
    assert states == {"small": 1024, "large": 65536, "grows": 53 * 256}
    svg = drawn(panel)
    across = {n: float(g.find(f"{SVG}circle").get("cx")) for n, g in points(svg).items()}
    assert across["small, direct"] < across["grows, direct"] < across["large, direct"]
    assert "State grows with the context, here as it was at its end: grows." in words(svg)


def test_the_bound_is_drawn_where_the_task_has_one(trained_cell: Any) -> None:
    def curves(task: str) -> list[str]:
        [panel] = panels([trained_cell(name, 20, task=task) for name in ("gru", "lstm")])
        svg = drawn(panel)
        assert ("information bound: 1 from 14 B on" in words(svg)) == (panel.bound is not None)
        return [g.get("class") for g in svg.iter(f"{SVG}g") if "curve" in g.get("class", "")]

    assert "curve bound" in curves("assoc_recall")
    assert "curve bound" not in curves("counting")


def test_the_bound_rises_left_of_a_break_where_states_are_far_larger(trained_cell: Any) -> None:
    [panel] = panels([trained_cell("gru", 20), trained_cell("lstm", 40)])
    assert "states are left out here" in frontier_picture(panel)
    [narrow] = panels([trained_cell("a", 20, state_bytes=16), trained_cell("b", 9, state_bytes=32)])
    assert "states are left out here" not in frontier_picture(narrow)


def test_models_that_do_not_tell_their_state_are_named_and_not_drawn(trained_cell: Any) -> None:
    untold = trained_cell("gpt", 100, seed=None, state_bytes=0)
    [panel] = panels([trained_cell("gru", 20), untold])
    svg = drawn(panel)
    assert points(svg).keys() == {"gru, direct"}
    assert "Not drawn, for their state is not known: gpt." in words(svg)
    assert panels([untold]) == []
    with pytest.raises(InputError, match="no model of these runs tells its state"):
        choose(panels([untold]), None)


def test_a_picture_without_a_direct_answer_has_the_usual_way_in_its_place(
    trained_cell: Any,
) -> None:
    chains = [trained_cell(name, 20, prompting=Prompting.COT) for name in ("a", "b")]
    [panel] = panels([*chains, trained_cell("a", 30), trained_cell("b", 30)])
    assert panel.closed == "direct"
    [panel] = panels([*chains, trained_cell("c", 30)])
    assert panel.closed == "cot"
    assert "Not drawn, for they were asked in other ways: c." in words(drawn(panel))
    [panel] = panels([*chains, trained_cell("a", 30, reading=Reading.TWICE)])
    assert (panel.closed, panel.opened) == ("cot", "")


def test_the_first_panel_has_most_models_and_sets_them_apart_furthest(trained_cell: Any) -> None:
    cells = [
        *(trained_cell(name, 200, size=4) for name in ("a", "b", "c")),
        *(trained_cell(name, right, size=8) for name, right in (("a", 0), ("b", 200), ("c", 90))),
        *(trained_cell(name, right, size=32) for name, right in (("a", 0), ("b", 200))),
        # No task of recall: it has no bound.
        *(trained_cell(name, r, task="counting") for name, r in (("a", 0), ("b", 200), ("c", 0))),
    ]
    found = panels(cells)
    assert choose(found, None).name == "assoc_recall:8"
    assert choose(found, "assoc_recall:32").title == "assoc_recall, 32 key-value pairs"
    with pytest.raises(InputError, match=r"unknown panel 'assoc_recall:9'.*assoc_recall:8"):
        choose(found, "assoc_recall:9")


@pytest.mark.parametrize("is_alike", [False, True])
def test_names_of_seventeen_models_do_not_overlap(trained_cell: Any, is_alike: bool) -> None:
    cells = []
    for number in range(17):
        state = 8192 if is_alike else 2 ** (10 + number // 3)
        for seed in (1, 2):
            right = min(200, 20 + 13 * number + 5 * seed)
            fields = {"seed": seed, "state_bytes": state}
            cells.append(trained_cell(f"architecture_{number}", right, **fields))
            cells.append(trained_cell(f"architecture_{number}", 200, **fields, **SEARCH))
    [panel] = panels(cells)
    svg = drawn(panel)
    names = [one for one in svg.iter(f"{SVG}text") if (one.text or "").startswith("architecture")]
    assert len(names) == 17
    boxes = []
    for one in names:
        x, y, width = float(one.get("x")), float(one.get("y")), text_width(one.text, 12)
        boxes.append((x - width / 2, y - 10, x + width / 2, y + 3))
    for (left, top, right, bottom), other in combinations(boxes, 2):
        assert left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom


def test_a_hostile_name_stays_a_name(trained_cell: Any) -> None:
    name = '</text><script>alert(1)</script>"&'
    [panel] = panels([trained_cell(name, 20), trained_cell("gru", 30)])
    svg = drawn(panel)
    assert name in words(svg)
    assert not [one for one in svg.iter() if "script" in one.tag]
