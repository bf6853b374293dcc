"""Environments of their own, for what is not to be installed beside the harness."""

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_INSTALL_TORCH: Final = Path(__file__).parents[1] / "tools" / "install-torch.sh"
_TORCH: Final = "torch==2.13.0+cpu"


def bare_environment(folder: Path, packages: Sequence[str]) -> Path:
    """These packages without what they need; what is there already stays. Its python."""
    python = _python(folder)
    _install(python, "--no-deps", *packages)
    return python


def borrowing_environment(folder: Path, packages: Sequence[str]) -> Path:
    """The same, with all that this environment has beside them. Its python."""
    python = bare_environment(folder, packages)
    [site] = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text("\n".join(path for path in sys.path if path) + "\n")
    return python


def whole_environment(folder: Path, packages: Sequence[str], *, with_torch: bool = True) -> Path:
    """These packages, what they need, and torch's CPU build. Its python.

    Made once; a folder that was left half done is gone on with.
    """
    python = _python(folder)
    installed = folder / "installed.txt"
    if installed.exists() and installed.read_text() == " ".join(packages):
        return python
    constraints = folder / "constraints.txt"
    if not with_torch:
        constraints.touch()
    elif not constraints.exists():
        command = [str(_INSTALL_TORCH), _TORCH, str(constraints)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHON": str(python)})
    _install(python, "--constraint", str(constraints), *packages)
    installed.write_text(" ".join(packages))
    return python


def _python(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    return python


def _install(python: Path, *arguments: str) -> None:
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *arguments], check=True)
