"""The stored samples of a run, one at a time, each known to be whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.runs.lines import read_lines
from harness.runs.manifest import Manifest
from harness.runs.records import scored_from_json
from harness.runs.store import ERRORS_NAME, SAMPLES_NAME
from harness.sample import Address


class DamagedError(InputError):
    """A file of a run does not say what it should; the message says what to do."""


def damaged_file(path: Path, reason: str) -> DamagedError:
    """The error for a file of lines."""
    return DamagedError(
        f"{path} is damaged: {reason}. Restore it from a copy, or delete what is wrong in it: "
        f"what is missing then is asked again by harness eval --resume {path.parent}"
    )


def read_samples(folder: Path, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """The lines of samples.jsonl, in their order; a torn last one is left out.

    Raises DamagedError naming the line that is no sample, belongs to no cell of the run, or is
    there twice.
    """
    path = folder / SAMPLES_NAME
    cells = {cell.key for cell in manifest.cells}
    seen: set[tuple[str, str]] = set()
    number = 0
    try:
        for line in read_lines(path):
            number += 1
            key = (line["cell"], line["address"])
            _check(line)
            if key[0] not in cells:
                raise ValueError(f"the run has no cell '{key[0]}'")
            if key in seen:
                raise ValueError(f"sample {key[1]} of {key[0]} is there twice")
            seen.add(key)
            yield line
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged_file(path, f"line {number}: {_reason(error)}") from None
    except (InputError, OSError) as error:
        raise damaged_file(path, str(error).removeprefix(f"{path}, ")) from None


def read_failed(folder: Path) -> set[tuple[str, str]]:
    """(cell, address) of every sample that errored at some time. Raises DamagedError."""
    path = folder / ERRORS_NAME
    try:
        return {(str(e["cell"]), str(e["address"])) for e in read_lines(path)}
    except KeyError as error:
        raise damaged_file(path, _reason(error)) from None
    except (InputError, OSError) as error:
        raise damaged_file(path, str(error).removeprefix(f"{path}, ")) from None


def _check(line: dict[str, Any]) -> None:
    """Whatever a report takes for granted is there, and of its kind."""
    scored = scored_from_json(line)
    for value in (scored.num_generated_tokens, scored.num_searches, scored.num_prompt_tokens):
        if not isinstance(value, int):
            raise TypeError(f"{value!r} is no count")
    for time in (scored.started_at_s, scored.finished_at_s, scored.ttft_ms or 0):
        if not isinstance(time, float | int):
            raise TypeError(f"{time!r} is no time")
    Address.from_key(line["address"])
    for channel, text in line["transcript"]:
        if not isinstance(channel, str) or not isinstance(text, str):
            raise TypeError("its transcript is no text")
    for name in ("prompt", "target"):
        if not isinstance(line[name], str):
            raise TypeError(f"its {name} is no text")
    for step in line["searches"]:
        step["query"], step["outcome"], step["inserted_text"]


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
