"""HTML and SVG built from Python: whatever is not markup made here is escaped.

A text from a model can hold anything. `Markup` is the one type that is written as it is, and only
`tag` makes it.
"""

import html
from collections.abc import Iterable
from typing import Final

# A control character would be dropped, or would reorder the text around it; its picture does not.
_VISIBLE: Final = {
    code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"
} | dict.fromkeys(
    [*range(0x7F, 0xA0), *range(0xD800, 0xE000), *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
    "\N{REPLACEMENT CHARACTER}",
)
_EMPTY: Final = frozenset({"meta", "br", "path", "line", "rect", "circle"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | int | Iterable["Child"]


def escape(text: str) -> Markup:
    """As it stands: also in an attribute in double quotes."""
    return Markup(html.escape(text.translate(_VISIBLE)))


def join(*children: Child) -> Markup:
    """The children after each other; texts are escaped, markup is not, a list is its items."""
    return Markup("".join(_written(child) for child in children))


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element. `class_` is the attribute class, `stroke_width` stroke-width.

    None and False leave an attribute out, True stands for one without a value.
    """
    written = "".join(
        f" {_attribute_name(key)}" + ("" if value is True else f'="{escape(_value(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _EMPTY and not children:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def _written(child: Child) -> str:
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int):
        return escape(str(child))
    return join(*child)


def _attribute_name(key: str) -> str:
    return key if key == "viewBox" else key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
