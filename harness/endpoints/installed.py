"""Endpoints that installed packages bring, each in an endpoints.toml of its package."""

from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from harness.endpoints.endpoint import Endpoint
from harness.endpoints.endpoint_tables import read_tables
from harness.errors import InputError
from harness.plugins import brought, package_of

# An endpoint's name, and the package whose endpoints.toml has the table of that name.
ENTRY_POINTS: Final = "recall_harness.endpoints"
FILE_NAME: Final = "endpoints.toml"


def installed_endpoints() -> dict[str, EntryPoint]:
    """By name, what packages bring. Raises InputError where two bring the same."""
    return brought(ENTRY_POINTS, "endpoint")


def read_installed(name: str, one: EntryPoint) -> Endpoint:
    """The table of this name in the endpoints.toml of its package. Raises InputError."""
    where = f"endpoint '{name}' of {package_of(one)}"
    try:
        found = find_spec(one.value)
    except (ImportError, ValueError) as error:
        raise InputError(f"{where}: no package {one.value}: {error}") from None
    if found is None or not found.submodule_search_locations:
        raise InputError(f"{where}: {one.value} is no package with an {FILE_NAME} in it")
    folder = Path(found.submodule_search_locations[0])
    try:
        tables = read_tables(folder / FILE_NAME, (folder,))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    own = {endpoint.name: endpoint for endpoint in tables.endpoints}
    if name not in own:
        raise InputError(f"{where}: {folder / FILE_NAME} has no table [{name}]")
    return own[name]
