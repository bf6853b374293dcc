"""What can be held of the house's order beside the import contracts."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("harness", "servers", "retrieval", "training")
# One in each package: what a reader knows to look for.
EVERYWHERE = {"__init__", "__main__", "command", "errors", "wire"}


def test_no_two_modules_have_one_name() -> None:
    places = defaultdict(list)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            places[path.stem].append(str(path.relative_to(ROOT)))
    assert {n: p for n, p in places.items() if len(p) > 1 and n not in EVERYWHERE} == {}


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
