"""The tables of an endpoints.toml, each read into an Endpoint."""

import tomllib
from pathlib import Path
from typing import Any, Final

from harnessapi.rpc.targets import TargetError

from harness.endpoints.addresses import check_addresses, read_addresses
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
    "address",
    "resolve",
    "retrieval",
    *SERVING_KEYS,
    *EXTERNAL_KEYS,
    *ENGINE_KEYS,
    *PRICE_KEYS,
    *REQUEST_KEYS,
)


def read_tables(path: Path, folders: tuple[Path, ...]) -> tuple[Endpoint, ...]:
    """The endpoints of a file, in its order; `folders`: where relative checkpoints are looked for.

    Raises InputError naming the file, the key and the value that is wrong.
    """
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
