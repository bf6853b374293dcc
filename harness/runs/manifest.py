"""manifest.json: what a run asks of which models, written before the first sample."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from harnessapi.values import ModelDescription

from harness.endpoints.prices import Prices
from harness.errors import InputError
from harness.runs.cell import Cell
from harness.runs.lines import is_there
from harness.runs.refused import Refused
from harness.runs.run_limits import Limits, StopRule
from harness.runs.run_options import RunOptions
from harness.runs.writing import replacing
from harness.scoring.wording import Wording
from harness.tasks import TASKS

FORMAT: Final = 1
FILE_NAME: Final = "manifest.json"
# Cut there, whatever is longer is no JSON.
_LONGEST_BYTES: Final = 2**28


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
    model: ModelDescription
    # How it was given written language: chat or completions. None: it was given none.
    api: str | None = None
    # What it was told besides the text, where that is not the default: see RequestOptions.
    request: dict[str, Any] = field(default_factory=dict)
    # What its tokens cost when it was asked last; None: not said.
    prices: Prices | None = None


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
    # The run whose completions these are, where they were scored anew.
    rescored_from: str | None = None
    # What may end it before all of its samples are asked.
    limits: Limits = field(default_factory=Limits)
    # The runs of its shards, where it was put together of some.
    merged_from: tuple[str, ...] = ()
    split: str = "test"
    sampling: dict[str, float] = field(default_factory=lambda: {"temperature": 0.0})
    format: int = FORMAT

    @property
    def num_samples(self) -> int:
        """All that are asked for, also of cells that were left out because an endpoint was away."""
        num_asked = sum(map(self.num_indices, self.cells))
        num_asked += self.options.num_indices * sum(one.is_away for one in self.refused)
        return num_asked * self.options.repeats

    def num_indices(self, cell: Cell) -> int:
        """How many samples of it are asked, without their repeats."""
        if cell.samples is None:
            return self.options.num_indices
        return cell.samples if cell.shard_samples is None else cell.shard_samples

    def wording(self, task: str) -> Wording | None:
        """How its targets may be worded; None for a task that is not known here."""
        if (source := self.options.task_source.get(task)) is not None:
            return source.wording
        return TASKS[task].wording if task in TASKS else None

    def few_targets(self, task: str) -> tuple[str, ...]:
        """All targets of it where those are few; none also for a task that is not known here."""
        if (source := self.options.task_source.get(task)) is not None:
            return source.few_targets
        return TASKS[task].few_targets if task in TASKS else ()

    def rule(self, cell: Cell) -> StopRule | None:
        """What is enough of a cell. One that has few samples is asked them all."""
        return None if cell.samples is not None else self.limits.rule

    def prices(self, endpoint: str) -> Prices | None:
        """Of an endpoint, by its name."""
        return next(e.prices for e in self.endpoints if e.name == endpoint)

    def model(self, endpoint: str) -> ModelDescription:
        """GetModel of an endpoint, by its name."""
        return next(e.model for e in self.endpoints if e.name == endpoint)


class OtherFormatError(InputError):
    """A manifest of another version of the harness: nothing is wrong with it."""


class _Versioned(msgspec.Struct):
    format: int


def read_manifest(folder: Path) -> Manifest:
    """Raises InputError where there is none, or none that this version can read."""
    path = folder / FILE_NAME
    try:
        is_there(path)
        with path.open("rb") as file:
            text = file.read(_LONGEST_BYTES)
        version = msgspec.json.decode(text, type=_Versioned).format
        if version != FORMAT:
            raise OtherFormatError(f"{path}: format {version}, this version reads {FORMAT}")
        manifest = msgspec.json.decode(text, type=Manifest)
        _ = manifest.options.mode, manifest.limits.rule
    except OSError as error:
        raise InputError(f"{folder} is not a run: {error}") from None
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: no manifest that this version reads: {error}") from None
    for endpoint in manifest.endpoints:
        for name, value in asdict(endpoint.model).items():
            if isinstance(value, int) and not 0 <= value < 2**63:
                raise InputError(f"{path}: {name} of {endpoint.name} is {value:.3g}: no count")
    names = {endpoint.name for endpoint in manifest.endpoints}
    for cell in manifest.cells:
        if cell.endpoint not in names:
            raise InputError(f"{path}: cell {cell.key} has an endpoint that is not there")
        if cell.samples is not None and not 0 < cell.samples <= manifest.options.samples:
            most = manifest.options.samples
            raise InputError(f"{path}: cell {cell.key} has {cell.samples} of {most} samples")
        if not 0 <= (cell.shard_samples or 0) <= (cell.samples or 0):
            raise InputError(f"{path}: cell {cell.key} has {cell.shard_samples} samples of a shard")
    return manifest


def require_another_run(run: str, folder: Path, known: Mapping[str, Path]) -> None:
    """Raises InputError where the run in this folder is one of those known, by ID: a copy of it."""
    if run in known:
        raise InputError(f"{known[run]} and {folder} are the same run: name one")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replaces the file in one step. Raises InputError."""
    _write(folder, manifest)


def add_session(folder: Path, session: Session, changes: Mapping[str, Any]) -> None:
    """Into the manifest that is there, with other values of some fields.

    What a newer version wrote in it stays.
    """
    fields = _fields(folder)
    sessions = msgspec.json.decode(fields["sessions"], type=list[msgspec.Raw])
    _write(folder, {**fields, **changes, "sessions": [*sessions, session]})


def copy_manifest(source: Path, target: Path, changes: Mapping[str, Any]) -> None:
    """From one run to another, with other values of some fields; unknown ones are copied too."""
    _write(target, {**_fields(source), **changes})


def _fields(folder: Path) -> dict[str, msgspec.Raw]:
    text = (folder / FILE_NAME).read_bytes()
    return msgspec.json.decode(text, type=dict[str, msgspec.Raw])


def _write(folder: Path, value: object) -> None:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    with replacing(folder / FILE_NAME) as temporary:
        temporary.write_bytes(text + b"\n")
