"""Makes the shards of a run one run: the same as if it had never been divided."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from harness.errors import InputError, cannot_write
from harness.runner.resumption import joined_fields, manifest_differences, source_differences
from harness.runs.key_set import KeySet
from harness.runs.lines import read_lines
from harness.runs.manifest import Manifest, copy_manifest, read_manifest, require_another_run
from harness.runs.records import SampleKey
from harness.runs.run_limits import Limits
from harness.runs.run_options import RunOptions, option_differences
from harness.runs.shard import Shard
from harness.runs.store import ERRORS_NAME, SAMPLES_NAME, require_idle
from harness.runs.stored_samples import read_sample_lines
from harness.runs.summary import RunResult, summarize, write_summary

# Of the samples of a cell that are missing in a shard, so many are named.
_MAX_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """The run, and a line for each cell of a shard that has samples missing."""

    result: RunResult
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    folder: Path
    manifest: Manifest
    shard: Shard


def merge(folders: Sequence[Path], target: Path) -> Merged:
    """Writes the run into the new folder `target`, whole or not at all; the shards stay.

    Raises InputError where one is no shard, is of another run, is there twice or is missing, where
    one is damaged or worked on, and where `target` is there already.
    """
    if os.path.lexists(target):
        raise InputError(f"{target} is there already: name a new folder with --out")
    parts = _in_order([_part(folder) for folder in folders])
    for part in parts:
        require_idle(part.folder)
    missing: list[str] = []
    with _whole_folder(target) as folder:
        with (folder / SAMPLES_NAME).open("wb") as file:
            for part in parts:
                missing += _missing_lines(part, _copy_samples(part, file))
            _sync(file)
        _copy_errors(parts, folder / ERRORS_NAME)
        copy_manifest(parts[0].folder, folder, _changes(parts, target))
        result = summarize(folder)
        write_summary(folder, result)
    return Merged(result=result, missing=tuple(missing))


def undivided(manifest: Manifest) -> Manifest:
    """Of the run that a shard is of."""
    return replace(
        manifest,
        options=replace(manifest.options, shard=None),
        # What ended a shard early says nothing of the whole.
        limits=Limits(),
        cells=tuple(replace(cell, shard_samples=None) for cell in manifest.cells),
    )


def _part(folder: Path) -> _Part:
    manifest = read_manifest(folder)
    shard = manifest.options.shard
    if shard is None:
        raise InputError(f"{folder} is no shard: harness eval --shard I/N makes one")
    return _Part(folder=folder, manifest=manifest, shard=shard)


def _in_order(parts: Sequence[_Part]) -> list[_Part]:
    """By their numbers. Raises InputError unless they are all shards of one run."""
    first = parts[0]
    found: dict[int, _Part] = {}
    runs: dict[str, Path] = {}
    for part in parts:
        require_another_run(part.manifest.run, part.folder, runs)
        runs[part.manifest.run] = part.folder
        if differences := _differences(first, part):
            lines = "\n".join(f"  {line}" for line in sorted(differences))
            raise InputError(
                f"{first.folder} and {part.folder} are shards of different runs; what differs, "
                f"the first one being the run:\n{lines}"
            )
        if part.shard.number in found:
            other = found[part.shard.number].folder
            raise InputError(f"{other} and {part.folder} are both shard {part.shard}: name one")
        found[part.shard.number] = part
    of = first.shard.of
    if left := [str(Shard(number, of)) for number in range(of) if number not in found]:
        raise InputError(
            f"{len(left)} of {of} shards are missing: {_listed(left)}. Name their runs too, or "
            f"ask them with the same command and --shard {left[0]}"
        )
    return [found[number] for number in range(of)]


def _differences(first: _Part, part: _Part) -> list[str]:
    if first.shard.of != part.shard.of:
        return [f"--shard: the run has {first.shard}, the other {part.shard}"]
    was, now = undivided(first.manifest), undivided(part.manifest)
    names = {field.name for field in fields(RunOptions)} - {"task_source"}
    return [
        *option_differences(was.options, now.options, names, other="the other"),
        *source_differences(was.options.task_source, now.options.task_source),
        *manifest_differences(was, now),
    ]


def _copy_samples(part: _Part, file: BinaryIO) -> KeySet:
    """Line by line as they stand, what a newer version wrote in them too; returns whose."""
    keys = KeySet()
    for line in read_sample_lines(part.folder, part.manifest):
        file.write(line.text)
        keys.add(line.value.key)
    return keys


def _copy_errors(parts: Sequence[_Part], path: Path) -> None:
    """None where no shard has any, as in a run that had none."""
    texts = chain.from_iterable(
        (line.text for line in read_lines(part.folder / ERRORS_NAME, SampleKey)) for part in parts
    )
    with path.open("wb") as file:
        file.writelines(texts)
        _sync(file)


def _missing_lines(part: _Part, keys: KeySet) -> list[str]:
    lines = []
    manifest, repeats = part.manifest, part.manifest.options.repeats
    for cell in manifest.cells:
        num = manifest.num_indices(cell) * repeats - keys.num_of_cell(cell.key)
        if not num:
            continue
        named = ""
        if cell.samples is None:  # Else its task alone knows which are asked.
            asked = part.shard.among(range(manifest.options.samples))
            stored = Counter(
                i for (key, *_), indices in keys.rows() if key == cell.key for i in indices
            )
            first = islice((str(i) for i in asked if stored[i] < repeats), _MAX_NAMED + 1)
            named = f": index {_listed(list(first))}"
        noun = "sample" if num == 1 else "samples"
        lines.append(f"shard {part.shard} ({part.folder}): {num} {noun} of {cell.key}{named}")
    return lines


def _listed(names: Sequence[str]) -> str:
    """The first few of them."""
    return ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")


def _changes(parts: Sequence[_Part], target: Path) -> dict[str, Any]:
    """What the merged manifest has in the place of the first shard's."""
    whole = undivided(parts[0].manifest)
    for part in parts[1:]:
        # An endpoint may have been away from some of them.
        whole = replace(whole, **joined_fields(whole, undivided(part.manifest)))
    return {
        "run": target.resolve().name,
        "created_at": min(part.manifest.created_at for part in parts),
        "options": whole.options,
        "endpoints": whole.endpoints,
        "cells": whole.cells,
        "refused": whole.refused,
        "examples": whole.examples,
        "sessions": [session for part in parts for session in part.manifest.sessions],
        "merged_from": [part.manifest.run for part in parts],
    }


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A folder beside it that becomes `target` when all is in it. Raises as `cannot_write` does."""
    temporary = target.resolve()
    temporary = temporary.with_name(f".{temporary.name}.{os.getpid()}.new")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(target)
    except OSError as error:
        raise cannot_write(target, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
