"""The depth-first tour of a graph from one vertex, in thought or with a search at every step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.steps import Step, Thought, lookup
from harness.tasks import vocabulary as words

Edge = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """One visit: the neighbours that were looked at in edge order, up to the one to go on with.

    `onward` is the last of them unless there is none left, then None: the tour goes home. The
    root's father is itself. `after`: the child from which the tour came home, None at first.
    """

    vertex: int
    father: int
    after: int | None
    looked_at: tuple[int, ...]
    onward: int | None
    closes_cycle: bool


def tour(edges: Sequence[Edge], root: int) -> list[Stop]:
    """Ends where a vertex is met twice, or back at the root with nothing left."""
    neighbours: dict[int, list[int]] = {root: []}
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


def _look(left: Iterator[int], father: int) -> tuple[int, ...]:
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
    return " ".join(map(str, path if last is None else [*path, last]))


def with_searches(stops: Sequence[Stop], num_edges: int) -> Iterator[Step]:
    """The tour with everything looked up that a few tokens do not tell.

    `v ~ u` records that u is the father of v, the root's first, and `= k` that k vertices have
    been recorded beside the root. At a vertex neighbour after neighbour is asked for, and of each
    whether it is the father: comparing two vertices is harder for a recurrent model than finding a
    record. A neighbour without a father is new; with one it was met before. Home again at the
    root, the context is asked whether it has k edges: then all vertices were visited.
    """
    root, num_recorded = stops[0].vertex, 0
    yield Thought(text=f"{root} ~ {root}")
    for stop in stops:
        vertex, previous = stop.vertex, stop.after
        yield Thought(text=str(vertex))
        if previous is None:
            if vertex != root:
                yield from lookup("=", str(num_recorded))
                num_recorded += 1
            yield Thought(text=f"= {num_recorded}")
        for neighbour in stop.looked_at:
            yield from lookup(_neighbour_query(vertex, previous), str(neighbour))
            is_father = neighbour == stop.father
            recorded = str(vertex) if is_father else words.FAILED
            yield from lookup(f"{vertex} ~ {neighbour}", recorded)
            previous = neighbour
        if stop.onward is None:
            yield from lookup(_neighbour_query(vertex, previous), words.FAILED)
            yield from lookup(f"{vertex} ~", str(stop.father))
        elif stop.closes_cycle:
            yield from lookup(f"{stop.onward} ~", str(_father_of(stop.onward, stops)))
            return
        else:
            yield from lookup(f"{stop.onward} ~", words.FAILED)
            yield Thought(text=f"{stop.onward} ~ {vertex}")
    yield from lookup("=", str(num_recorded))
    has_all = num_recorded == num_edges
    yield from lookup(f"= {num_recorded}", words.SEPARATOR if has_all else words.FAILED)


def with_searches_of_the_paper(stops: Sequence[Stop]) -> Iterator[Step]:
    """The tour with the searches of arXiv 2402.18510's public code, and what has to be remembered.

    `v ~ u` records that u is the father of v; the root has no record, so that a tour that meets
    it again finds none, as for a new vertex. Whether a neighbour is the father has to be compared,
    and whether all vertices were visited to be counted.
    """
    root = stops[0].vertex
    for stop in stops:
        vertex, previous = stop.vertex, stop.after
        yield Thought(text=str(vertex))
        father = words.FAILED if vertex == root else str(stop.father)
        yield from lookup(f"{vertex} ~", father)
        for neighbour in stop.looked_at:
            yield from lookup(_neighbour_query(vertex, previous), str(neighbour))
            previous = neighbour
        if stop.onward is None:
            yield from lookup(_neighbour_query(vertex, previous), words.FAILED)
        elif stop.closes_cycle:
            is_root = stop.onward == root
            recorded = words.FAILED if is_root else str(_father_of(stop.onward, stops))
            yield from lookup(f"{stop.onward} ~", recorded)
        else:
            yield from lookup(f"{stop.onward} ~", words.FAILED)
            yield Thought(text=f"{stop.onward} ~ {vertex}")


def _neighbour_query(vertex: int, previous: int | None) -> str:
    return f"{vertex} -" if previous is None else f"{vertex} - {previous}"


def _father_of(vertex: int, stops: Sequence[Stop]) -> int:
    return next(stop.father for stop in stops if stop.vertex == vertex)
