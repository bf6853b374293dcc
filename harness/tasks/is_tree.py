"""IsTree: the edges of a graph in random order; is it a tree?"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_parameter, check_size, draw_until
from harness.tasks.tree_tour import in_thought, tour, with_searches
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode

_ROOT = "0"
# Orders of a graph's edges that are tried for one in the wanted split: where all are in the other,
# as may be with few edges, it is another graph's turn.
_ORDERS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class IsTree:
    """`size` vertices and `size` - 1 edges, so that their number says nothing.

    The hard distribution of the paper's Theorem 4.7: two centres, every other vertex joined to one
    of them by a fair coin, and an edge between two of those others. It is a tree exactly when they
    hang at different centres. Prompt: `is_tree 2 - 0 1 - 0 3 - 1 ; <direct>`, 3 * size tokens.
    """

    name: ClassVar[str] = "is_tree"
    summary: ClassVar[str] = "the edges of a graph in random order; yes if it is a tree, else no"
    source: ClassVar[str] = "arXiv 2402.18510, section 4.2 (IsTree), distribution of Theorem 4.7"
    instruction: ClassVar[str] = (
        "The context is the list of the edges of an undirected graph, in random order and ended by "
        "a semicolon: `2 - 0` is an edge between vertex 2 and vertex 0. The graph has one vertex "
        "more than it has edges; a vertex without an edge is not listed. Answer yes if the graph "
        "is a tree, that is connected and without a cycle, else answer no."
    )
    size_unit: ClassVar[str] = "vertices"
    min_size: ClassVar[int] = 4
    max_size: ClassVar[int] = 256
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = tuple(Prompting)
    styles: ClassVar[tuple[Style, ...]] = tuple(Style)
    retrieval_modes: ClassVar[tuple[Mode, ...]] = (Mode.REGEX,)
    impossible: ClassVar[Mapping[Mode, str]] = {
        Mode.DENSE: "the edges at a vertex have to be found one after the other, and all are as "
        "like it"
    }
    # The prompt's edges stand before the first separator; queries, which look like edges, after it.
    abbreviations: ClassVar[tuple[Abbreviation, ...]] = (
        # The recorded father of a vertex: a vertex stands behind a record, the end behind a query.
        Abbreviation(query="$1 ~", pattern=r"\b$1 ~ (\d+) \d"),
        # Whether a vertex is recorded as the father of another.
        Abbreviation(query="$1 ~ $2", pattern=r"\b($1) ~ $2 \d"),
        # How many vertices have been recorded beside the root: the last such number.
        Abbreviation(query="=", pattern=r"^.* = (\d+)"),
        # Whether the graph has so many edges.
        Abbreviation(query="= $1", pattern=r"^\S+(?: \d+ - \d+){$1} (;)"),
        # The first neighbour of a vertex, in the order of the edges.
        Abbreviation(query="$1 -", pattern=r"^[^;]*?\b(?:$1 - (\d+)|(\d+) - $1)\b"),
        # Its next neighbour after another.
        Abbreviation(
            query="$1 - $2",
            pattern=r"^[^;]*?\b(?:$1 - $2|$2 - $1)\b[^;]*?\b(?:$1 - (\d+)|(\d+) - $1)\b",
        ),
    )

    size: int = 16
    # Vertices are named by so many numerals from 0 on; 0: by as many as there are vertices.
    labels: int = 0

    def __post_init__(self) -> None:
        """Raises UnsupportedError for a size or a number of labels out of range."""
        check_size(self)
        if self.labels:
            check_parameter(self, "labels", self.size, len(words.NUMERALS))

    @property
    def chance(self) -> float:
        """Half of the graphs are trees."""
        return 0.5

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        context, is_tree = draw_until(split, self._draw(generator).__next__)
        target = "yes" if is_tree else "no"
        return Sample(address=address, context=context, question="", target=target)

    def _draw(self, generator: random.Random) -> Iterator[tuple[str, bool]]:
        """Graphs, each in a few orders of its edges, and whether it is a tree.

        The hidden order is that of the others. Another order is less work than another graph.
        """
        labels = range(1, self.labels or self.size)
        while True:
            vertices = [int(_ROOT), *generator.sample(labels, self.size - 1)]
            generator.shuffle(vertices)
            centres, others = vertices[:2], vertices[2:]
            hangs_at = [generator.choice(centres) for _ in others]
            edges = list(zip(others, hangs_at, strict=True))
            extra = generator.randrange(len(others) - 1)
            edges.append((others[extra], others[extra + 1]))
            for _ in range(_ORDERS):
                generator.shuffle(edges)
                yield _context(self.name, edges), hangs_at[extra] != hangs_at[extra + 1]

    def siblings(self, sample: Sample) -> list[Sample]:
        """There is one question about a graph."""
        return [sample]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:  # noqa: ARG002
        """At least the tokens of the longest worked completion.

        A tour makes at most 2 * size - 1 stops (a token each), looks at 2 * size - 2 neighbours (12
        each), finds none left at each vertex and asks for its father (11), meets size - 1 new
        vertices (14 each), and asks twice at the end (9).
        """
        if prompting is Prompting.DIRECT:
            return 3
        return (2 if prompting is Prompting.COT else 51) * self.size + 3

    def demonstration(
        self,
        sample: Sample,
        prompting: Prompting,
        mode: Mode | None,  # noqa: ARG002
    ) -> tuple[Segment, ...]:
        """CoT: the depth-first tour from vertex 0. Search: the same, with every step looked up."""
        if prompting is Prompting.DIRECT:
            return (worked.answer(sample.target),)
        row = sample.context.split()[1:-1]
        stops = tour(list(zip(row[0::3], row[2::3], strict=True)), _ROOT)
        if prompting is Prompting.COT:
            return worked.chain(in_thought(stops), sample.target)
        return worked.joined([*with_searches(stops, self.size - 1), worked.answer(sample.target)])


def _context(name: str, edges: Sequence[tuple[int, int]]) -> str:
    """Every edge with its larger end first."""
    row = (f"{one} - {two}" if one > two else f"{two} - {one}" for one, two in edges)
    return " ".join((name, *row, words.SEPARATOR))
