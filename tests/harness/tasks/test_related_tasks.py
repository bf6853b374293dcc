"""The answers of the related tasks, against definitions that are slow and obvious."""

import pytest

from harness.sample import Sample, Split
from harness.tasks import make_task
from harness.tasks import vocabulary as words
from harness.tasks.permutation_composition import Product
from harness.tasks.symbolic import show, write
from harness.way import Way


def samples(name: str, number: int = 200, **parameters: int) -> list[Sample]:
    task = make_task(name, **parameters)
    return [task.sample(Split.TEST, 0, index) for index in range(number)]


def passages(sample: Sample) -> list[list[str]]:
    return [passage.split() for passage in sample.context.split(";")][1:-1]


@pytest.mark.parametrize(("size", "queries"), [(4, 0), (16, 0), (16, 1), (64, 5), (128, 0)])
def test_mqar_asks_keys_of_one_context_once_each_and_wants_all_values(
    size: int, queries: int
) -> None:
    for sample in samples("mqar", size=size, queries=queries):
        values = dict(passages(sample))
        asked = sample.question.split()
        assert len(values) == size
        assert len(set(asked)) == len(asked) == (queries or size)
        assert sample.target.split() == [values[key] for key in asked]
        assert not {*values} & {*values.values()}


@pytest.mark.parametrize(("size", "queries"), [(4, 1), (16, 4), (64, 32), (256, 1)])
def test_phonebook_asks_names_and_wants_their_numbers_in_order(size: int, queries: int) -> None:
    for sample in samples("phonebook", number=50, size=size, queries=queries):
        book = {(row[0], row[1]): row[3:] for row in passages(sample)}
        asked = sample.question.split()
        names = list(zip(asked[0::2], asked[1::2], strict=True))
        assert len(book) == size
        assert len(set(names)) == queries
        assert sample.target.split() == [digit for name in names for digit in book[name]]


def test_a_name_of_the_phonebook_is_seldom_told_by_one_of_its_words() -> None:
    for sample in samples("phonebook", size=16):
        firsts, lasts = zip(*((row[0], row[1]) for row in passages(sample)), strict=True)
        assert len({*firsts, *lasts}) <= 8


@pytest.mark.parametrize("size", [1, 4, 64, 256])
def test_position_retrieval_asks_where_a_word_stands_that_stands_once(size: int) -> None:
    for sample in samples("position_retrieval", number=100, size=size):
        row = [word for [word] in passages(sample)]
        assert len(set(row)) == size
        assert row[int(sample.target) - 1] == sample.question


@pytest.mark.parametrize(("keys", "values"), [(1, 1), (4, 1), (1, 4), (4, 2), (32, 4)])
@pytest.mark.parametrize("size", [1, 16, 256])
def test_needle_hides_every_value_once_and_wants_those_of_a_key_in_order(
    size: int, keys: int, values: int
) -> None:
    for sample in samples("needle", number=30, size=size, keys=keys, values=values):
        needles = [(row[0], row[2]) for row in passages(sample) if row[1] == "="]
        assert len(passages(sample)) == size + keys * values
        assert len(needles) == len({value for _, value in needles}) == keys * values
        assert len({key for key, _ in needles}) == keys
        found = [value for key, value in needles if key == sample.question]
        assert sample.target.split() == found
        assert len(found) == values


def test_the_filler_around_needles_is_never_a_key_or_a_value() -> None:
    for sample in samples("needle", size=64, keys=8, values=4):
        rows = passages(sample)
        hidden = {word for row in rows if row[1] == "=" for word in (row[0], row[2])}
        assert not hidden & {word for row in rows if row[1] != "=" for word in row}


@pytest.mark.parametrize("size", [1, 3, 16, 128])
def test_permutations_compose_from_left_to_right(size: int) -> None:
    for sample in samples("permutation_composition", number=100, size=size):
        # Followed item by item: where does the item go that stands at a place?
        place_of = {item: item for item in range(1, 6)}
        for row in passages(sample):
            moved = {int(source): place for place, source in enumerate(row, start=1)}
            place_of = {item: moved[place] for item, place in place_of.items()}
        by_place = sorted(place_of, key=place_of.__getitem__)
        assert sample.target == " ".join(map(str, by_place))


def test_the_instruction_of_permutations_is_worked_out_by_its_own_example() -> None:
    task = make_task("permutation_composition", size=2)
    product = Product(factors=((1, 3, 2, 4, 5), (2, 1, 3, 5, 4)))
    assert product.text == "1 3 2 4 5 ; 2 1 3 5 4 ;"
    shown = show(product.steps(Way.parse("cot")))
    assert shown == "1 3 2 4 5 > 3 1 2 5 4 <answer> 3 1 2 5 4 <eos>"
    assert "2 1 3 5 4 makes 3 1 2 5 4 of 1 3 2 4 5" in task.instruction


@pytest.mark.parametrize("size", [4, 16, 255])
def test_parity_is_1_where_the_number_of_ones_is_odd(size: int) -> None:
    drawn = samples("parity", number=1000, size=size)
    for sample in drawn:
        row = sample.context.removeprefix("parity ").removesuffix(" ;").split()
        assert len(row) == size
        assert sample.target == str(sum(map(int, row)) % 2)
    if size > 4:
        assert 0.45 < sum(sample.target == "1" for sample in drawn) / 1000 < 0.55


def test_parity_thinks_of_the_parity_so_far() -> None:
    task = make_task("parity", size=4)
    sample = task.sample(Split.TEST, 0, 0)
    bits = [int(bit) for bit in sample.context.split()[1:-1]]
    [segment] = write(sample.steps(Way.parse("cot")))
    so_far = [str(sum(bits[: end + 1]) % 2) for end in range(4)]
    assert segment.text.split() == [*so_far, words.ANSWER, so_far[-1], words.EOS]


@pytest.mark.parametrize(
    ("name", "parameters", "named"),
    [
        ("mqar", {"size": 4, "queries": 5}, "queries 5 is out of range: 0 to 4 at size 4"),
        ("phonebook", {"size": 64, "queries": 33}, "queries 33 is out of range: 1 to 32"),
        ("needle", {"keys": 33}, "keys 33 is out of range: 1 to 32"),
        ("needle", {"values": 0}, "values 0 is out of range: 1 to 4"),
    ],
)
def test_a_parameter_out_of_range_is_named_with_the_range(
    name: str, parameters: dict[str, int], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        make_task(name, **parameters)
