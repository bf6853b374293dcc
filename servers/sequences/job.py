"""A request as the engine takes it: checked, tokenized, and dated by the engine's clock."""

from dataclasses import dataclass

from harness_servers.generation import Retrieval, Sampling, Stopping


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One completion to be made; times are of time.monotonic_ns."""

    prompt_ids: tuple[int, ...]
    sampling: Sampling
    stopping: Stopping
    retrieval: Retrieval | None
    arrived_ns: int
    deadline_ns: int | None = None
