"""A table of endpoints.toml that stands for every checkpoint of a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import InputError

_CONFIG: Final = "config.json"
_RECIPE: Final = "recipe.toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointGroup:
    """The table [name]: its endpoints are called by it and by their checkpoints, `name-checkpoint`.

    `checkpoints` is the folder that they are in; a relative one is looked for in `folders`.
    `pattern` are the names of those that are meant.
    """

    name: str
    checkpoints: str
    folders: tuple[Path, ...]
    pattern: str = "*"

    def found(self) -> tuple[str, ...]:
        """The checkpoints that are there, in the order of their names."""
        folder = self._folder()
        if folder is None:
            return ()
        return tuple(sorted(path.parent.name for path in folder.glob(f"{self.pattern}/{_CONFIG}")))

    def lacks(self, endpoint: str) -> InputError:
        """The error for an endpoint of it, or for itself, where no checkpoint is there for it."""
        folder = self._folder()
        if folder is None:
            looked = ", nor at ".join(str(one / self.checkpoints) for one in self.folders)
            return InputError(f"endpoint '{endpoint}': no folder of checkpoints at {looked}")
        whose = "" if endpoint == self.name else f" '{endpoint.removeprefix(f'{self.name}-')}'"
        there = ", ".join(self.found()) or "none yet"
        text = f"endpoint '{endpoint}': no checkpoint{whose} in {folder} (there: {there})"
        if (folder / _RECIPE).is_file():
            text += f"; harness train {folder / _RECIPE} --model NAME makes one"
        return InputError(text)

    def _folder(self) -> Path | None:
        candidates = (folder / self.checkpoints for folder in self.folders)
        return next((folder for folder in candidates if folder.is_dir()), None)
