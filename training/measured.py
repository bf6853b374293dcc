"""What a card's evaluations have found so far: half an hour of them is not lost to a stop."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeAlias

Cells: TypeAlias = list[dict[str, Any]]


class MeasuredCells:
    """The cells of the evaluations that are done, in a file beside the training's state.

    They are of the weights that they were measured with: other weights find none.
    """

    def __init__(self, path: Path, weights: Path) -> None:
        self._path = path
        with weights.open("rb") as file:
            self._digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._cells: dict[str, Cells] = {}
        if path.exists():
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["weights"] == self._digest:
                self._cells = stored["cells"]

    def of(self, arguments: str) -> Cells | None:
        """The cells that `harness eval ARGUMENTS` gave, None where it was not run yet."""
        return self._cells.get(arguments)

    def add(self, arguments: str, cells: Cells) -> None:
        """Keeps them, at once and whole."""
        self._cells[arguments] = cells
        unfinished = self._path.with_suffix(".part")
        text = json.dumps({"weights": self._digest, "cells": self._cells})
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, self._path)
