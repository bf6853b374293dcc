"""docker-compose.yml and the Dockerfile as values, and their commands as processes here."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
WaitUntil = Callable[[Callable[[], object]], None]

# Modules of the test machine that an image does not have.
_ABSENT = {
    "retrieval": ("torch", "safetensors", "tokenizers", "vllm", "transformers"),
    "server": ("faiss", "re2", "vllm", "transformers"),
    "server-vllm": ("faiss", "re2"),
    "harness": (
        *("torch", "safetensors", "tokenizers", "vllm", "transformers"),
        *("faiss", "re2", "numpy", "grpc_reflection"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of the Dockerfile: its instructions in order, as (keyword, rest)."""

    name: str
    parent: str
    instructions: tuple[tuple[str, str], ...]

    def last(self, keyword: str) -> str | None:
        return next((rest for word, rest in reversed(self.instructions) if word == keyword), None)


def read_stages(text: str) -> dict[str, Stage]:
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    stages: dict[str, Stage] = {}
    for line in filter(str.strip, lines):
        keyword, _, rest = line.strip().partition(" ")
        if keyword == "FROM":
            parent, _, name = rest.partition(" AS ")
            stages[name] = Stage(name=name, parent=parent, instructions=())
        elif stages:
            stage = stages.popitem()[1]
            instructions = (*stage.instructions, (keyword, rest.strip()))
            stages[stage.name] = Stage(
                name=stage.name, parent=stage.parent, instructions=instructions
            )
    return stages


STAGES = read_stages((ROOT / "Dockerfile").read_text())
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
# Those that stay; the others run once and end.
SERVERS = [name for name, service in SERVICES.items() if "profiles" not in service]


def container_port(name: str) -> int:
    """Where a service listens within its network."""
    command = SERVICES[name]["command"]
    return int(command[command.index("--listen") + 1].rpartition(":")[2])


@dataclass
class Machine:
    """Stands in for the containers: addresses and folders of theirs are mapped to ours."""

    folder: Path
    ports: dict[str, int]
    wait_until: WaitUntil
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def here(self, word: str, service: str) -> str:
        """A word of a command, as it is for a process here. Any other address is a mistake."""
        if word == "python":
            return sys.executable
        if word.startswith("/checkpoints/"):
            return str(ROOT / word.removeprefix("/"))
        if match := re.fullmatch(r"([\w.]+):(\d+)", word):
            host, port = match[1], int(match[2])
            name = service if host in {"0.0.0.0", "127.0.0.1"} else host
            assert port == container_port(name), f"{service}: nobody listens at {word}"
            return f"127.0.0.1:{self.ports[name]}"
        return word

    def command(self, service: str) -> list[str]:
        """Entry point and command, exactly as the container has them."""
        entry_point = yaml.safe_load(STAGES[target(service)].last("ENTRYPOINT") or "")
        return [self.here(w, service) for w in [*entry_point, *SERVICES[service]["command"]]]

    def environment(self, service: str) -> dict[str, str]:
        """As in the container: the modules that its image has, and a home that can be written."""
        shadow = self.folder / target(service)
        shadow.mkdir(exist_ok=True)
        absent = dict.fromkeys(_ABSENT[target(service)])
        (shadow / "sitecustomize.py").write_text(f"import sys\nsys.modules.update({absent})\n")
        path = os.pathsep.join([str(shadow), *(entry for entry in sys.path if entry)])
        return {**os.environ, "PYTHONPATH": path, "HOME": str(self.folder)}

    def start(self, service: str) -> None:
        with (self.folder / f"{service}.log").open("wb") as log:
            self.processes[service] = subprocess.Popen(
                self.command(service),
                cwd=self.folder,
                env=self.environment(service),
                stdout=log,
                stderr=log,
            )

    def check(self, service: str) -> int:
        """The exit status of the service's own health check."""
        keyword, *words = SERVICES[service]["healthcheck"]["test"]
        assert keyword == "CMD"
        done = subprocess.run(
            [self.here(word, service) for word in words],
            cwd=self.folder,
            env=self.environment(service),
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=600,
        )
        return done.returncode

    def wait_healthy(self, service: str) -> None:
        """By its own check, for as long as its process is there."""

        def is_healthy() -> bool:
            log = (self.folder / f"{service}.log").read_text()
            assert self.processes[service].poll() is None, log
            return self.check(service) == 0

        self.wait_until(is_healthy)

    def stop_all(self) -> dict[str, int]:
        """Asks all to stop as a container engine does; their exit statuses."""
        for process in self.processes.values():
            process.terminate()
        try:
            return {name: process.wait(timeout=600) for name, process in self.processes.items()}
        finally:
            for process in self.processes.values():
                process.kill()


def target(service: str) -> str:
    return str(SERVICES[service]["build"]["target"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`service`: each one; `server`: each that stays."""
    for name, values in (("service", list(SERVICES)), ("server", SERVERS)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def services() -> dict[str, dict[str, Any]]:
    return SERVICES


@pytest.fixture(scope="session")
def stages() -> dict[str, Stage]:
    return STAGES


@pytest.fixture(scope="module")
def machine(
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[..., int],
    wait_until: WaitUntil,
) -> Machine:
    first = free_port(len(SERVERS))
    return Machine(
        folder=tmp_path_factory.mktemp("machine"),
        ports={name: first + number for number, name in enumerate(SERVERS)},
        wait_until=wait_until,
    )


@pytest.fixture(scope="session")
def wheel_file(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves its folders beside the sources."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("harness", "proto", "retrieval", "servers", "training", "checkpoints"):
        copytree(root / name, copy / name)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (copy / name).write_bytes((root / name).read_bytes())
    program = "from setuptools import build_meta; build_meta.build_wheel('.')"
    subprocess.run([sys.executable, "-c", program], cwd=copy, check=True, capture_output=True)
    [path] = copy.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh one, with the pip that comes with Python."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder
