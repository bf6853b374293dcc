"""Reads endpoints.toml: which names there are, and what stands behind each."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.endpoints.endpoint import Endpoint
from harness.endpoints.endpoint_tables import read_tables
from harness.endpoints.installed import FILE_NAME, installed_endpoints, read_installed
from harness.endpoints.prices import KEYS as PRICE_KEYS
from harness.errors import InputError, unknown_name
from harness.plugins import package_of

PACKAGED_FILE: Final = Path(__file__).parent.parent / FILE_NAME
# Where the checkpoints that ship are: beside the file in an installed package, else in a clone.
_PACKAGED_FOLDERS: Final = (PACKAGED_FILE.parent, PACKAGED_FILE.parent.parent)


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointFile:
    """The endpoints of one file, in its order, and those that installed packages bring."""

    path: Path
    endpoints: tuple[Endpoint, ...]

    def select(self, names: Iterable[str]) -> tuple[Endpoint, ...]:
        """The endpoints of these names; `all` are those of the file.

        Raises InputError for unknown ones, and for a name that the file and a package have.
        """
        by_name = {endpoint.name: endpoint for endpoint in self.endpoints}
        installed = installed_endpoints()
        chosen: dict[str, Endpoint] = {}
        for name in names:
            if name == "all":
                chosen.update(by_name)
            elif name in by_name and name in installed:
                raise InputError(
                    f"endpoint '{name}' is in {self.path}, and {package_of(installed[name])} "
                    "brings one of that name: rename one, or uninstall the package"
                )
            elif name in by_name:
                chosen[name] = by_name[name]
            elif name in installed:
                chosen[name] = read_installed(name, installed[name])
            else:
                raise unknown_name("endpoint", name, (*by_name, *installed))
        return tuple(chosen.values())


def require_checkpoints(endpoints: Iterable[Endpoint]) -> None:
    """Raises InputError naming every endpoint whose checkpoint, or tokenizer, is not there."""
    missing = []
    for endpoint in endpoints:
        try:
            if endpoint.checkpoint is not None:
                endpoint.checkpoint_folder()
            if endpoint.engine is not None:
                endpoint.tokenizer_folder()
        except InputError as error:
            missing.append(str(error))
    if missing:
        raise InputError("\n".join(missing))


def require_api_keys(endpoints: Iterable[Endpoint]) -> None:
    """Raises InputError for an endpoint whose key, or header, is not in the environment."""
    for endpoint in endpoints:
        try:
            endpoint.request.secret_headers()
            if endpoint.external is not None:
                endpoint.external.api_key()
        except InputError as error:
            raise InputError(f"endpoint '{endpoint.name}': {error}") from None


def require_prices(endpoints: Iterable[Endpoint]) -> None:
    """Raises InputError naming every endpoint whose tokens have no price."""
    missing = [endpoint.name for endpoint in endpoints if endpoint.prices is None]
    if missing:
        raise InputError(
            f"--max-cost needs prices in endpoints.toml: {', '.join(PRICE_KEYS)} of "
            f"{', '.join(missing)}, of a million tokens (0 where they cost nothing)"
        )


def load_endpoints(path: Path | None, working_directory: Path) -> EndpointFile:
    """The given file, else the working directory's, else the packaged one.

    Raises InputError naming the file, the key and the value that is wrong.
    """
    local = working_directory / FILE_NAME
    path = path or (local if local.is_file() else PACKAGED_FILE)
    folders: tuple[Path, ...] = (path.absolute().parent,)
    if path == PACKAGED_FILE:
        folders = (working_directory, *_PACKAGED_FOLDERS)
    endpoints = read_tables(path, folders)
    if not endpoints:
        raise InputError(f"{path}: no endpoints in it")
    return EndpointFile(path=path, endpoints=endpoints)
