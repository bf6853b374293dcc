"""How files are replaced whole, or stay as they were."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import cannot_write


def remove_unfinished(path: Path) -> None:
    """What a process that was killed left behind of a `replacing`."""
    for unfinished in path.parent.glob(f".{path.name}.*.new"):
        unfinished.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside the path that takes its place when all is on the disk.

    A link stays one, and who may read the file may read it afterwards. Raises what `cannot_write`
    gives.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        if target.is_file():
            temporary.chmod(target.stat().st_mode)
        temporary.replace(target)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)
