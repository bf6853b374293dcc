"""The processes that a server has started."""

from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Ids of its children, of theirs, and so on."""
    found, ids = [], [pid]
    while ids:
        parent = ids.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            children = [int(child) for child in task.read_text().split()]
            found += children
            ids += children
    return found
