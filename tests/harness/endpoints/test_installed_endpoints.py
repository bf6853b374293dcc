"""Endpoints that installed packages bring: found by name, never in the place of another."""

from pathlib import Path
from typing import Any

import pytest

from harness.endpoints.config import load_endpoints
from harness.endpoints.installed import ENTRY_POINTS
from harness.errors import HarnessError


def test_a_packages_endpoint_is_asked_by_its_name_and_its_checkpoint_lies_beside(
    install: Any, tmp_path: Path
) -> None:
    folder = install("pkg_of_test_m", "1 / 0", group=ENTRY_POINTS, mine="pkg_of_test_m")
    (folder / "endpoints.toml").write_text('[mine]\ncheckpoint = "weights"\nretrieval = true\n')
    (folder / "weights").mkdir()
    file = load_endpoints(None, tmp_path)
    [endpoint] = file.select(["mine"])
    assert endpoint.checkpoint_folder() == folder / "weights"
    assert endpoint.retrieval
    assert "mine" not in {one.name for one in file.select(["all"])}


def test_a_packages_endpoint_takes_the_place_of_no_other(install: Any, tmp_path: Path) -> None:
    install("pkg_of_test_n", "", group=ENTRY_POINTS, rnn="pkg_of_test_n")
    file = load_endpoints(None, tmp_path)
    with pytest.raises(HarnessError, match=r"'rnn' is in .*endpoints.toml, and pkg_of_test_n 1.0"):
        file.select(["rnn"])
    assert file.select(["rnn-rag"])[0].name == "rnn-rag"


@pytest.mark.parametrize(
    ("value", "text", "told"),
    [
        ("pkg_of_test_o", None, "No such file"),
        ("pkg_of_test_o", "[other]\naddress = 'unix:/s'\n", r"has no table \[mine\]"),
        ("pkg_of_test_o", "[mine]\naddres = 'unix:/s'\n", "unknown key 'addres'"),
        ("pkg_of_test_none", None, "is no package with an endpoints.toml in it"),
    ],
)
def test_a_packages_endpoint_that_is_none_is_named_with_its_package(
    install: Any, tmp_path: Path, value: str, text: str | None, told: str
) -> None:
    folder = install("pkg_of_test_o", "", group=ENTRY_POINTS, mine=value)
    if text is not None:
        (folder / "endpoints.toml").write_text(text)
    with pytest.raises(HarnessError, match=f"'mine' of pkg_of_test_o 1.0: .*{told}"):
        load_endpoints(None, tmp_path).select(["mine"])


def test_an_unknown_endpoint_is_told_with_those_of_packages(install: Any, tmp_path: Path) -> None:
    install("pkg_of_test_p", "", group=ENTRY_POINTS, mine="pkg_of_test_p")
    with pytest.raises(HarnessError, match="did you mean mine"):
        load_endpoints(None, tmp_path).select(["minn"])
