"""Renders a chat template as transformers does; `python -m` this: a line of JSON in, a line out.

The first line is the template with its variables, each further one a conversation. The process ends
with its input. It bounds its own memory; whoever started it bounds the time.
"""

import json
import resource
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_MAX_MEMORY_BYTES: Final = 2**30
_MAX_CHARACTERS: Final = 2**25
_MAX_ERROR_CHARACTERS: Final = 300


class _Generation(Extension):
    """`{% generation %}`: what the model wrote, marked for training; it reads as it stands."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """The body, which keeps its variables to itself."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def compile_template(template: str, variables: dict[str, str]) -> Callable[[Any], str]:
    """What renders messages, with everything that a template may call."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    compiled = environment.from_string(template)

    def render(messages: Any) -> str:
        return compiled.render(
            messages=messages, tools=None, documents=None, add_generation_prompt=True, **variables
        )

    return render


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # The library's own would escape what means something in HTML.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _answer(action: Callable[[], str]) -> dict[str, str]:
    try:
        text = action()
    except MemoryError:
        return {"error": f"it takes over {_MAX_MEMORY_BYTES >> 20} MiB of memory"}
    except Exception as error:  # a template can raise whatever Python can
        return {"error": f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARACTERS]}
    if len(text) > _MAX_CHARACTERS:
        return {"error": f"it writes {len(text)} characters; at most {_MAX_CHARACTERS} are read"}
    return {"text": text}


def main() -> None:
    """Answers until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    order = json.loads(sys.stdin.readline())
    render: Callable[[Any], str] | None = None
    print(json.dumps({}), flush=True)

    def word(messages: Any) -> str:
        nonlocal render
        # At the first conversation: what is wrong with a template is the answer to that.
        render = render or compile_template(order["template"], order["variables"])
        return render(messages)

    for line in sys.stdin:
        messages = json.loads(line)["messages"]
        print(json.dumps(_answer(lambda messages=messages: word(messages))), flush=True)  # type: ignore[misc]


if __name__ == "__main__":
    main()
