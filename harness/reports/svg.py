"""SVG made in Python: what is no markup is escaped, and no control character stays unseen."""

from collections.abc import Iterable
from typing import Final

from markupsafe import Markup

# A control character would be dropped, or would reorder the text around it; its picture does not.
_VISIBLE: Final = {
    code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"
} | dict.fromkeys(
    [*range(0x7F, 0xA0), *range(0xD800, 0xE000), *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
    "\N{REPLACEMENT CHARACTER}",
)

Child = str | Iterable["Child"]


def visible(text: str) -> str:
    """With a sign in place of every control character; markup stays markup."""
    return text.translate(_VISIBLE)


def join(*children: Child) -> Markup:
    """The children after each other; texts are escaped, markup is not, a list is its items."""
    return Markup().join(
        visible(child) if isinstance(child, str) else join(*child) for child in children
    )


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element. `class_` is the attribute class, `x_y` is x-y; None leaves one out."""
    written = join(
        Markup(' {}="{}"').format(_attribute_name(key), visible(_value(value)))
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, join(*children))


def path_of(points: Iterable[tuple[float, float]]) -> str:
    """The attribute d of straight lines from point to point."""
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _attribute_name(key: str) -> str:
    return key if key == "viewBox" else key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
