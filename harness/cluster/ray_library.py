"""Ray, where it is installed: imported here alone, and only where a command asks for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from harnessapi.programs import MissingExtraError, require_extra

from harness.errors import InputError, UnreachableError

_LOCAL: Final = "local"
# Else Ray tells its makers of every use.
_TELL_NOBODY: Final = "RAY_USAGE_STATS_ENABLED"


@dataclass(frozen=True, kw_only=True, slots=True)
class RayExecutor:
    """`ray` or `ray=ADDRESS`. Address None: that of the environment, else a Ray of this machine."""

    address: str | None

    @classmethod
    def parse(cls, text: str) -> "RayExecutor":
        """Raises ValueError for another executor."""
        name, sign, address = text.partition("=")
        if name != "ray" or (sign and not address):
            raise ValueError(f"'{text}' is no executor: ray, or ray=ADDRESS of a cluster's head")
        return cls(address=address or None)

    @property
    def place(self) -> str:
        """As Ray takes it: `local` is a Ray of its own."""
        return self.address or os.environ.get("RAY_ADDRESS") or _LOCAL

    @property
    def is_local(self) -> bool:
        """All of it is on this machine, and ends with us."""
        return self.place == _LOCAL

    def require(self) -> None:
        """Raises InputError where Ray is not installed."""
        try:
            require_extra("ray", "--executor ray")
        except MissingExtraError as error:
            raise InputError(str(error)) from None


@contextmanager
def open_ray(executor: RayExecutor) -> Iterator[Any]:
    """The module, connected; what was started on the cluster ends with the block.

    Raises InputError where it is not installed, UnreachableError where no cluster answers.
    """
    executor.require()
    os.environ.setdefault(_TELL_NOBODY, "0")
    import ray  # noqa: PLC0415  (an extra has it, and it takes seconds)

    # Of a Ray of this machine nobody looks at the dashboard.
    more = {"include_dashboard": False} if executor.is_local else {}
    try:
        ray.init(address=executor.place, log_to_driver=False, logging_level="error", **more)
    # Ray raises bare ones, too: of the address, of the version, of a start that took too long.
    except Exception as error:
        raise UnreachableError(f"--executor ray={executor.place}: {error}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def num_cpus(ray: Any) -> int:
    """Of the whole cluster, at least one."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))
