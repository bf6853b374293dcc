"""All faults of the campaign by name, in the order they are made."""

from collections.abc import Mapping
from typing import Final

from benchmarks.chaos.campaign import Fault
from benchmarks.chaos.kills import (
    client_killed,
    model_server_killed,
    ray_worker_killed,
    search_service_killed,
)
from benchmarks.chaos.malformed import (
    hostile_patterns,
    malformed_to_model,
    malformed_to_search,
)
from benchmarks.chaos.mixed_load import mixed_load
from benchmarks.chaos.stores import clock_set_back, disk_full, lines_torn
from benchmarks.chaos.streams import cancels, many_streams

FAULTS: Final[Mapping[str, Fault]] = {
    "model-server-killed": model_server_killed,
    "search-service-killed": search_service_killed,
    "client-killed": client_killed,
    "ray-worker-killed": ray_worker_killed,
    "disk-full": disk_full,
    "lines-torn": lines_torn,
    "clock-set-back": clock_set_back,
    "malformed-to-model": malformed_to_model,
    "malformed-to-search": malformed_to_search,
    "hostile-patterns": hostile_patterns,
    "many-streams": many_streams,
    "cancels": cancels,
    "mixed-load": mixed_load,
}

# Takes ten minutes whatever the machine does, and leaves half of it to the others.
BESIDE: Final = frozenset({"mixed-load"})
