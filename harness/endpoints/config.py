"""Reads endpoints.toml: which names there are, and what stands behind each."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.endpoints.checkpoint_groups import CheckpointGroup
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
    groups: tuple[CheckpointGroup, ...] = ()

    def select(self, names: Iterable[str]) -> tuple[Endpoint, ...]:
        """The endpoints of these names; of a folder of checkpoints, all by the name of its table.

        `all` are those of the file that have a table of their own.

        Raises InputError for unknown ones, and for a name that the file and a package have.
        """
        chosen: dict[str, Endpoint] = {}
        for name in names:
            chosen.update({endpoint.name: endpoint for endpoint in self._named(name)})
        return tuple(chosen.values())

    def _named(self, name: str) -> list[Endpoint]:
        by_name = {endpoint.name: endpoint for endpoint in self.endpoints}
        installed = installed_endpoints()
        if name == "all":
            return [one for one in self.endpoints if one.group is None]
        if name in by_name and name in installed:
            raise InputError(
                f"endpoint '{name}' is in {self.path}, and {package_of(installed[name])} "
                "brings one of that name: rename one, or uninstall the package"
            )
        if name in by_name:
            return [by_name[name]]
        if members := [one for one in self.endpoints if one.group == name]:
            return members
        if name in installed:
            return [read_installed(name, installed[name])]
        # Of [lab] and [lab-large] the latter is the one that lab-large-gru is of.
        for group in sorted(self.groups, key=lambda group: -len(group.name)):
            if f"{name}-".startswith(f"{group.name}-"):
                raise group.lacks(name)
        raise unknown_name("endpoint", name, (*by_name, *installed))


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
    """Raises InputError for an endpoint whose key, header or token is not in the environment.

    Or whose certificates and token file cannot be used: before anything is started.
    """
    for endpoint in endpoints:
        try:
            endpoint.request.secret_headers()
            if endpoint.external is not None:
                endpoint.external.api_key()
            elif endpoint.address is not None:
                endpoint.dialing()
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
    tables = read_tables(path, folders)
    if not tables.endpoints:
        for group in tables.groups:
            raise group.lacks(group.name)
        raise InputError(f"{path}: no endpoints in it")
    return EndpointFile(path=path, endpoints=tables.endpoints, groups=tables.groups)
