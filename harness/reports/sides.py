"""One side of a comparison: a run, and which of its endpoints."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import InputError, unknown_name
from harness.runs.cell import Cell
from harness.runs.manifest import Manifest, read_manifest
from harness.tasks.foreign import file_spec, is_file_spec


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """A run, narrowed to one endpoint; None takes whatever it was asked."""

    folder: Path
    manifest: Manifest
    endpoint: str
    # Words of the ways that are chosen: `cot`, `search lying`; None: all.
    way: str | None = None
    tasks: tuple[str, ...] | None = None
    sizes: tuple[int, ...] | None = None

    @property
    def cells(self) -> list[Cell]:
        """What is compared of the run."""
        return [
            cell
            for cell in self.manifest.cells
            if cell.endpoint == self.endpoint
            and (self.way is None or cell.way.words.issuperset(self.way.split()))
            and (self.tasks is None or cell.task in self.tasks)
            and (self.sizes is None or cell.size in self.sizes)
        ]


def open_side(folder: Path, endpoint: str | None, way: str | None) -> Side:
    """Raises InputError where the run has several endpoints and none is named, or not that one."""
    manifest = read_manifest(folder)
    names = list(dict.fromkeys(cell.endpoint for cell in manifest.cells))
    if endpoint is None and len(names) == 1:
        endpoint = names[0]
    if endpoint not in names:
        asked = "which endpoint?" if endpoint is None else f"no endpoint '{endpoint}'."
        raise InputError(
            f"run {manifest.run}: {asked} Name one of {', '.join(names)} as RUN:ENDPOINT"
        )
    side = Side(folder=folder, manifest=manifest, endpoint=endpoint, way=way)
    if not side.cells:
        has = ", ".join(sorted({c.way.name for c in manifest.cells if c.endpoint == endpoint}))
        raise InputError(f"run {manifest.run}: {endpoint} has no way '{way}', but {has}")
    return side


def narrow(
    sides: Sequence[Side], tasks: tuple[str, ...] | None, sizes: tuple[int, ...] | None
) -> list[Side]:
    """The sides with these tasks and sizes alone. Raises InputError for what neither has."""
    cells = [cell for side in sides for cell in side.cells]
    tasks = None if tasks is None else tuple(_task_name(sides, task) for task in tasks)
    for kind, chosen, known in (
        ("task", tasks, {cell.task for cell in cells}),
        ("size", sizes, {cell.size for cell in cells}),
    ):
        for value in chosen or ():
            if value not in known:
                raise unknown_name(kind, str(value), map(str, sorted(known)))
    narrowed = [replace(side, tasks=tasks, sizes=sizes) for side in sides]
    if not any(side.cells for side in narrowed):
        raise InputError(f"nothing of task {_listed(tasks)} has size {_listed(sizes)}")
    return narrowed


def _task_name(sides: Sequence[Side], task: str) -> str:
    """A task of a file by its name in the run; whether the file is still there does not matter."""
    spec = file_spec(task) if is_file_spec(task) else None
    for side in sides:
        for name, source in side.manifest.options.task_source.items():
            if source.spec == spec:
                return name
    return task


def _listed(values: Sequence[object] | None) -> str:
    return " or ".join(map(str, values or ()))
