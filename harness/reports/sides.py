"""One side of a comparison: a run, and which of its endpoints."""

from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError
from harness.runs.cell import Cell
from harness.runs.manifest import Manifest, read_manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """A run, narrowed to one endpoint; `prompting` None takes what it was asked."""

    folder: Path
    manifest: Manifest
    endpoint: str
    prompting: str | None = None

    @property
    def cells(self) -> list[Cell]:
        """What is compared of the run."""
        return [
            cell
            for cell in self.manifest.cells
            if cell.endpoint == self.endpoint and self.prompting in {None, cell.prompting.value}
        ]


def open_side(folder: Path, endpoint: str | None, prompting: str | None) -> Side:
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
    side = Side(folder=folder, manifest=manifest, endpoint=endpoint, prompting=prompting)
    if not side.cells:
        has = ", ".join(
            sorted({c.prompting.value for c in manifest.cells if c.endpoint == endpoint})
        )
        raise InputError(
            f"run {manifest.run}: {endpoint} has no prompting '{prompting}', but {has}"
        )
    return side
