"""What a reply says besides the reasoning that stands in it between tags."""

import re
from typing import Final

_NAMES: Final = "think|thinking|thought|thoughts|reasoning|seed:think"
# As a chat template's own tokens have them, where a server shows these.
_TAG: Final = re.compile(
    rf"(?P<opens><(?:{_NAMES})>|\[think\]|\u25c1think\u25b7|<\|start_thinking\|>"
    r"|<\|channel\|>(?:analysis|commentary)<\|message\|>)"
    rf"|</(?:{_NAMES})>|\[/think\]|\u25c1/think\u25b7|<\|end_thinking\|>"
    r"|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)


def without_reasoning(reply: str) -> str:
    """The text outside of the tags, each stretch of it on lines of its own.

    A tag that is never closed hides all that follows. One that was never opened hides all before
    it: a chat template may have opened it in the prompt.
    """
    said: list[str] = []
    start: int | None = 0
    for tag in _TAG.finditer(reply):
        if tag["opens"] is None:
            if start is not None:
                said.clear()
            start = tag.end()
        elif start is not None:
            said.append(reply[start : tag.start()])
            start = None
    if start is not None:
        said.append(reply[start:])
    return "\n".join(said)
