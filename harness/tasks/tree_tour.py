"""The depth-first tour of a graph from one vertex, in thought or with a search at every step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.sample import Segment
from harness.tasks import vocabulary as words
from harness.tasks import worked

Edge = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """One visit: the neighbours that were looked at in edge order, up to the one to go on with.

    `onward` is the last of them unless there is none left, then None: the tour goes home. The
    root's father is itself. `after`: the child from which the tour came home, None at first.
    """

    vertex: str
    father: str
    after: str | None
    looked_at: tuple[str, ...]
    onward: str | None
    closes_cycle: bool


def tour(edges: Sequence[Edge], root: str) -> list[Stop]:
    """Ends where a vertex is met twice, or back at the root with nothing left."""
    neighbours: dict[str, list[str]] = {root: []}
    for one, other in edges:
        neighbours.setdefault(one, []).append(other)
        neighbours.setdefault(other, []).append(one)
    left = {vertex: iter(near) for vertex, near in neighbours.items()}
    fathers = {root: root}
    stops: list[Stop] = []
    vertex, after = root, None
    while True:
        looked_at = _look(left[vertex], fathers[vertex])
        found = looked_at[-1] if looked_at and looked_at[-1] != fathers[vertex] else None
        stop = Stop(
            vertex=vertex,
            father=fathers[vertex],
            after=after,
            looked_at=looked_at,
            onward=found,
            closes_cycle=found in fathers,
        )
        stops.append(stop)
        if stop.closes_cycle or (found is None and vertex == root):
            return stops
        if found is None:
            vertex, after = fathers[vertex], vertex
        else:
            fathers[found] = vertex
            vertex, after = found, None


def _look(left: Iterator[str], father: str) -> tuple[str, ...]:
    looked_at = []
    for neighbour in left:
        looked_at.append(neighbour)
        if neighbour != father:
            break
    return tuple(looked_at)


def in_thought(stops: Sequence[Stop]) -> str:
    """The vertices on the way, and the one that is met again."""
    path = [stop.vertex for stop in stops]
    last = stops[-1].onward
    return " ".join(path if last is None else [*path, last])


def with_searches(stops: Sequence[Stop], num_edges: int) -> Iterator[Segment]:
    """The tour with everything looked up that a few tokens do not tell.

    `v ~ u` records that u is the father of v, the root's first, and `= k` that k vertices have
    been recorded beside the root. At a vertex neighbour after neighbour is asked for, and of each
    whether it is the father: comparing two vertices is harder for a recurrent model than finding a
    record. A neighbour without a father is new; with one it was met before. Home again at the
    root, the context is asked whether it has k edges: then all vertices were visited.
    """
    root, num_recorded = stops[0].vertex, 0
    yield Segment(text=f"{root} ~ {root}")
    for stop in stops:
        vertex, previous = stop.vertex, stop.after
        yield Segment(text=vertex)
        if previous is None:
            if vertex != root:
                yield from _lookup("=", str(num_recorded))
                num_recorded += 1
            yield Segment(text=f"= {num_recorded}")
        for neighbour in stop.looked_at:
            yield from _lookup(_neighbour_query(vertex, previous), neighbour)
            is_father = neighbour == stop.father
            yield from _lookup(f"{vertex} ~ {neighbour}", vertex if is_father else words.FAILED)
            previous = neighbour
        if stop.onward is None:
            yield from _lookup(_neighbour_query(vertex, previous), words.FAILED)
            yield from _lookup(f"{vertex} ~", stop.father)
        elif stop.closes_cycle:
            yield from _lookup(f"{stop.onward} ~", _father_of(stop.onward, stops))
            return
        else:
            yield from _lookup(f"{stop.onward} ~", words.FAILED)
            yield Segment(text=f"{stop.onward} ~ {vertex}")
    yield from _lookup("=", str(num_recorded))
    has_all = num_recorded == num_edges
    yield from _lookup(f"= {num_recorded}", words.SEPARATOR if has_all else words.FAILED)


def _lookup(query: str, result: str) -> tuple[Segment, Segment]:
    return worked.query(query), worked.found(result)


def _neighbour_query(vertex: str, previous: str | None) -> str:
    return f"{vertex} -" if previous is None else f"{vertex} - {previous}"


def _father_of(vertex: str, stops: Sequence[Stop]) -> str:
    return next(stop.father for stop in stops if stop.vertex == vertex)
