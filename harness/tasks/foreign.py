"""Tasks of other people: of a file that is named, `PATH.py:CLASS`, and of installed packages."""

import hashlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any, Final

from harness.errors import HarnessError, InputError
from harness.plugins import brought, package_of
from harness.scoring.wording import AS_IT_STANDS, Wording
from harness.tasks.task import Task

ENTRY_POINTS: Final = "recall_harness.tasks"
_FORM: Final = "a task of a file is named PATH.py:CLASS, like ./my_task.py:MyTask"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSource:
    """Where a task comes from that is not ours: what a run keeps of it."""

    # By which it is found again: `/home/me/my_task.py:MyTask`, or its name where it is installed.
    spec: str
    # Of the file that its class is in.
    sha256: str
    # `my-tasks 1.0`; empty for a file.
    package: str = ""
    # By it stored answers are scored anew, without the file.
    wording: Wording = AS_IT_STANDS
    # Each has a recall of its own in a report, which does not run the task's code.
    few_targets: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """For people: the file, or the package."""
        return f"the package {self.package}" if self.package else self.spec


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignTask:
    """A class that is not ours, as it was found; nothing of it is checked yet."""

    kind: type[Task]
    source: TaskSource


def is_file_spec(name: str) -> bool:
    """Whether it means a file: a task's own name has none of these signs."""
    return ":" in name or "/" in name or name.endswith(".py")


def file_spec(name: str) -> str:
    """The same, wherever it is read. Raises InputError for what names no class of a file."""
    path, _, kind = name.rpartition(":")
    if path.endswith(".py") and kind.isidentifier():
        return f"{Path(path).absolute()}:{kind}"
    whole = Path(name)
    here = _classes_of(whole.absolute()) if whole.suffix == ".py" and whole.is_file() else ()
    hint = f"; in {whole.name}: {', '.join(here)}" if here else ""
    raise InputError(f"task '{name}': {_FORM}{hint}")


def load_file_task(spec: str) -> ForeignTask:
    """Runs the file, in this process; `spec` as `file_spec` gives it. Raises InputError."""
    path_text, _, kind = spec.rpartition(":")
    path = Path(path_text)
    module, digest = _run_file(path)
    found = vars(module).get(kind)
    if found is None:
        known = ", ".join(_classes_of(path)) or "none"
        raise InputError(f"task '{spec}': no class {kind} in it. Tasks in it: {known}")
    return ForeignTask(
        kind=found,
        source=TaskSource(
            spec=spec, sha256=digest, wording=_wording(found), few_targets=_few_targets(found)
        ),
    )


def load_installed_task(name: str) -> ForeignTask | None:
    """Imports it from its package; None: no package brings it. Raises InputError."""
    one = installed_tasks().get(name)
    if one is None:
        return None
    where = f"task '{name}' of {package_of(one)}"
    with naming(where, f"importing {one.value}"):
        kind = one.load()
    return ForeignTask(
        kind=kind,
        source=TaskSource(
            spec=name,
            sha256=_digest(kind),
            package=package_of(one),
            wording=_wording(kind),
            few_targets=_few_targets(kind),
        ),
    )


def installed_tasks() -> dict[str, EntryPoint]:
    """Entry points by name. Raises InputError where two packages have one."""
    return brought(ENTRY_POINTS, "task")


@contextmanager
def naming(where: str, what: str) -> Iterator[None]:
    """Whatever other people's code raises is an InputError that says where in it."""
    try:
        yield
    except HarnessError as error:
        raise InputError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{where}: {what} failed: {raised(error)}") from error


def raised(error: BaseException) -> str:
    """`KeyError: 'x' (line 12 of my_task.py, in draws)`: the last place that is not ours."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    ours = str(Path(__file__).parents[1])
    places = [
        one for one in extract_tb(error.__traceback__) if not one.filename.startswith((ours, "<"))
    ]
    if isinstance(error, SyntaxError) or not places:
        return text
    last = places[-1]
    inside = "" if last.name == "<module>" else f", in {last.name}"
    return f"{text} (line {last.lineno} of {Path(last.filename).name}{inside})"


@cache
def _run_file(path: Path) -> tuple[ModuleType, str]:
    """The module of the very bytes that the digest is of; once a process."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"no task can be read from {path}: {error.strerror or error}") from None
    digest = hashlib.sha256(text).hexdigest()
    # A name of its own: dataclasses look their module up by it.
    module = ModuleType(f"{path.stem}_{digest[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        with naming(str(path), "running it"):
            exec(compile(text, str(path), "exec"), vars(module))  # noqa: S102  (the user's own)
    except InputError as error:
        del sys.modules[module.__name__]
        if isinstance(error.__cause__, ModuleNotFoundError):
            hint = "a task's file is read alone: what it imports has to be installed"
            raise InputError(f"{error}; {hint}") from error.__cause__
        raise
    return module, digest


def _classes_of(path: Path) -> list[str]:
    """Tasks that a file defines, not those that it imports."""
    module, _ = _run_file(path)
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Task)
        and value.__module__ == module.__name__
    ]


def _digest(kind: Any) -> str:
    """Of the file that a class is in; empty where it is in none."""
    try:
        path = Path(inspect.getfile(kind))
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, TypeError):
        return ""


def _wording(kind: Any) -> Wording:
    """Anything else is named when the task is checked."""
    found = getattr(kind, "wording", AS_IT_STANDS)
    return found if isinstance(found, Wording) else AS_IT_STANDS


def _few_targets(kind: Any) -> tuple[str, ...]:
    """As the wording."""
    found = getattr(kind, "few_targets", ())
    is_texts = isinstance(found, tuple) and all(isinstance(one, str) for one in found)
    return found if is_texts else ()
