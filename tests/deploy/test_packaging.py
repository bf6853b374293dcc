"""What a wheel carries, and how torch is found: real builds and installs, without a network."""

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

NAMES = {"harness", "harnessapi", "harness_retrieval", "harness_servers", "harness_training"}


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel_file) as opened:
        yield opened


def test_a_wheel_takes_no_name_that_is_not_ours(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == NAMES


def test_a_wheel_has_every_module_that_the_repository_has(
    root: Path, wheel: zipfile.ZipFile
) -> None:
    folders = {"proto/harnessapi": "harnessapi", "harness": "harness"} | {
        folder: f"harness_{folder}" for folder in ("retrieval", "servers", "training")
    }
    expected = {
        f"{name}/{path.relative_to(root / folder)}"
        for folder, name in folders.items()
        for path in (root / folder).rglob("*.py")
    }
    assert {name for name in wheel.namelist() if name.endswith(".py")} == expected


def test_a_wheel_has_the_licence_and_the_files_that_the_client_reads(
    root: Path, wheel: zipfile.ZipFile
) -> None:
    names = wheel.namelist()
    [licence] = [name for name in names if name.endswith("/LICENSE")]
    assert wheel.read(licence) == (root / "LICENSE").read_bytes()
    assert "harness/endpoints.toml" in names
    metadata = wheel.read(licence.partition("/")[0] + "/METADATA").decode()
    assert "\nLicense-Expression: Apache-2.0\n" in metadata


def test_a_wheel_has_every_checkpoint_that_its_endpoints_name_and_stays_small(
    root: Path, wheel: zipfile.ZipFile, wheel_file: Path
) -> None:
    tables = tomllib.loads((root / "harness" / "endpoints.toml").read_text())
    for folder in {table["checkpoint"] for table in tables.values() if "checkpoint" in table}:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md"):
            assert wheel.read(f"harness/{folder}/{name}") == (root / folder / name).read_bytes()
    assert wheel_file.stat().st_size < 10_000_000


def test_the_citation_keeps_to_its_schema_and_to_the_version(root: Path) -> None:
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.citation-file-format"]
    done = subprocess.run(
        [sys.executable, *command, "CITATION.cff"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert [author["name"] for author in project["authors"]] == [
        author["name"] for author in citation["authors"]
    ]


@pytest.mark.parametrize(
    ("asked", "builds", "installed", "attempts"),
    [
        ("torch==2.13.0+cpu", ("2.13.0", "2.13.0+cpu"), "torch==2.13.0+cpu", 1),
        ("torch==2.13.0+cpu", ("2.13.0",), "torch==2.13.0", 2),
        ("torch==2.13.0", ("2.13.0",), "torch==2.13.0", 0),
    ],
)
def test_torch_is_the_cpu_build_and_another_as_the_last_resort(
    root: Path,
    environment: Path,
    tmp_path: Path,
    asked: str,
    builds: tuple[str, ...],
    installed: str,
    attempts: int,
) -> None:
    for version in builds:
        write_wheel(tmp_path, version)
    # Nothing but these files is looked at: not what pip is configured to, not the network.
    own = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    others = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    python = environment / "bin" / "python"
    constraints = tmp_path / "constraints.txt"
    done = subprocess.run(
        [root / "tools" / "install-torch.sh", asked, constraints],
        env={**others, **own, "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert constraints.read_text() == f"{installed}\n"
    assert done.stdout.count("torch: looking for torch==2.13.0+cpu") == attempts
    assert ("CUDA" in done.stdout) == (attempts == 2)
    program = "from importlib.metadata import version; print(version('torch'))"
    found = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    assert f"torch=={found.stdout.strip()}" == installed
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "torch"], check=True)


def write_wheel(folder: Path, version: str) -> None:
    """A package of the name torch that has nothing in it."""
    info = f"torch-{version}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
