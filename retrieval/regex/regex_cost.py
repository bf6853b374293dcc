"""Bounds what a pattern costs, from the pattern alone: how many states its automaton can reach.

RE2 builds the states of a deterministic automaton as it reads. Where they are few, a search takes
2 to 10 ns a character; where they are many, it falls back to following every thread, hundreds of
times slower. So the states are counted here, before RE2 sees a long text.
"""

from dataclasses import dataclass
from functools import lru_cache

from harness_retrieval.regex import regex_syntax as syntax
from harness_retrieval.regex.regex_automaton import Automaton, TooLargeError
from harness_retrieval.regex.regex_positions import Edges, mirrored, shifted
from harness_retrieval.regex.regex_walk import Walker

_MAX_POSITIONS = 2_048
_MAX_EDGES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class PatternCost:
    """`max_threads`: positions that can be followed at once where the start is known."""

    max_threads: int


@lru_cache(maxsize=1024)
def bounded_cost(pattern: str) -> PatternCost | None:
    """The cost of a pattern that RE2 accepts, or None where no small bound is known."""
    try:
        node = syntax.parse(pattern)
        return _cost(node)
    except (TooLargeError, syntax.NotCoveredError, RecursionError):
        return None


def _cost(node: syntax.Node) -> PatternCost:
    automaton = Automaton(max_positions=_MAX_POSITIONS, max_edges=_MAX_EDGES)
    whole = automaton.build(node)
    letters, size = automaton.letters(), automaton.num_positions
    is_anchored = _starts_anchored(node)
    walker = Walker(
        edges=automaton.edges,
        letters=letters,
        first=whole.first,
        num_positions=size,
        restarts=not is_anchored,
    )
    walk = walker.walk_sets()
    walker.check_order(walk)
    if not is_anchored:  # RE2 finds the end of the match, then goes back for its start
        Walker(
            edges=_reversed(automaton.edges),
            letters=letters,
            first={mirrored(condition): bits for condition, bits in whole.last.items()},
            num_positions=size,
            restarts=False,
        ).walk_sets()
    return PatternCost(max_threads=walk.max_threads)


def _reversed(edges: Edges) -> Edges:
    backward: Edges = {}
    for condition, by_distance in edges.items():
        backward[mirrored(condition)] = {
            -distance: shifted(into, -distance) for distance, into in by_distance.items()
        }
    return backward


def _starts_anchored(node: syntax.Node) -> bool:
    while isinstance(node, syntax.Sequence) and node.parts:
        node = node.parts[0]
    return isinstance(node, syntax.Assertion) and node.kind == "^"
