"""Where the results of a session go: the store of a run, or whoever keeps it elsewhere."""

from collections.abc import Mapping
from typing import Any, Protocol

from harness.runs.key_set import KeySet
from harness.runs.manifest import Manifest
from harness.runs.records import ErrorRecord, SampleRecord


class Sink(Protocol):
    """As RunStore is."""

    # Of finished samples.
    done: KeySet

    @property
    def run(self) -> str:
        """The run's ID."""
        ...

    def begin(self, manifest: Manifest, changes: Mapping[str, Any] | None) -> None:
        """Once, before the first sample: what is asked now, the session last of its sessions.

        `changes`: of fields of the manifest that is there; None: there is none.
        """
        ...

    def num_done(self, cell: str) -> int:
        """How many samples of this cell are finished."""
        ...

    def add(self, record: SampleRecord) -> None:
        """Takes a finished sample."""
        ...

    def add_error(self, record: ErrorRecord) -> None:
        """Takes a sample that has to be asked again."""
        ...
