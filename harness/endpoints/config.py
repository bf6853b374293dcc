"""Reads endpoints.toml: which names there are, and what stands behind each."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from harnessapi.rpc.targets import TargetError, parse_target
from harnessapi.values import ModelDescription

from harness.endpoints.engines import KEYS as ENGINE_KEYS
from harness.endpoints.engines import (
    SHARED_KEYS,
    EngineServer,
    check_engine_request,
    parse_engine,
    refuse_engine_keys,
)
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
from harness.plugins import brought, package_of
from harness.way import Style

PACKAGED_FILE: Final = Path(__file__).parent.parent / "endpoints.toml"
FILE_NAME: Final = "endpoints.toml"
# An endpoint's name, and the package whose endpoints.toml has the table of that name.
ENTRY_POINTS: Final = "recall_harness.endpoints"
# Where the checkpoints that ship are: beside the file in an installed package, else in a clone.
_PACKAGED_FOLDERS: Final = (PACKAGED_FILE.parent, PACKAGED_FILE.parent.parent)
# How the server of a checkpoint is started; see harness/endpoints/serving.py.
_KEYS: Final = (
    "checkpoint",
    "address",
    "retrieval",
    *SERVING_KEYS,
    *EXTERNAL_KEYS,
    *ENGINE_KEYS,
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
    # How a language model gets its prompts, where the file says so; None: in a conversation, but a
    # model of ours without a chat template as a text.
    api: Api | None = None
    # How an address is asked that is a web address.
    external: External | None = None
    # How an address is asked that has a protocol of its own.
    engine: EngineServer | None = None
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
        if self.engine is not None:
            return f"{self.address} {self.engine.protocol}"
        return self.checkpoint or self.address or ""

    @property
    def is_ours(self) -> bool:
        """Whether a server of this harness stands behind it."""
        return self.external is None and self.engine is None

    @property
    def style(self) -> Style | None:
        """What the model of another's server reads; None: ours say so themselves."""
        other = self.external or self.engine
        return None if other is None else other.style

    def with_request(self, options: RequestOptions) -> "Endpoint":
        """The endpoint with these options over its own. Raises InputError where it has no such."""
        try:
            _check_request(options, self.external, self.engine)
        except InputError as error:
            raise InputError(f"endpoint '{self.name}': {error}") from None
        return replace(self, request=options.over(self.request))

    def api_for(self, model: ModelDescription) -> Api | None:
        """How it is given written language; None for a model that does not read any."""
        if Style.NATURAL not in model.styles:
            return None
        if self.external is not None:
            return self.external.api
        api = self.api if self.engine is None else self.engine.api
        return chosen_api(api, has_chat_template=model.has_chat_template)

    def checkpoint_folder(self) -> Path:
        """The folder of a local endpoint's checkpoint. Raises InputError saying where it looked."""
        return self._folder(self.checkpoint or "", "checkpoint")

    def tokenizer_folder(self) -> Path:
        """The folder of an engine's tokenizer. Raises InputError saying where it looked."""
        return self._folder("" if self.engine is None else self.engine.tokenizer, "tokenizer")

    def _folder(self, path: str, what: str) -> Path:
        candidates = [folder / path for folder in self.folders]
        for candidate in candidates:
            if candidate.is_dir():
                return candidate.resolve()
        looked = ", nor at ".join(dict.fromkeys(str(path) for path in candidates))
        raise InputError(f"endpoint '{self.name}': no {what} at {looked}")


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


def load_endpoints(path: Path | None, working_directory: Path) -> EndpointFile:
    """The given file, else the working directory's, else the packaged one.

    Raises InputError naming the file, the key and the value that is wrong.
    """
    local = working_directory / FILE_NAME
    path = path or (local if local.is_file() else PACKAGED_FILE)
    folders: tuple[Path, ...] = (path.absolute().parent,)
    if path == PACKAGED_FILE:
        folders = (working_directory, *_PACKAGED_FOLDERS)
    endpoints = _read(path, folders)
    if not endpoints:
        raise InputError(f"{path}: no endpoints in it")
    return EndpointFile(path=path, endpoints=endpoints)


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
        own = {endpoint.name: endpoint for endpoint in _read(folder / FILE_NAME, (folder,))}
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if name not in own:
        raise InputError(f"{where}: {folder / FILE_NAME} has no table [{name}]")
    return own[name]


def _read(path: Path, folders: tuple[Path, ...]) -> tuple[Endpoint, ...]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: its values are nested too deeply") from None
    return tuple(_parse(path, name, table, folders) for name, table in tables.items())


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
    external, engine = None, None
    try:
        serving, api = parse_serving(table), parse_api(table)
        if address is not None and is_web_address(address):
            refuse_engine_keys(table, "is for an address that begins with grpc://")
            external = parse_external(table)
        elif address is not None and "protocol" in table:
            _refuse_external_keys(table, allowed=SHARED_KEYS)
            engine = parse_engine(table)
            parse_target(address)
        else:
            _refuse_external_keys(table, allowed=("api",))
            refuse_engine_keys(table, "is for the address of a server of vLLM or SGLang")
            if address is not None:
                parse_target(address)
        request = parse_request_options(table)
        _check_request(request, external, engine)
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
        engine=engine,
        request=request,
        folders=folders,
    )


def _check_request(
    options: RequestOptions, external: External | None, engine: EngineServer | None
) -> None:
    """Raises InputError for what the kind of endpoint cannot be told."""
    if engine is not None:
        check_engine_request(options, engine)
    elif external is None:
        for name in options.given():
            if name not in OWN_KEYS:
                raise InputError(f"{name} needs an address that begins with http:// or https://")
    elif options.system_prompt is not None and not external.api.is_chat:
        raise InputError('system_prompt needs api = "chat": completions have no messages')


def _refuse_external_keys(table: dict[str, Any], *, allowed: tuple[str, ...]) -> None:
    for key in EXTERNAL_KEYS:
        if key in table and key not in allowed:
            raise InputError(f"{key} needs an address that begins with http:// or https://")


def _value(where: str, table: dict[str, Any], key: str, kind: type[Any]) -> Any:
    value = table.get(key)
    if value is not None and (not isinstance(value, kind) or value == ""):
        wanted = {str: "a string", bool: "true or false"}[kind]
        raise InputError(f"{where} {key} = {value!r}: it has to be {wanted}")
    return value
