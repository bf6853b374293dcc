"""What installed packages bring: their entry points, by name, without an import."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from harness.errors import InputError


@cache
def brought(group: str, kind: str) -> dict[str, EntryPoint]:
    """Of this group; `kind` is what one is called. Raises InputError where two have one name."""
    found: dict[str, EntryPoint] = {}
    for one in sorted(entry_points(group=group)):
        # A package can be on the path twice, built and as its sources.
        if (other := found.setdefault(one.name, one)).value != one.value:
            raise InputError(
                f"{kind} '{one.name}' is in two packages, {package_of(other)} and "
                f"{package_of(one)}: uninstall one of them"
            )
    return found


def package_of(one: EntryPoint) -> str:
    """`my-tasks 1.0`."""
    return "an unknown package" if one.dist is None else f"{one.dist.name} {one.dist.version}"
