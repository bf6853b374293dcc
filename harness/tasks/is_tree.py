"""IsTree: the edges of a graph in random order; is it a tree?"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import comb, factorial
from typing import Final

from harnessapi.values import Mode

from harness.sample import Problem
from harness.steps import Step
from harness.tasks import vocabulary as words
from harness.tasks.drawing import row_text, shuffle
from harness.tasks.parameters import parameter
from harness.tasks.task import Longest, Task
from harness.tasks.tree_tour import (
    Edge,
    in_thought,
    tour,
    with_searches,
    with_searches_of_the_paper,
)
from harness_retrieval.abbreviations import Abbreviation

_ROOT: Final = 0
# Orders of a graph's edges that are tried for one in the wanted split: where all are in the other,
# as may be with few edges, it is another graph's turn.
_ORDERS: Final = 8
# By size, with as many labels as vertices.
_NUM_GRAPHS: Final = {4: 16, 5: 130}


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph(Problem):
    """Edges in their order; there is one question about them."""

    edges: Sequence[Edge]
    is_tree: bool
    # One of the edges, and the one that in its place makes a tree of what is none, or the reverse.
    rehung: tuple[Edge, Edge] | None = None
    has_trace_of_the_paper: bool = False

    @property
    def text(self) -> str:
        return row_text([f"{a} - {b}" if a > b else f"{b} - {a}" for a, b in self.edges])

    @property
    def target(self) -> str:
        return "yes" if self.is_tree else "no"

    def false_twin(self, _generator: random.Random, /) -> Problem | None:
        """A vertex hangs at the other centre."""
        if self.rehung is None:
            return None
        old, new = self.rehung
        edges = [new if edge == old else edge for edge in self.edges]
        return replace(self, edges=edges, is_tree=not self.is_tree, rehung=(new, old))

    def thought(self) -> str:
        """The depth-first tour from vertex 0."""
        return in_thought(tour(self.edges, _ROOT))

    def regex_searches(self) -> Iterator[Step]:
        """The same, with every step looked up, or those that the paper looks up."""
        stops = tour(self.edges, _ROOT)
        if self.has_trace_of_the_paper:
            return with_searches_of_the_paper(stops)
        return with_searches(stops, len(self.edges))


@dataclass(frozen=True, kw_only=True, slots=True)
class IsTree(Task):
    """`size` vertices and `size` - 1 edges, so that their number says nothing.

    The hard distribution of the paper's Theorem 4.7: two centres, every other vertex joined to one
    of them by a fair coin, and an edge between two of those others. It is a tree exactly when they
    hang at different centres. Prompt: `is_tree 2 - 0 1 - 0 3 - 1 ; <direct>`, 3 * size tokens.
    """

    name = "is_tree"
    summary = "the edges of a graph in random order; yes if it is a tree, else no"
    source = "arXiv 2402.18510, section 4.2 (IsTree), distribution of Theorem 4.7"
    instruction = (
        "The context is the list of the edges of an undirected graph, in random order and ended by "
        "a semicolon: `2 - 0` is an edge between vertex 2 and vertex 0. The graph has one vertex "
        "more than it has edges; a vertex without an edge is not listed. Answer yes if the graph "
        "is a tree, that is connected and without a cycle, else answer no."
    )
    heading = "is_tree"
    notation = {
        "2 - 0": "an edge between vertices 2 and 0",
        "2 ~ 0": "a record: vertex 0 is the father of 2 on the tour; the root's father is itself",
        "= 3": "a record: so many vertices have been met beside the root",
    }
    few_targets = ("yes", "no")
    guess = (
        "the degrees at the ends of each edge, counted: they decide it unless both centres have as "
        "many vertices; computed"
    )
    size_unit = "vertices"
    min_size = 4
    retrieval_modes = (Mode.REGEX,)
    impossible = {
        Mode.DENSE: "the edges at a vertex have to be found one after the other, and all are as "
        "like it"
    }
    # The prompt's edges stand before the first separator; queries, which look like edges, after it.
    abbreviations = (
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

    labels: int = parameter(
        0,
        "Vertices are named by so many numerals from 0 on; 0: by as many as there are vertices.",
        lambda size: range(size, len(words.NUMERALS) + 1),
    )
    trace: int = parameter(
        0,
        "What a worked search looks up: 0: every step; 1: what the paper's own trace does.",
        lambda _: range(2),
        is_late=True,
    )

    @property
    def chance(self) -> float:
        """The extra edge joins vertices of degree 2, and the degrees beside them name the centres.

        With a different number at each centre that says whether they are the same one. So it is
        always where the number of vertices is odd; else the likelier answer is left.
        """
        others = self.size - 2
        half = others // 2
        if others % 2:
            return 1.0
        # Of pairs of the others, those that hang at different centres.
        share = half / (others - 1)
        are_alike = comb(others, half) / float(2**others)
        return 1 - are_alike * (1 - max(share, 1 - share))

    @property
    def num_distinct(self) -> int | None:
        """At size 4 a path (one of 12) or a triangle (of 4); at size 5 one of 130 graphs."""
        num_graphs = _NUM_GRAPHS.get(self.size)
        if num_graphs is None:
            return None
        others = self.size - 1
        return num_graphs * factorial(others) * comb((self.labels or self.size) - 1, others)

    @property
    def longest(self) -> Longest:
        """Bounds on the tour.

        It makes at most 2 * size - 1 stops (a token each), looks at 2 * size - 2 neighbours (12
        each), finds none left at each vertex and asks for its father (11), meets size - 1 new
        vertices (14 each), and asks twice at the end (9).
        """
        return Longest(thought=2 * self.size, searches={Mode.REGEX: 51 * self.size})

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        """Graphs, each in a few orders of its edges: another order is less work than a graph.

        The hidden order is that of the others.
        """
        labels = range(1, self.labels or self.size)
        while True:
            vertices = [_ROOT, *generator.sample(labels, self.size - 1)]
            shuffle(vertices, generator)
            centres, others = vertices[:2], vertices[2:]
            hangs_at = [generator.choice(centres) for _ in others]
            edges = list(zip(others, hangs_at, strict=True))
            extra = generator.randrange(len(others) - 1)
            edges.append((others[extra], others[extra + 1]))
            vertex, centre, other = others[extra], hangs_at[extra], hangs_at[extra + 1]
            away = centres[1] if centre == centres[0] else centres[0]
            graph = Graph(
                edges=edges,
                is_tree=centre != other,
                rehung=((vertex, centre), (vertex, away)),
                has_trace_of_the_paper=self.trace == 1,
            )
            for _ in range(_ORDERS):
                shuffle(edges, generator)
                yield graph
