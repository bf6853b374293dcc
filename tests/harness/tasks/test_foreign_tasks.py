"""Tasks of a file and of installed packages: found, named by their faults, never in our place."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import plugins
from harness.errors import HarnessError
from harness.tasks import TASKS, choosing, foreign, make_task
from harness.tasks.choosing import choose_tasks
from harness.tasks.distinct import few_samples
from harness.tasks.elsewhere import require_same_elsewhere
from harness.tasks.promises import check_kind

# Says a word twice or three times; asks which.
ECHO = """
import random
from collections.abc import Iterator
from dataclasses import dataclass

from harnessapi.values import Mode

from harness.sample import Problem
from harness.steps import Step, lookup
from harness.tasks import vocabulary as words
from harness.tasks.task import Longest, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Said(Problem):
    row: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{' '.join(self.row)} ;"

    @property
    def question(self) -> str:
        return "1"

    @property
    def target(self) -> str:
        return self.row[0]

    def thought(self) -> str:
        return self.row[0]

    def regex_searches(self) -> Iterator[Step]:
        yield from lookup("(.)", self.row[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Echo(Task):
    name = "echo"
    summary = "says the first word"
    source = "a test"
    instruction = "Answer with the first word."
    heading = "copy ;"
    size_unit = "words"
    max_size = 64
    default_sizes = (4,)
    retrieval_modes = (Mode.REGEX,)

    @property
    def chance(self) -> float:
        return 1 / self.size

    @property
    def longest(self) -> Longest:
        return Longest(thought=1, searches={Mode.REGEX: 3})

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        while True:
            yield Said(row=tuple(generator.choices(words.WORDS, k=self.size)))
"""

Written = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """The echo with some of its text replaced, as `./echo.py:Echo` of the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(*replaced: tuple[str, str], name: str = "echo.py", kind: str = "Echo") -> str:
        text = ECHO
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
        return f"./{name}:{kind}"

    return write


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What is installed and what a file says is looked at once a process."""
    caches = (choosing._foreign, foreign._run_file, plugins.brought)
    for one in caches:
        one.cache_clear()
    yield
    for one in caches:
        one.cache_clear()


def refusal(spec: str) -> str:
    with pytest.raises(HarnessError) as caught:
        choose_tasks([spec])
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_a_task_of_a_file_is_asked_for_by_its_path_and_keeps_its_own_name(
    written: Written, tmp_path: Path
) -> None:
    chosen = choose_tasks([written(), "index"])
    assert chosen.names == ("echo", "index")
    source = chosen.sources["echo"]
    assert source.spec == f"{tmp_path}/echo.py:Echo"
    assert source.sha256 == hashlib.sha256((tmp_path / "echo.py").read_bytes()).hexdigest()
    assert make_task("./echo.py:Echo", size=8).size == 8


def test_all_are_ours_alone(written: Written) -> None:
    assert choose_tasks(["all"]).names == tuple(TASKS)
    assert choose_tasks([written(), "all"]).names == ("echo", *TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_ours_keep_what_others_are_held_to(name: str) -> None:
    check_kind(TASKS[name], name)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("./none.py:Echo", "no task can be read from .*none.py: No such file"),
        ("./echo.py", r"named PATH.py:CLASS, like ./my_task.py:MyTask; in echo.py: Echo"),
        ("./echo.py:Eco", "echo.py:Eco.: no class Eco in it. Tasks in it: Echo"),
        ("./echo.py:Said", "echo.py:Said': it is no task: derive the class from"),
        ("./echo.py:words", "it is no task"),
        ("echo:Echo", "named PATH.py:CLASS"),
        ("ecko", "unknown task 'ecko'"),
    ],
)
def test_what_names_no_task_is_told(
    written: Written, spec: str, told: str, request: pytest.FixtureRequest
) -> None:
    written()
    request.getfixturevalue("forgotten")
    with pytest.raises(HarnessError, match=told):
        choose_tasks([spec])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("import random\n", "import randon\n", "ModuleNotFoundError: No module named 'randon'"),
        ("import random\n", "import random\n1 / 0\n", r"ZeroDivisionError.* \(line 3 of echo.py"),
        ("import random\n", "import random\nraise SystemExit(0)\n", "SystemExit: 0"),
        ("class Echo(Task):", "class Echo(Task)", "SyntaxError: expected ':'"),
        ("def chance", "def chances", "it has no chance"),
        (
            "@dataclass(frozen=True, kw_only=True, slots=True)\nclass Echo(Task):\n",
            'class Echo(Task):\n    keys: int = __import__("dataclasses").field(default=1)\n',
            "it lacks @dataclass",
        ),
        ('name = "echo"', 'name = "Echo/1"', "name is 'Echo/1': small letters"),
        ('name = "echo"', 'name = "copy"', "its name, 'copy', is one of ours"),
        ('summary = "says the first word"', "summary = 3", "summary is 3: it has to be a text"),
        ("default_sizes = (4,)", "default_sizes = 4", "default_sizes is 4: a tuple of int"),
        ("default_sizes = (4,)", "default_sizes = (128,)", "default_sizes has 128: it says 1 to"),
        ("retrieval_modes = (Mode.REGEX,)", "", "promptings and retrieval_modes disagree"),
        ("return 1 / self.size", "return self.size", "chance: 1 is no share|chance: 4 is no"),
        ("return 1 / self.size", "return {}[7]", r"chance failed: KeyError: 7 \(line .*in chance"),
        ("searches={Mode.REGEX: 3}", "", "longest: searches lacks regex"),
        ("searches={Mode.REGEX: 3}", "searches={Mode.REGEX: 2}", "longest: a worked completion"),
        ("while True:", "for _ in range(1):", r"draws\(\) ended"),
        ("generator.choices(words.WORDS, k=self.size)", '["bab"]', r"10,000 problems"),
        ("generator.choices", "random.choices", r"draws\(\): .*when it is drawn again"),
        ("yield Said(row=", "yield (", r"draws\(\).*AttributeError.*no attribute 'text'"),
        (
            "        return self.row[0]\n\n    def thought",
            '        return ""\n\n    def thought',
            None,
        ),
        (
            "        return self.row[0]\n\n    def thought",
            "        return 5\n\n    def thought",
            None,
        ),
        ("    def thought", "    def thinking", r"Said.thought\(\): it is not written, and cot"),
        ("def regex_searches", "def searches", r"Said.regex_searches\(\): it is not written"),
        ('yield from lookup("(.)", self.row[0])', "yield 7", "gives Thought, Query, Found and"),
        ("return f\"{' '.join(self.row)} ;\"", 'return "\\n".join(self.row)', "one space between"),
        ("return self.row[0]\n\n    def regex", 'return "<answer> x <eos>"\n\n    def regex', None),
    ],
)
def test_a_broken_promise_is_named_with_its_method(
    written: Written, old: str, new: str, told: str | None
) -> None:
    text = refusal(written((old, new)))
    assert "echo.py" in text
    if told is not None:
        with pytest.raises(HarnessError, match=told):
            choose_tasks(["./echo.py:Echo"])


def test_an_answer_that_does_not_score_as_correct_is_named(written: Written) -> None:
    marked = ("return self.row[0]\n\n    def thought", 'return "bab <eos>"\n\n    def thought')
    assert "is not scored as correct; its target is 'bab <eos>'" in refusal(written(marked))


def test_an_empty_target_is_named(written: Written) -> None:
    empty = ("return self.row[0]\n\n    def thought", 'return ""\n\n    def thought')
    assert "Said.target: it is empty: nothing could be right" in refusal(written(empty))


@pytest.mark.parametrize("number", ["0", "-3", "2.5", "'many'", "1 / 0"])
def test_a_number_of_different_samples_that_is_none_is_named(written: Written, number: str) -> None:
    said = f"    @property\n    def num_distinct(self):\n        return {number}\n\n    def draws"
    assert "num_distinct" in refusal(written(("    def draws", said)))


def test_a_number_of_different_samples_that_one_size_lacks_is_named(written: Written) -> None:
    said = "    @property\n    def num_distinct(self):\n        return {1: 9, 4: 9}[self.size]\n\n"
    [kind] = choose_tasks([written(("    def draws", f"{said}    def draws"))]).kinds.values()
    with pytest.raises(HarnessError, match=r"'echo': num_distinct failed: KeyError: 2"):
        few_samples(kind)


def test_the_order_of_a_set_is_found_out_in_another_process(written: Written) -> None:
    require_same_elsewhere(written())
    of_set = (
        "tuple(generator.choices(words.WORDS, k=self.size))",
        "tuple({*generator.choices(words.WORDS, k=self.size)})",
    )
    spec = written(of_set, name="set.py")
    choose_tasks([spec])
    with pytest.raises(HarnessError, match="another process draws other samples"):
        require_same_elsewhere(spec)


def test_two_files_with_one_name_are_both_named(written: Written) -> None:
    one, other = written(), written(("size_unit", "size_unit"), name="other.py")
    with pytest.raises(HarnessError, match=r"echo.py:Echo and .*other.py:Echo both name .*'echo'"):
        choose_tasks([one, other])


def test_a_task_of_an_installed_package_is_asked_for_by_its_name(install: Any) -> None:
    install("pkg_of_test_a", ECHO, group=foreign.ENTRY_POINTS, echo="pkg_of_test_a:Echo")
    chosen = choose_tasks(["echo"])
    assert chosen.names == ("echo",)
    assert chosen.sources["echo"].package == "pkg_of_test_a 1.0"
    assert chosen.sources["echo"].spec == "echo"
    assert "echo" not in choose_tasks(["all"]).names


def test_an_installed_task_never_takes_the_place_of_ours(install: Any) -> None:
    install("pkg_of_test_b", ECHO, group=foreign.ENTRY_POINTS, copy="pkg_of_test_b:Echo")
    text = refusal("copy")
    assert "harness.tasks.copy" in text
    assert "pkg_of_test_b 1.0" in text
    assert choose_tasks(["index"]).names == ("index",)


def test_one_name_in_two_packages_is_refused_naming_both(install: Any) -> None:
    install("pkg_of_test_c", ECHO, group=foreign.ENTRY_POINTS, echo="pkg_of_test_c:Echo")
    install("pkg_of_test_d", ECHO, group=foreign.ENTRY_POINTS, echo="pkg_of_test_d:Echo")
    text = refusal("echo")
    assert "pkg_of_test_c 1.0" in text
    assert "pkg_of_test_d 1.0" in text


def test_a_file_does_not_take_the_name_of_an_installed_task(install: Any, written: Written) -> None:
    install("pkg_of_test_e", ECHO, group=foreign.ENTRY_POINTS, echo="pkg_of_test_e:Echo")
    assert "its name, 'echo', is that of a task of pkg_of_test_e 1.0" in refusal(written())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("pkg_of_test_f:Nothing", "AttributeError"),
        ("pkg_of_test_f.none:Echo", "ModuleNotFoundError"),
        ("pkg_of_test_f:Said", "it is no task"),
        ("pkg_of_test_f", "it is no task"),
    ],
)
def test_an_installed_task_that_is_none_is_named_with_its_package(
    install: Any, value: str, told: str
) -> None:
    install("pkg_of_test_f", ECHO, group=foreign.ENTRY_POINTS, echo=value)
    text = refusal("echo")
    assert "task 'echo' of pkg_of_test_f 1.0" in text
    assert told in text


def test_an_installed_task_has_the_name_of_its_entry_point(install: Any) -> None:
    install("pkg_of_test_g", ECHO, group=foreign.ENTRY_POINTS, hello="pkg_of_test_g:Echo")
    assert "its class says that it is 'echo'" in refusal("hello")
