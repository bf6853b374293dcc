"""manifest.json: what a run asks of which models, written before the first sample."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.errors import InputError
from harness.runs.cell import Cell
from harness.runs.refused import Refused
from harness.runs.run_options import RunOptions

FORMAT: Final = 1
FILE_NAME: Final = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One time that the run was worked on; these options change no result."""

    started_at: str
    concurrency: int
    deadline_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointRecord:
    """An endpoint as it was: its place (checkpoint or address) and its GetModel."""

    name: str
    place: str
    retrieval: bool
    model: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Split and sampling are the same for every sample of a run: test, greedy."""

    run: str
    created_at: str
    versions: dict[str, str]
    options: RunOptions
    endpoints: tuple[EndpointRecord, ...]
    cells: tuple[Cell, ...]
    sessions: tuple[Session, ...]
    # The addresses of the worked examples that every prompt of a cell begins with, by its key.
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Cells of the grid that was asked for, but cannot be run.
    refused: tuple[Refused, ...] = ()
    split: str = "test"
    sampling: dict[str, float] = field(default_factory=lambda: {"temperature": 0.0})
    format: int = FORMAT

    def model(self, endpoint: str) -> dict[str, Any]:
        """GetModel of an endpoint, by its name."""
        return next(e.model for e in self.endpoints if e.name == endpoint)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replaces the file in one step."""
    temporary = folder / f"{FILE_NAME}.new"
    temporary.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, folder / FILE_NAME)


def read_manifest(folder: Path) -> Manifest:
    """Raises InputError where there is none, or none that this version can read."""
    path = folder / FILE_NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise InputError(f"{path}: format {value['format']}, this version reads {FORMAT}")
        return Manifest(
            run=value["run"],
            created_at=value["created_at"],
            versions=value["versions"],
            options=RunOptions.from_json(value["options"]),
            endpoints=tuple(EndpointRecord(**e) for e in value["endpoints"]),
            cells=tuple(Cell.from_json(c) for c in value["cells"]),
            sessions=tuple(Session(**s) for s in value["sessions"]),
            examples={key: tuple(keys) for key, keys in value.get("examples", {}).items()},
            refused=tuple(Refused(**one) for one in value.get("refused", [])),
            split=value["split"],
            sampling=value["sampling"],
        )
    except OSError as error:
        raise InputError(f"{folder} is not a run: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the manifest of a run: {error!r}") from None
