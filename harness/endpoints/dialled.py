"""The part of endpoints.toml about gRPC addresses: TLS, and the token that is shown there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harnessapi.rpc.dialing import IN_THE_CLEAR, Dialing
from harnessapi.rpc.secret_files import SecretSource
from harnessapi.rpc.tokens import environment_source

from harness.endpoints.external import text_of
from harness.endpoints.request_options import VARIABLE
from harness.errors import InputError

_FLAGS: Final = ("tls", "insecure")
_FILES: Final = ("ca", "client_cert", "client_key", "token_file")
KEYS: Final = (*_FLAGS, *_FILES, "server_name", "token_env")


def parse_dialled(
    table: Mapping[str, Any], folders: tuple[Path, ...], *, is_dialled: bool
) -> tuple[Dialing, str]:
    """How an address is dialled, and the variable that holds its token, or nothing.

    `is_dialled`: it is one of gRPC. Relative files are looked for in the folders. Raises InputError
    naming what is wrong.
    """
    given = [key for key in KEYS if key in table]
    if not given:
        return IN_THE_CLEAR, ""
    if not is_dialled:
        raise InputError(f"{given[0]} is for an address that begins with grpc://")
    for key in _FLAGS:
        if not isinstance(table.get(key, False), bool):
            raise InputError(f"{key} = {table[key]!r}: it has to be true or false")
    files = {key: _file(table, key, folders) for key in _FILES}
    server_name, variable = text_of(table, "server_name"), text_of(table, "token_env") or ""
    if variable and not VARIABLE.fullmatch(variable):
        raise InputError(
            "token_env has to name an environment variable, in capitals; "
            "the token itself does not belong in the file"
        )
    if variable and files["token_file"]:
        raise InputError("token_env and token_file are two places for one token: give one of them")
    needs_tls = [key for key in ("ca", "client_cert", "client_key") if files[key]]
    needs_tls += ["server_name"] if server_name else []
    if needs_tls and table.get("tls") is False:
        raise InputError(f"{needs_tls[0]} needs TLS, and tls = false is said")
    return Dialing(
        tls=bool(table.get("tls")) or bool(needs_tls),
        ca=files["ca"],
        certificate=files["client_cert"],
        key=files["client_key"],
        server_name=server_name,
        token=files["token_file"],
        insecure=bool(table.get("insecure")),
    ), variable


def token_source(variable: str) -> SecretSource:
    """What the variable holds. Raises InputError where it is not set."""
    source = environment_source(variable)
    if source is None:
        raise InputError(f"the environment variable {variable} is not set (token_env)")
    return source


def _file(table: Mapping[str, Any], key: str, folders: tuple[Path, ...]) -> SecretSource | None:
    text = text_of(table, key)
    if text is None:
        return None
    candidates = [folder / text for folder in folders]
    there = next((path for path in candidates if path.exists()), candidates[0])
    return SecretSource(origin=key, path=there)
