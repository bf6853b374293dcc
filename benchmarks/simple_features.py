"""What a simple guess may look at: degrees, counts and places, never where the question leads.

Left out is what a task itself asks for: how often the word of `counting` occurs, how many ones
`parity` has, what stands at the place of `index`, the order of words of `copy` (so there is
nothing to learn of `copy` here).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, islice, pairwise, permutations
from typing import Final

from harness.sample import Sample

Vector = list[float]
# A possible answer, and what is known of it without finding what is asked.
Candidate = tuple[str, Vector]

_MOST_ORDERS: Final = 120


def _edges(sample: Sample) -> list[tuple[int, int]]:
    words = sample.context.split()[1:-1]
    return [(int(one), int(other)) for one, other in zip(words[::3], words[2::3], strict=True)]


def _degrees(sample: Sample) -> list[int]:
    edges = _edges(sample)
    counts = Counter(vertex for edge in edges for vertex in edge)
    return [counts[vertex] for vertex in range(len(edges) + 1)]


def _degrees_of_ends(sample: Sample) -> list[tuple[int, int]]:
    degrees = _degrees(sample)
    return [(degrees[one], degrees[other]) for one, other in _edges(sample)]


def _sorted_degrees(sample: Sample) -> Vector:
    return [float(degree) for degree in sorted(_degrees(sample))]


def _labelled_degrees(sample: Sample) -> Vector:
    return [float(degree) for degree in _degrees(sample)]


def _ends_in_order(sample: Sample) -> Vector:
    return [float(degree) for ends in _degrees_of_ends(sample) for degree in ends]


def _counted_ends(sample: Sample) -> Vector:
    """How often each pair of degrees stands at an edge; and all pairs, in their order."""
    pairs = Counter((min(ends), max(ends)) for ends in _degrees_of_ends(sample))
    most = len(_edges(sample)) + 1
    table = [float(pairs[low, high]) for low in (1, 2, 3) for high in range(low, min(most, 40))]
    return [*table, *(float(degree) for pair in sorted(pairs.elements()) for degree in pair)]


def _raw_ends(sample: Sample) -> Vector:
    return [float(vertex) for edge in _edges(sample) for vertex in edge]


def _counts_of_words(sample: Sample) -> Vector:
    """Of `counting`: the number asked, and how many words occur how often."""
    row = sample.context.split()[1:-1]
    number = int(sample.question.split()[1])
    counts = Counter(row)
    histogram = Counter(counts.values())
    near = [histogram[number + step] for step in (-1, 0, 1, 2)]
    table = [histogram[count] for count in range(1, 17)]
    return [float(number), float(len(counts)), *map(float, near), *map(float, table)]


def _bits(sample: Sample) -> Vector:
    return [float(bit) for bit in sample.context.split()[1:-1]]


def _changes(sample: Sample) -> Vector:
    bits = sample.context.split()[1:-1]
    runs = 1 + sum(one != other for one, other in pairwise(bits))
    return [float(bits[0]), float(bits[-1]), float(runs)]


def _numbers(sample: Sample) -> Vector:
    return [float(word) for word in sample.context.split() if word.isdigit()]


# Of tasks whose target is one of few: sets of features, by name.
OF_SAMPLES: Final[Mapping[str, Mapping[str, Callable[[Sample], Vector]]]] = {
    "is_tree": {
        "sorted degrees": _sorted_degrees,
        "degree of each vertex": _labelled_degrees,
        "degrees at each edge": _ends_in_order,
        "pairs of degrees, counted": _counted_ends,
        "vertices at each edge": _raw_ends,
    },
    "counting": {"counts": _counts_of_words},
    "parity": {"bits": _bits, "changes": _changes},
    "permutation_composition": {"items": _numbers},
}


def _passages(sample: Sample) -> list[str]:
    return [text.strip() for text in sample.context.split(";")[1:-1]]


def _of_words(answers: Sequence[str], question: str) -> list[Candidate]:
    """Each word that can be an answer, with its count and its places."""
    counts, total = Counter(answers), len(answers)
    asked = Counter(question.split())
    found = []
    for word, count in counts.items():
        places = [place for place, other in enumerate(answers) if other == word]
        rank = sum(other > count for other in counts.values())
        places_known = [places[0] / total, places[-1] / total, sum(places) / len(places) / total]
        found.append((word, [float(count), count / total, rank, asked[word], *places_known]))
    return found


def _of_orders(values: Sequence[str], number: int) -> list[Candidate]:
    """Some of the values, in an order, with their places."""
    return [
        (" ".join(values[place] for place in places), [float(place) for place in places])
        for places in islice(permutations(range(len(values)), number), _MOST_ORDERS)
    ]


def _needle(sample: Sample) -> list[Candidate]:
    """As many values as are asked, in their order, with their places among values and passages."""
    passages = _passages(sample)
    places = [place for place, text in enumerate(passages) if " = " in text]
    number = len(sample.target.split())
    return [
        (
            " ".join(passages[places[one]].split()[2] for one in chosen),
            [float(value) for one in chosen for value in (one, places[one] / len(passages))],
        )
        for chosen in combinations(range(len(places)), number)
    ]


def _position(sample: Sample) -> list[Candidate]:
    number = len(_passages(sample))
    return [(str(place), [place / number, float(place)]) for place in range(1, number + 1)]


def _ngram(sample: Sample) -> list[Candidate]:
    num_asked = len(sample.question.split())
    return _of_words(sample.context.split()[1 + num_asked : -1], sample.question)


# Of the others: what may be answered, and what is known of each such answer.
OF_CANDIDATES: Final[Mapping[str, Callable[[Sample], list[Candidate]]]] = {
    "assoc_recall": lambda sample: _of_words([p.split()[1] for p in _passages(sample)], ""),
    "index": lambda sample: _of_words(_passages(sample), ""),
    "phonebook": lambda sample: _of_words([p.split(" = ")[1] for p in _passages(sample)], ""),
    "ngram_retrieval": _ngram,
    "position_retrieval": _position,
    "needle": _needle,
    "mqar": lambda sample: _of_orders(
        [p.split()[1] for p in _passages(sample)], len(sample.target.split())
    ),
}


def rows_of_candidates(
    samples: Sequence[Sample], candidates: Callable[[Sample], list[Candidate]]
) -> Iterator[tuple[int, Vector, bool]]:
    """The number of the sample, a candidate's features, and whether it is right."""
    for number, sample in enumerate(samples):
        for answer, vector in candidates(sample):
            yield number, vector, answer == sample.target
