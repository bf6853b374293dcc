"""The server of docs/serve-your-own-model.md is taken from the page and held to every promise."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harnessapi.rpc.probe import why_not_healthy
from harnessapi.rpc.targets import parse_target

from harness.conformance.all_promises import PROMISES

PAGE = Path(__file__).parents[3] / "docs" / "serve-your-own-model.md"
MAX_LINES = 60


@pytest.fixture
def code() -> str:
    [code] = [part.partition("\n```")[0] for part in PAGE.read_text().split("```python\n")[1:]]
    return code + "\n"


@pytest.fixture
def address(code: str, tmp_path: Path, wait_until: Any) -> Iterator[str]:
    path = tmp_path / "echo.py"
    path.write_text(code)
    address = f"unix:{tmp_path}/s"
    path_of = {"PYTHONPATH": ":".join(part for part in sys.path if part)}
    process = subprocess.Popen([sys.executable, str(path), address], env=path_of)
    try:
        wait_until(lambda: why_not_healthy(parse_target(address), timeout_s=600) is None)
        yield address
    finally:
        process.kill()
        process.wait()


def test_it_is_as_small_as_the_page_says(code: str) -> None:
    assert len(code.splitlines()) <= MAX_LINES


def test_it_keeps_every_promise(workplace: Any, address: str) -> None:
    result = workplace.run("endpoints", "check", "--conformance", address, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["status"], told["exit_status"], told["error"]) == ("kept", 0, None)
    counts = [one["verdict"] for one in told["promises"]]
    last = f"{counts.count('ok')} ok, 0 failed, {counts.count('not offered')} not offered"
    assert last in PAGE.read_text()
    assert "failed" not in counts
    assert "not tried" not in counts


def test_the_page_explains_each_promise() -> None:
    rows = [f"| `{promise.name}` | {promise.right} |" for promise in PROMISES]
    assert "\n".join(rows) in PAGE.read_text()
