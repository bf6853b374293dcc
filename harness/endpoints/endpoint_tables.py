"""The tables of an endpoints.toml, each read into an Endpoint, or into many of one folder."""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from harnessapi.rpc.targets import TargetError

from harness.endpoints.addresses import check_addresses, read_addresses
from harness.endpoints.checkpoint_groups import CheckpointGroup
from harness.endpoints.dialled import KEYS as DIALLED_KEYS
from harness.endpoints.dialled import parse_dialled
from harness.endpoints.endpoint import Endpoint, check_request
from harness.endpoints.engines import KEYS as ENGINE_KEYS
from harness.endpoints.engines import SHARED_KEYS, parse_engine, refuse_engine_keys
from harness.endpoints.external import KEYS as EXTERNAL_KEYS
from harness.endpoints.external import is_web_address, parse_api, parse_external
from harness.endpoints.prices import KEYS as PRICE_KEYS
from harness.endpoints.prices import parse_prices
from harness.endpoints.request_options import KEYS as REQUEST_KEYS
from harness.endpoints.request_options import parse_request_options
from harness.endpoints.serving import KEYS as SERVING_KEYS
from harness.endpoints.serving import parse_serving
from harness.errors import InputError, unknown_name

_KEYS: Final = (
    "checkpoint",
    "checkpoints",
    "address",
    "resolve",
    "retrieval",
    *SERVING_KEYS,
    *EXTERNAL_KEYS,
    *ENGINE_KEYS,
    *DIALLED_KEYS,
    *PRICE_KEYS,
    *REQUEST_KEYS,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointTables:
    """What a file holds, in its order; `groups` are there too where no checkpoint is."""

    endpoints: tuple[Endpoint, ...]
    groups: tuple[CheckpointGroup, ...]


def read_tables(path: Path, folders: tuple[Path, ...]) -> EndpointTables:
    """The endpoints of a file; `folders`: where relative checkpoints are looked for.

    Raises InputError naming the file, the key and the value that is wrong.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: its values are nested too deeply") from None
    endpoints: list[Endpoint] = []
    groups: list[CheckpointGroup] = []
    for name, table in tables.items():
        if isinstance(table, dict) and "checkpoints" in table:
            group, members = _parse_group(path, name, table, folders)
            groups.append(group)
            endpoints += members
        else:
            endpoints.append(_parse(path, name, table, folders))
    return EndpointTables(endpoints=tuple(endpoints), groups=tuple(groups))


def _parse_group(
    path: Path, name: str, table: dict[str, Any], folders: tuple[Path, ...]
) -> tuple[CheckpointGroup, list[Endpoint]]:
    where = f"{path}: [{name}]"
    if both := [key for key in ("checkpoint", "address") if key in table]:
        raise InputError(f"{where} has checkpoints and {both[0]}: it is one or the other")
    within, pattern = _split_pattern(_value(where, table, "checkpoints", str))
    shared = {key: value for key, value in table.items() if key != "checkpoints"}
    # Read like any other table, so that what is wrong with it is said though nothing is there yet.
    example = _parse(path, name, {**shared, "checkpoint": within}, folders)
    group = CheckpointGroup(name=name, checkpoints=within, folders=folders, pattern=pattern)
    members = [
        replace(example, name=f"{name}-{one}", checkpoint=f"{within}/{one}", group=name)
        for one in group.found()
    ]
    return group, members


def _split_pattern(checkpoints: str) -> tuple[str, str]:
    """A folder and the names in it that are meant: of `models/llama-*` those that begin so."""
    folder, _, name = checkpoints.rpartition("/")
    return (folder or ".", name) if set(name) & set("*?[") else (checkpoints, "*")


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
    resolve = bool(_value(where, table, "resolve", bool))
    external, engine = None, None
    try:
        addresses = read_addresses(table)
        address = addresses[0] if addresses else None
        if (checkpoint is None) == (address is None):
            raise InputError("needs either a checkpoint or an address")
        table = {**table, "address": address} if addresses else table
        serving, api = parse_serving(table), parse_api(table)
        if address is not None and is_web_address(address):
            refuse_engine_keys(table, "is for an address that begins with grpc://")
            external = parse_external(table)
        elif address is not None and "protocol" in table:
            _refuse_external_keys(table, allowed=SHARED_KEYS)
            engine = parse_engine(table)
        else:
            _refuse_external_keys(table, allowed=("api",))
            refuse_engine_keys(table, "is for the address of a server of vLLM or SGLang")
        check_addresses(addresses, resolve=resolve)
        is_dialled = bool(addresses) and external is None
        dialled, token_env = parse_dialled(table, folders, is_dialled=is_dialled)
        prices, request = parse_prices(table), parse_request_options(table)
        check_request(request, external, engine)
    except InputError as error:
        raise InputError(f"{where} {error}") from None
    except TargetError as error:
        raise InputError(f"{where} address: {error}") from None
    return Endpoint(
        name=name,
        checkpoint=checkpoint,
        address=address,
        more_addresses=addresses[1:],
        resolve=resolve,
        retrieval=bool(_value(where, table, "retrieval", bool)),
        serving=serving,
        api=api,
        external=external,
        engine=engine,
        request=request,
        dialled=dialled,
        token_env=token_env,
        prices=prices,
        folders=folders,
    )


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
