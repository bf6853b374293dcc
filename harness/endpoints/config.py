"""Reads endpoints.toml: which names there are, and what stands behind each."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from harnessapi.rpc.targets import TargetError, parse_target
from harnessapi.values import ModelDescription

from harness.endpoints.external import KEYS as EXTERNAL_KEYS
from harness.endpoints.external import (
    Api,
    External,
    chosen_api,
    is_web_address,
    parse_api,
    parse_external,
)
from harness.endpoints.request_options import (
    DEFAULT_REQUEST,
    OWN_KEYS,
    RequestOptions,
    parse_request_options,
)
from harness.endpoints.request_options import KEYS as REQUEST_KEYS
from harness.endpoints.serving import KEYS as SERVING_KEYS
from harness.endpoints.serving import Serving, parse_serving
from harness.errors import InputError, unknown_name
from harness.way import Style

PACKAGED_FILE: Final = Path(__file__).parent.parent / "endpoints.toml"
FILE_NAME: Final = "endpoints.toml"
# How the server of a checkpoint is started; see harness/endpoints/serving.py.
_KEYS: Final = (
    "checkpoint",
    "address",
    "retrieval",
    *SERVING_KEYS,
    *EXTERNAL_KEYS,
    *REQUEST_KEYS,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A name for one serving process and how to use it: a checkpoint to serve, or an address."""

    name: str
    checkpoint: str | None = None
    address: str | None = None
    # Whether the model gets its search channel.
    retrieval: bool = False
    # How a checkpoint's server is started.
    serving: Serving = field(default_factory=Serving)
    # How a language model gets its prompts over gRPC; None: as it can, a message where it has a
    # chat template.
    api: Api | None = None
    # How an address is asked that is a web address.
    external: External | None = None
    # What it is told besides the text.
    request: RequestOptions = DEFAULT_REQUEST
    # Where a relative checkpoint is looked for, in this order.
    folders: tuple[Path, ...] = ()

    @property
    def start_timeout_s(self) -> float:
        """From the start of a checkpoint's server until it is healthy."""
        return self.serving.start_timeout_s

    @property
    def place(self) -> str:
        """The checkpoint or the address, as the file has it; a web address with its model."""
        if self.external is not None:
            return f"{self.address} {self.external.model}"
        return self.checkpoint or self.address or ""

    def with_request(self, options: RequestOptions) -> "Endpoint":
        """The endpoint with these options over its own. Raises InputError where it has no such."""
        try:
            _check_request(options, self.external)
        except InputError as error:
            raise InputError(f"endpoint '{self.name}': {error}") from None
        return replace(self, request=options.over(self.request))

    def api_for(self, model: ModelDescription) -> Api | None:
        """How it is given written language; None for a model that does not read any."""
        if Style.NATURAL not in model.styles:
            return None
        if self.external is not None:
            return self.external.api
        return chosen_api(self.api, has_chat_template=model.has_chat_template)

    def checkpoint_folder(self) -> Path:
        """The folder of a local endpoint's checkpoint. Raises InputError saying where it looked."""
        candidates = [folder / (self.checkpoint or "") for folder in self.folders]
        for candidate in candidates:
            if candidate.is_dir():
                return candidate.resolve()
        looked = ", nor at ".join(dict.fromkeys(str(path) for path in candidates))
        raise InputError(f"endpoint '{self.name}': no checkpoint at {looked}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointFile:
    """The endpoints of one file, in its order."""

    path: Path
    endpoints: tuple[Endpoint, ...]

    def select(self, names: Iterable[str]) -> tuple[Endpoint, ...]:
        """The endpoints of these names, or of all for `all`. Raises InputError for unknown ones."""
        by_name = {endpoint.name: endpoint for endpoint in self.endpoints}
        chosen: dict[str, Endpoint] = {}
        for name in names:
            if name == "all":
                chosen.update(by_name)
            elif name in by_name:
                chosen[name] = by_name[name]
            else:
                raise unknown_name("endpoint", name, by_name)
        return tuple(chosen.values())


def require_checkpoints(endpoints: Iterable[Endpoint]) -> None:
    """Raises InputError naming every local endpoint whose checkpoint is not there."""
    missing = []
    for endpoint in endpoints:
        try:
            if endpoint.checkpoint is not None:
                endpoint.checkpoint_folder()
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


def load_endpoints(path: Path | None, working_directory: Path) -> EndpointFile:
    """The given file, else the working directory's, else the packaged one.

    Raises InputError naming the file, the key and the value that is wrong.
    """
    local = working_directory / FILE_NAME
    path = path or (local if local.is_file() else PACKAGED_FILE)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: its values are nested too deeply") from None
    folders: tuple[Path, ...] = (path.absolute().parent,)
    if path == PACKAGED_FILE:
        folders = (working_directory, PACKAGED_FILE.parent.parent)
    endpoints = tuple(_parse(path, name, table, folders) for name, table in tables.items())
    if not endpoints:
        raise InputError(f"{path}: no endpoints in it")
    return EndpointFile(path=path, endpoints=endpoints)


def _parse(path: Path, name: str, table: Any, folders: tuple[Path, ...]) -> Endpoint:
    where = f"{path}: [{name}]"
    if not isinstance(table, dict):
        raise InputError(f"{path}: {name} = {table!r}: an endpoint is a table, [{name}]")
    if name == "all" or "," in name:
        raise InputError(f"{where}: 'all' and names with a comma mean several endpoints")
    if not name.strip() or not name.isprintable():
        raise InputError(f"{path}: [{name!r}]: an endpoint's name is a line of text")
    for key in table:
        if key not in _KEYS:
            raise InputError(f"{where} {unknown_name('key', key, _KEYS)}")
    checkpoint = _value(where, table, "checkpoint", str)
    address = _value(where, table, "address", str)
    if (checkpoint is None) == (address is None):
        raise InputError(f"{where} needs either a checkpoint or an address")
    external, api = None, None
    try:
        serving = parse_serving(table)
        if address is not None and is_web_address(address):
            external = parse_external(table)
        else:
            _refuse_external_keys(table)
            api = parse_api(table)
            if address is not None:
                parse_target(address)
        request = parse_request_options(table)
        _check_request(request, external)
    except InputError as error:
        raise InputError(f"{where} {error}") from None
    except TargetError as error:
        raise InputError(f"{where} address: {error}") from None
    return Endpoint(
        name=name,
        checkpoint=checkpoint,
        address=address,
        retrieval=bool(_value(where, table, "retrieval", bool)),
        serving=serving,
        api=api,
        external=external,
        request=request,
        folders=folders,
    )


def _check_request(options: RequestOptions, external: External | None) -> None:
    """Raises InputError for what the kind of endpoint cannot be told."""
    if external is None:
        for name in options.given():
            if name not in OWN_KEYS:
                raise InputError(f"{name} needs an address that begins with http:// or https://")
    elif options.system_prompt is not None and external.api is Api.COMPLETIONS:
        raise InputError('system_prompt needs api = "chat": completions have no messages')


def _refuse_external_keys(table: dict[str, Any]) -> None:
    for key in EXTERNAL_KEYS:
        if key in table and key != "api":
            raise InputError(f"{key} needs an address that begins with http:// or https://")


def _value(where: str, table: dict[str, Any], key: str, kind: type[Any]) -> Any:
    value = table.get(key)
    if value is not None and (not isinstance(value, kind) or value == ""):
        wanted = {str: "a string", bool: "true or false"}[kind]
        raise InputError(f"{where} {key} = {value!r}: it has to be {wanted}")
    return value
