"""Targets drawn evenly, few different samples, and what a simple guess reaches."""

import random
from collections import Counter
from itertools import permutations, product
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError, InputError
from harness.sample import Address, Problem, Split
from harness.tasks import TASKS, is_tree, make_task
from harness.tasks.balance import wanted_target
from harness.tasks.distinct import asked_indices, few_samples
from harness.tasks.guessing import commonest, in_a_row
from harness.tasks.natural import worked_examples
from harness.tasks.parity import Parity

FEW = tuple(name for name in TASKS if TASKS[name].few_targets)
SPLITS = tuple(Split)


@given(
    st.integers(0, 10**6), st.integers(1, 40), st.lists(st.text(), min_size=1, max_size=5).map(set)
)
def test_any_number_of_first_samples_has_each_target_as_often_give_or_take_one(
    seed: int, number: int, targets: set[str]
) -> None:
    few = sorted(targets)
    addresses = [
        Address(task="t", parameters=(), split=Split.TEST, seed=seed, index=index)
        for index in range(number)
    ]
    counts = Counter(wanted_target(address, few) for address in addresses)
    assert max(counts.values()) - min(counts[target] for target in few) <= 1


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", FEW)
def test_balanced_samples_have_the_targets_that_are_wanted(name: str, split: Split) -> None:
    for size in (TASKS[name].min_size, 5, 16):
        task = make_task(name, size=size, balanced=1)
        samples = [task.sample(split, 3, index) for index in range(20)]
        assert set(Counter(sample.target for sample in samples).values()) == {10}
        assert all(Split.of(sample.context) is split for sample in samples)
        assert [wanted_target(s.address, task.few_targets) for s in samples] == [
            sample.target for sample in samples
        ]


@pytest.mark.parametrize("name", FEW)
def test_the_order_of_targets_is_not_that_of_another_seed_or_size(name: str) -> None:
    def targets(size: int, seed: int) -> list[str]:
        task = make_task(name, size=size, balanced=1)
        return [task.sample(Split.TEST, seed, index).target for index in range(24)]

    assert len({tuple(targets(size, seed)) for size in (6, 7) for seed in (0, 1)}) == 4


@pytest.mark.parametrize("name", FEW)
def test_balance_is_in_the_address_where_it_is_on_and_there_alone(name: str) -> None:
    plain, even = (make_task(name, size=8, balanced=b).sample(Split.TEST, 0, 0) for b in (0, 1))
    assert "balanced" not in plain.address.key
    assert plain.address == make_task(name, size=8).sample(Split.TEST, 0, 0).address
    assert "/balanced=1," in even.address.key
    again = Address.from_key(even.address.key)
    assert make_task(name, **dict(again.parameters)).sample(Split.TEST, 0, 0) == even


def test_a_task_whose_targets_are_not_few_has_no_balance() -> None:
    with pytest.raises(HarnessError, match="unknown parameter of index 'balanced'"):
        make_task("index", balanced=1)
    with pytest.raises(HarnessError, match="parity: balanced 2 is out of range: 0 to 1"):
        make_task("parity", balanced=2)


def test_a_target_that_no_sample_has_is_named_with_what_to_do() -> None:
    class Even(Parity):
        __slots__ = ()

        def draws(self, generator: random.Random):  # type: ignore[no-untyped-def]
            return (one for one in Parity.draws(self, generator) if one.target == "0")

    task = Even(size=8, balanced=1)
    order = [
        s.target for s in (Parity(size=8, balanced=1).sample(Split.TEST, 0, i) for i in (0, 1))
    ]
    with pytest.raises(InputError, match=r"has the target 1; -T parity\.balanced=0 takes targets"):
        task.sample(Split.TEST, 0, order.index("1"))


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("number", [1, 2, 3, 4, 9])
def test_worked_examples_have_each_target_as_often_give_or_take_one(name: str, number: int) -> None:
    for seed in range(5):
        examples = worked_examples(make_task(name, balanced=1), seed, number)
        counts = Counter(example.target for example in examples)
        assert len({example.context for example in examples}) == number
        few = TASKS[name].few_targets
        assert max(counts.values()) - min(counts[target] for target in few) <= 1


def test_worked_examples_of_a_size_with_few_contexts_have_those_that_there_are() -> None:
    counts = Counter(
        e.target for e in worked_examples(make_task("parity", size=4, balanced=1), 0, 64)
    )
    assert 0 < counts["0"] <= 8
    assert 0 < counts["1"] <= 8


@pytest.mark.parametrize("size", [4, 5])
def test_as_many_samples_differ_as_a_task_says(size: int) -> None:
    edges = [(a, b) for a in range(size) for b in range(a)]
    drawn = {
        frozenset(graph)
        for graph in product(edges, repeat=size - 1)
        if len(set(graph)) == size - 1 and _has_two_centres(graph, size)
    }
    assert make_task("is_tree", size=size).num_distinct == len(drawn) * factorial(size - 1)


def _has_two_centres(graph: tuple[tuple[int, int], ...], size: int) -> bool:
    """All but one edge join one of two centres, which are not joined, to another vertex."""
    for one, other in permutations(range(size), 2):
        at = [edge for edge in graph if one in edge or other in edge]
        if len(at) == size - 2 and (one, other) not in at and (other, one) not in at:
            others = [next(v for v in edge if v not in (one, other)) for edge in at]
            if len(set(others)) == size - 2:
                return True
    return False


def test_a_size_with_few_different_samples_asks_each_of_them_once() -> None:
    task = make_task("parity", size=4)
    contexts = [task.sample(Split.TEST, 0, i).context for i in asked_indices(task, 0, 200)]
    test = {
        context
        for bits in product("01", repeat=4)
        if Split.of(context := f"parity {' '.join(bits)} ;") is Split.TEST
    }
    assert sorted(contexts) == sorted(test)
    even = make_task("parity", size=4, balanced=1)
    samples = [even.sample(Split.TEST, 0, index) for index in asked_indices(even, 0, 200)]
    assert len({sample.context for sample in samples}) == len(samples)
    assert len(set(Counter(sample.target for sample in samples).values())) == 1


def test_where_there_are_enough_all_samples_are_asked() -> None:
    assert asked_indices(make_task("is_tree", size=4), 0, 40) == range(40)
    assert asked_indices(make_task("is_tree", size=16), 0, 10**9) == range(10**9)
    assert few_samples(TASKS["needle"]) == ""
    assert "96 at size 4" in few_samples(TASKS["is_tree"])


@pytest.mark.parametrize(("drawn", "words"), [(1, 5), (2, 3), (4, 2), (5, 3), (6, 4)])
def test_the_worth_of_the_commonest_is_that_of_all_rows_counted(drawn: int, words: int) -> None:
    rows = list(product(range(words), repeat=drawn))
    most = sum(max(Counter(row).values()) for row in rows) / len(rows)
    assert commonest(drawn, words) == pytest.approx(most / drawn)
    orders = sum(max(Counter(permutations(row)).values()) for row in rows) / len(rows)
    assert in_a_row(drawn, words, drawn) == pytest.approx(orders / factorial(drawn))


def test_naming_some_of_several_in_a_row_is_worth_what_drawing_says() -> None:
    generator, worth = random.Random(0), 0.0
    for _ in range(4_000):
        row = generator.choices(range(8), k=6)
        answers = Counter(permutations(row, 2))
        worth += max(answers.values()) / answers.total() / 4_000
    assert in_a_row(6, 8, 2) == pytest.approx(worth, abs=0.01)


@pytest.mark.parametrize("name", TASKS)
def test_chance_is_a_share_at_every_size_and_says_of_which_guess(name: str) -> None:
    kind = TASKS[name]
    for size in (kind.min_size, 6, 16, 33, kind.max_size):
        assert 0 <= make_task(name, size=size).chance <= 1
    assert kind.guess


def test_no_guess_of_the_commonest_value_beats_chance() -> None:
    for name, size in (("assoc_recall", 64), ("index", 16), ("phonebook", 32)):
        task = make_task(name, size=size)
        right = 0.0
        for index in range(1_500):
            sample = task.sample(Split.TEST, 0, index)
            values = [one.target for one in sample.siblings()]
            right += max(Counter(values).values()) / size
        assert right / 1_500 == pytest.approx(task.chance, abs=0.004), name
    assert make_task("assoc_recall", size=64).chance > 0.045
    assert make_task("ngram_retrieval", size=16).chance > 0.385


@pytest.mark.parametrize("size", [4, 5, 6, 8, 16])
def test_the_degrees_at_edges_say_of_a_graph_what_chance_states(size: int) -> None:
    task = make_task("is_tree", size=size)
    samples = [task.sample(Split.TEST, 0, index) for index in range(1_500)]
    by_degrees: dict[tuple[tuple[int, int], ...], Counter[str]] = {}
    for sample in samples:
        by_degrees.setdefault(_degrees(sample.problem), Counter())[sample.target] += 1
    right = sum(max(counts.values()) for counts in by_degrees.values())
    assert right / len(samples) == pytest.approx(task.chance, abs=0.035)


def _degrees(graph: Problem) -> tuple[tuple[int, int], ...]:
    assert isinstance(graph, is_tree.Graph)
    degrees = Counter(vertex for edge in graph.edges for vertex in edge)
    pairs = (sorted((degrees[one], degrees[other])) for one, other in graph.edges)
    return tuple(sorted((low, high) for low, high in pairs))


def test_the_places_of_answers_are_known_where_they_stand_at_any() -> None:
    found = {name: make_task(name, size=10).sample(Split.TEST, 0, 0).depths for name in TASKS}
    for name in ("assoc_recall", "index", "ngram_retrieval", "position_retrieval", "phonebook"):
        assert len(found[name]) == 1
    assert (len(found["mqar"]), len(found["needle"])) == (10, 2)
    assert not any(found[name] for name in (*FEW, "copy", "permutation_composition"))
    assert all(0 < depth < 1 for depths in found.values() for depth in depths)
    sample = make_task("needle", size=10).sample(Split.TEST, 0, 0)
    passages = sample.context.split(" ; ")[1:]
    asked = [n for n, text in enumerate(passages) if text.startswith(f"{sample.question} =")]
    assert sample.depths == [(n + 0.5) / 18 for n in asked]
