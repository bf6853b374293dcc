"""A server's list of models: a convenience, which may be slow, busy, deep, endless or none."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
from harnessapi.values import Mode, ModelDescription

from harness.clients.faults import AttemptError
from harness.clients.openai.chunk import read_count
from harness.clients.openai.http_client import HTTP_FAULTS, PROBE_TIMEOUT, UNCOMPRESSED
from harness.clients.openai.reply_bytes import read_body, read_pieces
from harness.endpoints.external import External

# The longest that is read, and waited for.
_MAX_BYTES: Final = 2**23
_MAX_S: Final = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelList:
    """What a server answers when it is asked for one."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def models(self) -> list[Mapping[str, Any]]:
        """Empty where it has none."""
        try:
            data = json.loads(self.body)["data"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return []
        listed = data if isinstance(data, list) else []
        return [model for model in listed if isinstance(model, dict)]


async def ask_for_models(http: httpx.AsyncClient) -> ModelList | None:
    """None where it cannot be read: completions may work all the same.

    Raises httpx.ConnectError or httpx.ConnectTimeout where nobody is there.
    """
    try:
        async with (
            asyncio.timeout(_MAX_S),
            http.stream("GET", "/models", timeout=PROBE_TIMEOUT, headers=UNCOMPRESSED) as answer,
        ):
            encoding = answer.headers.get("content-encoding", "").strip().lower()
            body = await read_body(read_pieces(answer.aiter_raw(), encoding), _MAX_BYTES)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise
    except (TimeoutError, AttemptError, *HTTP_FAULTS):
        return None
    return ModelList(
        status=answer.status_code, headers=answer.headers, body=body.decode(errors="replace")
    )


def describe(
    external: External, listed: list[Mapping[str, Any]], *, has_channel: bool
) -> ModelDescription:
    """What endpoints.toml says of a model, and the context's length where the list has it."""
    own = next((model for model in listed if model.get("id") == external.model), {})
    # None, and what some write for it: 0, -1.
    limit = read_count(own.get("max_model_len")) or None
    return ModelDescription(
        name=external.model,
        family=external.family,
        engine=f"OpenAI {external.api}",
        context_limit=limit,
        modes=tuple(Mode) if has_channel else (),
        styles=(external.style.value,),
    )
