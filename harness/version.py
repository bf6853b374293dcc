"""Which version of the harness this is, and what it runs on."""

import platform
from importlib import metadata

DISTRIBUTION = "recall-harness"


def harness_version() -> str:
    """The installed version; a source tree that is merely on the path has none."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """For the manifest of a run."""
    return {
        "harness": harness_version(),
        "python": platform.python_version(),
        "grpcio": metadata.version("grpcio"),
        "platform": platform.platform(),
    }
