"""The answers of tasks, against definitions that are slow and obvious."""

from collections import Counter

import pytest

from harness.sample import Sample, Split
from harness.tasks import make_task
from harness.tasks import vocabulary as words
from harness.tasks.is_tree import Graph
from harness.tasks.symbolic import write
from harness.tasks.tree_tour import in_thought, tour
from harness.way import Way


def is_tree_slowly(sample: Sample, num_vertices: int) -> bool:
    """Connected, and one edge fewer than vertices: by union-find over the edges of the text."""
    text = sample.context.removeprefix("is_tree ").removesuffix(" ;")
    row = text.replace(" - ", "-").split()
    edges = [edge.split("-") for edge in row]
    fathers: dict[str, str] = {}

    def root(vertex: str) -> str:
        while fathers.setdefault(vertex, vertex) != vertex:
            vertex = fathers[vertex]
        return vertex

    for one, other in edges:
        fathers[root(one)] = root(other)
    is_connected = len({root(vertex) for vertex in list(fathers)}) == 1
    return is_connected and len(fathers) == num_vertices and len(edges) == num_vertices - 1


@pytest.mark.parametrize(("size", "labels"), [(5, 0), (8, 257), (16, 0), (33, 128), (64, 0)])
def test_is_tree_says_yes_to_trees_alone_and_to_half_of_the_graphs(size: int, labels: int) -> None:
    task = make_task("is_tree", size=size, labels=labels)
    samples = [task.sample(Split.TEST, 5, index) for index in range(2000)]
    for sample in samples:
        assert sample.target == ("yes" if is_tree_slowly(sample, size) else "no")
    assert 0.46 < sum(sample.target == "yes" for sample in samples) / 2000 < 0.54


def test_is_tree_names_its_vertices_by_all_labels_and_one_of_them_0() -> None:
    task = make_task("is_tree", size=6, labels=257)
    seen = set()
    for index in range(1000):
        row = task.sample(Split.TEST, 0, index).context.split()[1:-1]
        assert row[1::3] == ["-"] * 5
        assert all(
            int(large) > int(small) for large, small in zip(row[0::3], row[2::3], strict=True)
        )
        seen |= {*row[0::3], *row[2::3]}
        # A centre without other vertices is in no edge, vertex 0 like any other.
        assert len({*row[0::3], *row[2::3]} | {"0"}) <= 6
    assert seen == set(words.NUMERALS)


def test_is_tree_tours_as_in_the_paper() -> None:
    assert in_thought(tour([(2, 0), (1, 0), (3, 1)], 0)) == "0 2 0 1 3 1 0"
    assert in_thought(tour([(1, 0), (2, 1), (2, 0)], 0)) == "0 1 2 0"
    assert in_thought(tour([(2, 1), (3, 1), (3, 2)], 0)) == "0"


def test_is_tree_looks_every_step_up_and_records_the_root_too() -> None:
    graph = Graph(edges=[(0, 2), (0, 1), (1, 3)], is_tree=True)
    assert graph.text == "2 - 0 1 - 0 3 - 1 ;"
    trace = write(graph.steps(Way.parse("search regex")))
    text = " ".join(f">{piece.text}" if piece.inserted else piece.text for piece in trace)
    text = text.replace(words.SEARCH_START, "[").replace(words.SEARCH_END, "]")
    assert text == (
        "0 ~ 0 0 = 0 [ 0 - ] >2 [ 0 ~ 2 ] >FAILED [ 2 ~ ] >FAILED 2 ~ 0 "
        "2 [ = ] >0 = 1 [ 2 - ] >0 [ 2 ~ 0 ] >2 [ 2 - 0 ] >FAILED [ 2 ~ ] >0 "
        "0 [ 0 - 2 ] >1 [ 0 ~ 1 ] >FAILED [ 1 ~ ] >FAILED 1 ~ 0 "
        "1 [ = ] >1 = 2 [ 1 - ] >0 [ 1 ~ 0 ] >1 "
        "[ 1 - 0 ] >3 [ 1 ~ 3 ] >FAILED [ 3 ~ ] >FAILED 3 ~ 1 "
        "3 [ = ] >2 = 3 [ 3 - ] >1 [ 3 ~ 1 ] >3 [ 3 - 1 ] >FAILED [ 3 ~ ] >1 "
        "1 [ 1 - 3 ] >FAILED [ 1 ~ ] >0 "
        "0 [ 0 - 1 ] >FAILED [ 0 ~ ] >0 [ = ] >3 [ = 3 ] >; <answer> yes <eos>"
    )


def test_the_papers_own_trace_of_is_tree_is_that_of_its_code() -> None:
    def traced(edges: list[tuple[int, int]], *, is_tree: bool) -> str:
        graph = Graph(edges=edges, is_tree=is_tree, has_trace_of_the_paper=True)
        trace = write(graph.steps(Way.parse("search regex")))
        text = " ".join(f">{piece.text}" if piece.inserted else piece.text for piece in trace)
        return text.replace(words.SEARCH_START, "[").replace(words.SEARCH_END, "]")

    assert traced([(2, 0), (1, 0), (3, 1)], is_tree=True) == (
        "0 [ 0 ~ ] >FAILED [ 0 - ] >2 [ 2 ~ ] >FAILED 2 ~ 0 "
        "2 [ 2 ~ ] >0 [ 2 - ] >0 [ 2 - 0 ] >FAILED "
        "0 [ 0 ~ ] >FAILED [ 0 - 2 ] >1 [ 1 ~ ] >FAILED 1 ~ 0 "
        "1 [ 1 ~ ] >0 [ 1 - ] >0 [ 1 - 0 ] >3 [ 3 ~ ] >FAILED 3 ~ 1 "
        "3 [ 3 ~ ] >1 [ 3 - ] >1 [ 3 - 1 ] >FAILED "
        "1 [ 1 ~ ] >0 [ 1 - 3 ] >FAILED 0 [ 0 ~ ] >FAILED [ 0 - 1 ] >FAILED <answer> yes <eos>"
    )
    # A vertex is met again: the last look-up finds its record; the root has none.
    assert traced([(1, 0), (2, 1), (3, 2), (3, 1)], is_tree=False).endswith(
        "3 [ 3 ~ ] >2 [ 3 - ] >2 [ 3 - 2 ] >1 [ 1 ~ ] >0 <answer> no <eos>"
    )
    assert traced([(1, 0), (2, 1), (2, 0)], is_tree=False).endswith(
        "2 [ 2 ~ ] >1 [ 2 - ] >1 [ 2 - 1 ] >0 [ 0 ~ ] >FAILED <answer> no <eos>"
    )


@pytest.mark.parametrize("size", [4, 16, 64])
def test_index_asks_for_the_word_at_a_position_counted_from_1(size: int) -> None:
    task = make_task("index", size=size)
    positions = set()
    for index in range(300):
        sample = task.sample(Split.TEST, 0, index)
        passages = [part.strip() for part in sample.context.split(";")]
        assert passages[int(sample.question)] == sample.target
        positions.add(int(sample.question))
    assert {1, size} <= positions if size < 64 else len(positions) > 50


@pytest.mark.parametrize("size", [4, 16, 64])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_ngram_retrieval_asks_for_what_follows_words_that_occur_once(size: int, order: int) -> None:
    task = make_task("ngram_retrieval", size=size, order=order)
    for index in range(200):
        sample = task.sample(Split.TEST, 0, index)
        assert len(sample.question.split()) == order - 1
        row = sample.context.removeprefix("ngram_retrieval ").removesuffix(" ;").split()
        rest = [
            row[i + order - 1]
            for i in range(size - order + 1)
            if row[i : i + order - 1] == sample.question.split()
        ]
        assert rest == [sample.target]
        assert len(set(row)) <= max(4, size // 4)


@pytest.mark.parametrize("size", [1, 4, 16, 64])
def test_counting_asks_whether_a_word_occurs_more_often_than_a_number(size: int) -> None:
    task = make_task("counting", size=size)
    samples = [task.sample(Split.TEST, 0, index) for index in range(1000)]
    for sample in samples:
        word, number = sample.question.split()
        count = sample.context.split().count(word)
        assert count >= 1
        assert int(number) in {count - 1, count}
        assert sample.target == str(int(count > int(number)))
    assert 0.44 < sum(sample.target == "1" for sample in samples) / 1000 < 0.56


def test_the_chance_of_counting_is_what_the_number_and_the_counts_of_all_words_tell() -> None:
    task = make_task("counting", size=16)
    by_number: dict[str, Counter[str]] = {}
    num_right = 0
    for index in range(4000):
        sample = task.sample(Split.TEST, 0, index)
        number = sample.question.split()[1]
        counts = Counter(sample.context.split()[1:-1]).values()
        has_more = sum(count == int(number) + 1 for count in counts)
        guess = "1" if has_more >= sum(count == int(number) for count in counts) else "0"
        num_right += guess == sample.target
        by_number.setdefault(number, Counter())[sample.target] += 1
    assert abs(num_right / 4000 - task.chance) < 0.03
    # The number alone says less.
    assert sum(max(found.values()) for found in by_number.values()) / 4000 < task.chance


def test_counting_thinks_in_the_words_that_follow() -> None:
    task = make_task("counting", size=4)
    sample = next(
        sibling
        for index in range(99)
        for sibling in task.sample(Split.TEST, 0, index).siblings()
        if sibling.metadata["count"] == 2 and sibling.target == "1"
    )
    word, _ = sample.question.split()
    row = sample.context.split()
    first, second = (place + 1 for place, one in enumerate(row) if one == word)
    [segment] = write(sample.steps(Way.parse("cot")))
    assert segment.text == f"{row[first]} 1 {row[second]} 2 <answer> 1 <eos>"


@pytest.mark.parametrize(
    ("name", "parameters", "named"),
    [
        ("is_tree", {"size": 16, "labels": 15}, "labels 15 is out of range: 16 to 257 at size 16"),
        ("is_tree", {"size": 16, "labels": 258}, "labels 258"),
        ("ngram_retrieval", {"size": 4, "order": 5}, "order 5 is out of range: 2 to 4 at size 4"),
        ("ngram_retrieval", {"size": 4, "order": 1}, "order 1"),
        ("assoc_recall", {"size": 9, "alphabet": 8}, "alphabet 8 is out of range: 9 to 128"),
    ],
)
def test_a_parameter_out_of_range_is_named_with_the_range(
    name: str, parameters: dict[str, int], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        make_task(name, **parameters)
