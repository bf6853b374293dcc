"""What operators give in files or in the environment: certificates, keys, tokens.

An error names the option, the file or the variable; what stands in it is in no error.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PEM_BEGIN: Final = "-----BEGIN"
# What tells one state of a file from another: a folder that is swapped behind a link counts.
Stamp = tuple[int, int, int] | None


class SecurityError(ValueError):
    """A certificate, a key or a token cannot be used, or one that is needed is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretSource:
    """A file, or what an environment variable holds; `origin` says which, in errors."""

    origin: str
    path: Path | None = None
    text: str = field(default="", repr=False)

    def read(self, *, is_private: bool = False) -> bytes:
        """What stands in it now. Raises SecurityError where there is nothing, or it is not private.

        Private is a file that not every user of the machine can read; its group may.
        """
        if self.path is None:
            return self.text.encode()
        try:
            mode = os.stat(self.path).st_mode
            data = self.path.read_bytes()
        except OSError as error:
            raise SecurityError(f"{self}: {error.strerror or error}") from None
        if not data.strip():
            raise SecurityError(f"{self}: the file is empty")
        if is_private and mode & stat.S_IRWXO:
            raise SecurityError(
                f"{self}: every user of this machine can read it (mode {stat.S_IMODE(mode):04o}); "
                f"chmod o= {self.path}"
            )
        return data

    def stamp(self) -> Stamp:
        """Another one after every change of the file; None for a variable, and where it is gone."""
        if self.path is None:
            return None
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def __str__(self) -> str:
        return self.origin if self.path is None else f"{self.origin} {self.path}"
