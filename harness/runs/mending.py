"""Takes out of a file of lines what a crash or a copy left in it, and keeps it aside."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.errors import cannot_write
from harness.runs.key_set import KeySet
from harness.runs.lines import damaged_line, read_lines
from harness.runs.records import Key, SampleKey, SampleRecord
from harness.runs.writing import replacing

# Behind the name of the file that it was in.
SET_ASIDE_SUFFIX: Final = ".set-aside"
# Of what stands behind the last line, the rest is of no use to anyone.
_MAX_TAIL_BYTES: Final = 2**26


@dataclass(kw_only=True, slots=True)
class _Found:
    """What is in a file: where its last whole line ends, and what is to be taken out."""

    size: int
    end: int = 0
    num_leads: int = 0
    num_repeated: int = 0
    keys: KeySet = field(default_factory=KeySet)

    @property
    def is_whole(self) -> bool:
        """Nothing is to be done."""
        return self.size == self.end and not self.num_leads and not self.num_repeated


def mend(path: Path, *, may_repeat: bool = False) -> tuple[KeySet, str]:
    """Leaves whole lines alone in the file; returns whose they are, and what was done, if any.

    A line that is there again, byte for byte, goes, unless lines may repeat; then, and where
    something stood before a line, another file takes the place of this one. Raises DamagedError for
    what is no leftover, before anything is changed, and NoRoomError where nothing can be kept.
    """
    found = _find(path, may_repeat=may_repeat)
    if found.is_whole:
        return found.keys, ""
    try:
        num_aside = _set_aside(path, found)
        if found.num_leads or found.num_repeated:
            _write_anew(path, may_repeat=may_repeat)
        else:
            with path.open("r+b") as file:
                if found.end > found.size:
                    file.seek(found.size)
                    file.write(b"\n")
                file.truncate(found.end)
    except OSError as error:
        raise cannot_write(path, error) from None
    return found.keys, _told(path, found, num_aside)


def said_twice(key: SampleKey | SampleRecord) -> str:
    """Why a second line of a sample is damage, where it is not the first one again."""
    return f"sample {key.address} of {key.cell} is there twice, and not the same"


def _find(path: Path, *, may_repeat: bool) -> _Found:
    found = _Found(size=path.stat().st_size if path.exists() else 0)
    firsts: dict[Key, int] = {}
    for line in read_lines(path, SampleKey):
        if not found.keys.add(line.value.key) and not may_repeat:
            # Seldom needed, and then for many lines: read once more, not kept for every sample.
            firsts = firsts or first_hashes(path)
            if firsts[line.value.key] != hash(line.text):
                raise damaged_line(path, line.number, said_twice(line.value))
            found.num_repeated += 1
        found.end = line.end
        found.num_leads += bool(line.lead)
    return found


def first_hashes(path: Path) -> dict[Key, int]:
    """Of each sample's first line what tells whether another one says the same."""
    found: dict[Key, int] = {}
    for line in read_lines(path, SampleKey):
        found.setdefault(line.value.key, hash(line.text))
    return found


def _set_aside(path: Path, found: _Found) -> int:
    """Appends it to the file beside; returns the bytes, without the NULs, which say nothing."""
    kept = [left for left in _leftovers(path, found) if left]
    if kept:
        with path.with_name(path.name + SET_ASIDE_SUFFIX).open("ab") as aside:
            aside.writelines(left + b"\n" for left in kept)
    return sum(map(len, kept))


def _leftovers(path: Path, found: _Found) -> Iterator[bytes]:
    if found.num_leads:
        yield from (line.lead.strip(b"\0") for line in read_lines(path, SampleKey))
    if found.size > found.end:
        with path.open("rb") as file:
            file.seek(found.end)
            yield file.read(_MAX_TAIL_BYTES).strip(b"\0\n")


def _write_anew(path: Path, *, may_repeat: bool) -> None:
    written = KeySet()
    with replacing(path) as temporary, temporary.open("wb") as file:
        for line in read_lines(path, SampleKey):
            if written.add(line.value.key) or may_repeat:
                file.write(line.text)


def _told(path: Path, found: _Found, num_aside: int) -> str:
    """`samples.jsonl: 2 lines that were there twice are dropped, 40 bytes are set aside in ...`."""
    parts = []
    if found.num_repeated:
        parts.append(f"{found.num_repeated} repeated lines dropped")
    if found.end > found.size:
        parts.append("the end of the last line added")
    if num_aside:
        parts.append(f"{num_aside} bytes that are no line are now in {path.name}{SET_ASIDE_SUFFIX}")
    return f"{path}: {', '.join(parts) or 'NULs and empty lines taken out'}"
