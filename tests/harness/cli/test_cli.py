import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import main

HEAVY = {
    *("torch", "vllm", "faiss", "numpy", "re2", "tokenizers", "safetensors"),
    *("pyarrow", "httpx"),
}
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def loaded_after(program: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    # The last line; before it the program may have written of its own.
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    loaded = loaded_after("import harness.cli")
    assert not loaded & (HEAVY | {"grpc", "rich", "google", "asyncio", "msgspec"})


def test_the_names_that_the_shell_completes_are_found_without_anything_heavy() -> None:
    loaded = loaded_after("import harness.cli.shared_options")
    assert not loaded & (HEAVY | {"grpc", "rich", "google", "asyncio"})


def test_no_command_loads_a_library_of_the_servers() -> None:
    load_all = "\n".join(
        [
            "from harness.cli import main, serve_group",
            "for group in (main, serve_group):",
            "    for name in group.list_commands(None): group.get_command(None, name)",
        ]
    )
    assert not loaded_after(load_all) & HEAVY


def test_help_is_shown_without_anything_heavy() -> None:
    # How long it takes is what benchmarks/startup.py prints.
    loaded = loaded_after("from harness.cli import main\nmain(['--help'], standalone_mode=False)")
    assert not loaded & (HEAVY | {"grpc", "rich", "google", "asyncio", "msgspec"})


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["eval"],
        ["report"],
        ["compare"],
        ["export"],
        ["tasks"],
        ["tasks", "list"],
        ["tasks", "show"],
        ["tasks", "sample"],
        ["endpoints"],
        ["endpoints", "list"],
        ["endpoints", "check"],
        ["serve"],
        ["serve", "model"],
        ["serve", "retrieval"],
        ["up"],
        ["train"],
    ],
)
def test_every_command_has_a_help_page(command: list[str]) -> None:
    result = CliRunner().invoke(main, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage: harness" in result.output or "Usage: " in result.output


def test_an_unknown_command_suggests_near_ones() -> None:
    result = CliRunner().invoke(main, ["evl"])
    assert result.exit_code == 2
    assert "did you mean eval?" in result.stderr


def test_a_task_is_shown_with_a_worked_sample_of_every_way() -> None:
    result = CliRunner().invoke(main, ["tasks", "show", "assoc_recall"])
    assert result.exit_code == 0
    for word in ("<direct>", "<cot>", "<dense>", "<regex>", "1 to 128"):
        assert word in result.output


def test_a_task_is_shown_with_its_abbreviations_and_what_cannot_be_done() -> None:
    result = CliRunner().invoke(main, ["tasks", "show", "is_tree"])
    assert r"$1 ~     stands for \b$1 ~ (\d+)" in result.output
    assert "impossible with dense" in CliRunner().invoke(main, ["tasks", "show", "index"]).output


def test_a_sample_is_printed_by_its_address() -> None:
    command = ["tasks", "sample", "assoc_recall", "--size", "4", "--seed", "3", "--index", "2"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    assert "size=4/test/seed=3/index=2" in result.output
    assert CliRunner().invoke(main, command).output == result.output


def test_a_sample_is_worded_for_language_models() -> None:
    command = ["tasks", "sample", "assoc_recall", "--style", "natural"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    assert "[Problem 4]\nContext: " in result.output
    target = re.search(r"^target +(\w+)$", result.output, re.MULTILINE)
    assert target is not None
    assert result.output.endswith(f"\ncompletion Answer: {target[1]}\n")


def test_the_readmes_sample_is_what_the_command_prints() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    [(command, output)] = re.findall(r"\$ \S+/harness (tasks sample .*)\n((?:.*\n)*?)```", readme)
    assert CliRunner().invoke(main, command.split()).output == output


def test_the_parameters_of_a_task_are_shown_with_range_and_default_and_can_be_tried() -> None:
    shown = CliRunner().invoke(main, ["tasks", "show", "needle"]).output
    assert "parameter  values   1 to 4, default 2. Values of each key" in shown
    shown = CliRunner().invoke(main, ["tasks", "show", "ngram_retrieval"]).output
    assert "parameter  order    2 to 16 at size 16, default 3. The words asked" in shown
    command = ["tasks", "sample", "needle", "-T", "values=3", "-T", "needle.keys=1"]
    sample = CliRunner().invoke(main, command).output
    assert sample.startswith("address    needle/keys=1,size=16,values=3/test/seed=0/index=0\n")
    assert sample.count(" = ") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "asoc_recall"], "did you mean assoc_recall?"),
        (["sample", "assoc_recall", "--size", "129"], "size 129 is out of range: 1 to 128"),
        (["sample", "assoc_recall", "--size", "0"], "size 0 is out of range: 1 to 128"),
        (["sample", "needle", "-T", "kyes=3"], "parameter of needle 'kyes'; did you mean keys?"),
        (["sample", "needle", "-T", "values=5"], "values 5 is out of range: 1 to 4"),
        (["sample", "assoc_recall", "--retrieval", "regex"], "needs --prompting search"),
        (["sample", "assoc_recall", "--seed", "-1"], "-1"),
        (["sample", "copy", "--prompting", "search"], "no prompting search; it has: direct"),
    ],
)
def test_a_wrong_task_command_is_told_in_one_line(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["tasks", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr


def test_endpoints_are_listed_with_their_file(workplace: Any) -> None:
    result = workplace.run("endpoints", "list")
    assert result.exit_code == 0
    assert "endpoints.toml" in result.output
    assert "rnn-rag  served here: rnn  with its search channel" in result.output


def test_a_check_shows_what_is_served(workplace: Any) -> None:
    result = workplace.run("endpoints", "check")
    assert result.exit_code == 0
    assert result.stdout.count("healthy") == 2
    for word in ("RNN", "1,234", "512", "regex, dense", "off"):
        assert word in result.stdout
    # Both share one server.
    assert result.stderr.count("starting") == 1


def test_a_check_of_a_server_that_is_not_there_exits_3(workplace: Any) -> None:
    (workplace.folder / "endpoints.toml").write_text(
        f'[far]\naddress = "unix:{workplace.folder}/nobody.sock"\n[rnn]\ncheckpoint = "rnn"\n'
    )
    workplace.connect_timeout_s = 0
    result = workplace.run("endpoints", "check")
    assert result.exit_code == 3
    assert "healthy" in result.stdout
    assert "endpoint 'far'" in result.stderr


def test_an_unknown_endpoint_exits_2(workplace: Any) -> None:
    result = workplace.run("endpoints", "check", "rnn-rga")
    assert result.exit_code == 2
    assert "did you mean rnn-rag" in result.stderr


def test_serving_nothing_is_refused(workplace: Any) -> None:
    result = workplace.run("serve", "model", "nowhere")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
