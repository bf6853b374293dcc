"""OpenAI-compatible servers that want to be asked in their own way, by name: a fake for each.

    python -m harness.fakes.picky_servers no-max-tokens --port 8000
    python -m harness.fakes.picky_servers --list

Their model, any name, answers assoc_recall.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from harness.fakes.fake_commands import list_option, name_argument, port_option, serve_openai
from harness.fakes.fake_openai import FakeOpenAi, Reply, Script, solve

NEVER_S: Final = 1e6
_NO_LIST: Final = Reply(status=404, body='{"detail": "Not Found"}')


def _refusal(message: str, **fields: str) -> Reply:
    error = {"message": message, "type": "invalid_request_error", **fields}
    return Reply(status=400, body=json.dumps({"error": error}))


def _refusing(name: str, reply: Reply) -> Script:
    """Refuses every request that has the parameter."""
    return lambda request, number: reply if name in request else solve(request, number)


def _ignoring(name: str) -> Script:
    """Answers as if the parameter were not there."""
    return lambda request, number: solve(
        {key: value for key, value in request.items() if key != name}, number
    )


def _azure(request: dict[str, Any], number: int) -> Reply:
    if not request["path"].startswith("/v1/openai/deployments/") or not request["query"]:
        return Reply(status=404, body='{"error": {"code": "404", "message": "Resource not found"}}')
    if request["key"] != "azure-key-1":
        return Reply(status=401, body='{"error": {"code": "401", "message": "Access denied"}}')
    return solve(request, number)


def _other_model(request: dict[str, Any], number: int) -> Reply:
    if request["model"] == "m":
        return solve(request, number)
    message = f"The model `{request['model']}` does not exist or you do not have access to it."
    error = {"error": {"message": message, "code": "model_not_found"}}
    return Reply(status=404, body=json.dumps(error))


@dataclass(frozen=True, kw_only=True, slots=True)
class Picky:
    """What it wants, in a line, and how it answers; `models` None: a list with the model m."""

    summary: str
    script: Callable[[dict[str, Any], int], Reply] = solve
    models: Reply | None = None


SERVERS: Final[Mapping[str, Picky]] = {
    "no-max-tokens": Picky(
        summary="the limit is called max_completion_tokens",
        script=_refusing(
            "max_tokens",
            _refusal(
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                param="max_tokens",
                code="unsupported_parameter",
            ),
        ),
    ),
    "no-temperature": Picky(
        summary="draws as it likes",
        script=_refusing(
            "temperature",
            _refusal(
                "Unsupported value: 'temperature' does not support 0 with this model. Only the "
                "default (1) value is supported.",
                param="temperature",
                code="unsupported_value",
            ),
        ),
    ),
    "no-stream-options": Picky(
        summary="knows no stream_options, and says so in its own words",
        script=_refusing(
            "stream_options",
            Reply(
                status=422,
                body=json.dumps(
                    {
                        "detail": [
                            {
                                "type": "extra_forbidden",
                                "loc": ["body", "stream_options"],
                                "msg": "Extra inputs are not permitted",
                            }
                        ]
                    }
                ),
            ),
        ),
    ),
    "no-stop": Picky(
        summary="knows no stop strings",
        script=_refusing("stop", _refusal("Unknown parameter: stop")),
    ),
    "ignores-stop": Picky(summary="takes stop strings and goes on", script=_ignoring("stop")),
    "no-list": Picky(summary="has no list of models", models=_NO_LIST),
    "slow-list": Picky(summary="never gives its list", models=Reply(delay_s=NEVER_S)),
    "busy-list": Picky(
        summary="is too busy for a list, not for completions",
        models=Reply(status=503, body='{"error": "busy"}'),
    ),
    "other-model": Picky(summary="has the model m alone", script=_other_model),
    "azure": Picky(
        summary="/openai/deployments/NAME, ?api-version=..., and the key azure-key-1 in api-key",
        script=_azure,
        models=_NO_LIST,
    ),
}


def picky_server(name: str, *, port: int = 0) -> FakeOpenAi:
    """The server of this name, to be entered."""
    picky = SERVERS[name]
    return FakeOpenAi(picky.script, picky.models, port=port)


_ROWS: Final = {name: (picky.summary,) for name, picky in SERVERS.items()}


@click.command("picky")
@name_argument(_ROWS)
@port_option
@list_option(_ROWS)
def picky_command(name: str, port: int) -> None:
    """Serves until it is interrupted."""
    asyncio.run(serve_openai(picky_server(name, port=port)))


if __name__ == "__main__":
    picky_command()
