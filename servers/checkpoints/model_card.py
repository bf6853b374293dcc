"""What a checkpoint's model card says to programs: front matter, as cards of Hugging Face have it.

---
trained_tasks: [assoc_recall, index]
---
"""

import re
from pathlib import Path
from typing import Final

from harness_servers.errors import CheckpointError

CARD: Final = "README.md"
_FENCE: Final = "---"
_KEY: Final = "trained_tasks:"
_NAMES: Final = re.compile(r"\[\s*(\w+(?:\s*,\s*\w+)*)?\s*\]")


def read_trained_tasks(path: Path) -> tuple[str, ...]:
    """The tasks that the checkpoint was trained on; none where the card, or its line, is missing.

    Raises CheckpointError for a line that is no list of names, and for front matter without an end.
    """
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].rstrip() != _FENCE:
        return ()
    for line in lines[1:]:
        if line.rstrip() == _FENCE:
            return ()
        if line.startswith(_KEY):
            value = line.removeprefix(_KEY).strip()
            if not (match := _NAMES.fullmatch(value)):
                raise CheckpointError(
                    f"{path.name}: trained_tasks is {value!r}; [name, name] was expected"
                )
            return tuple(re.split(r"\s*,\s*", match[1])) if match[1] else ()
    raise CheckpointError(f"{path.name}: its front matter has no end, a line {_FENCE!r}")
