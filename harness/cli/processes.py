"""Becomes another program, so that signals and the exit status are its own."""

import os
import sys
from collections.abc import Mapping, Sequence


def become(module: str, arguments: Sequence[str]) -> None:
    """Replaces this process by `python -m MODULE ARGUMENT...`; does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606


def as_arguments(options: Mapping[str, object]) -> list[str]:
    """Options as another program takes them: those that were not given are left to it."""
    arguments: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(flag)
        elif value is not None and value is not False:
            arguments += [flag, str(value)]
    return arguments
