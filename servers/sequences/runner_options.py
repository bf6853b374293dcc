"""The knobs of the runner, with the defaults that were measured for small models on a CPU."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerOptions:
    """Limits, and how often readers hear of what is written."""

    # Sequences that the engine has room for.
    num_slots: int = 64
    # Requests that may wait for a slot.
    max_queued: int = 1024
    # Tokens are handed out this often, and the more seldom the more sequences are written.
    flush_interval_ns: int = 20_000_000
    flush_interval_per_sequence_ns: int = 2_000_000
