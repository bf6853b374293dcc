"""Says which extra to install, before a process of ours fails with an ImportError."""

import importlib.util
from typing import Final

from harness.errors import InputError

_NEEDS: Final = {
    "servers": ("torch", "safetensors", "tokenizers"),
    "retrieval": ("faiss", "re2", "numpy"),
}


def require_extra(extra: str, what: str) -> None:
    """Raises InputError where a module of the extra is not installed; imports none of them."""
    missing = [name for name in _NEEDS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{what} needs {', '.join(missing)}: pip install 'recall-harness[{extra}]'"
        )
