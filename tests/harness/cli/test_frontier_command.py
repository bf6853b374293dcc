"""`harness report --frontier-svg`, the frontier on the page, and a section a model."""

import csv
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from harnessapi.values import Mode, TrainedBy

from harness.way import Prompting

SEARCH = {"prompting": Prompting.SEARCH, "retrieval": Mode.DENSE}
# Model and seed to how many of ten are right at once.
RIGHT = {("gru", 1): 1, ("gru", 2): 3, ("lstm", 1): 5}


@pytest.fixture
def frontier(workplace: Any, stored: Any) -> Any:
    """A run a checkpoint, of sizes 4 and 16."""
    for (model, seed), right in RIGHT.items():
        name = f"frontier-{model}-{seed}"
        ways = [(right, stored.cell(name, size=size)) for size in (4, 16)]
        ways += [(10, stored.cell(name, size=size, **SEARCH)) for size in (4, 16)]
        stored.run(
            workplace.folder / "runs" / name,
            {cell: [stored.sample(cell, i, is_right=i < n) for i in range(10)] for n, cell in ways},
            checkpoint_digest=name,
            state_bytes=1024 if model == "gru" else 4096,
            trained_by=TrainedBy(recipe="frontier", model=model, seed=seed),
            config_json=json.dumps({"model_type": model, "hidden_size": 64}),
        )
    return workplace


def report(workplace: Any, *more: str) -> Any:
    runs = (f"runs/frontier-{model}-{seed}" for model, seed in RIGHT)
    return workplace.run("report", *runs, *more)


def test_a_picture_is_one_file_of_its_own_that_loads_nothing(frontier: Any) -> None:
    result = report(frontier, "--frontier-svg", "f.svg", "--panel", "assoc_recall:16")
    assert result.exit_code == 0, result.stderr
    assert "written to f.svg" in result.stdout
    text = Path("f.svg").read_text()
    titles = [one.text for one in ElementTree.fromstring(text).iter() if one.tag.endswith("title")]
    assert titles[0] == "assoc_recall, 16 key-value pairs: recall for bytes of state"
    for told in (
        "gru, direct: 0.200, mean of 2 trainings (0.100-0.300); state 1.0 KiB",
        "gru, search dense: 1.000, mean of 2 trainings (1.000-1.000); state 1.0 KiB",
        "lstm, direct: 0.500; state 4.0 KiB",
    ):
        assert told in titles
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"<script|href|url\(|@import", text)


def test_json_alone_stays_on_standard_output_beside_a_picture(frontier: Any) -> None:
    result = report(frontier, "--frontier-svg", "f.svg", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows[0]["trained_by"] == {"recipe": "frontier", "model": "gru", "seed": 1}
    assert "written to f.svg" in result.stderr


def test_the_page_has_the_frontier_and_every_name_on_it_leads_to_its_model(frontier: Any) -> None:
    assert report(frontier, "--html", "r.html").exit_code == 0
    page = Path("r.html").read_text()
    assert "<h2>The frontier</h2>" in page
    links = dict(re.findall(r'<a href="#(model-\d)"><text[^>]*>(\w+)</text></a>', page))
    assert set(links.values()) == {"gru", "lstm"}
    for anchor, name in links.items():
        section = page.partition(f'<section class="model" id="{anchor}">')[2]
        section = section.partition("</section>")[0]
        assert section.startswith(f"<h3>{name}</h3>")
        assert f"model_type {name}; family RNN; parameters 700,000; state " in section
        assert "<dt><code>hidden_size</code></dt><dd>64</dd>" in section
        assert ("0.100-0.300" in section) == (name == "gru")
        assert "search dense" in section
    # The figures of each endpoint would have no room.
    assert "<h2>Accuracy against state</h2>" not in page


def test_a_report_of_models_of_one_training_has_both_figures(frontier: Any) -> None:
    runs = ("runs/frontier-gru-1", "runs/frontier-lstm-1")
    assert frontier.run("report", *runs, "--html", "r.html").exit_code == 0
    page = Path("r.html").read_text()
    assert "<h2>The frontier</h2>" in page
    assert "<h2>Accuracy against state</h2>" in page


def test_the_terminal_says_mean_and_range_over_seeds_and_nothing_of_one_seed(frontier: Any) -> None:
    title = "over trainings that differ in the seed"
    told = report(frontier).stdout.partition(title)[2]
    assert re.search(r"gru +assoc_recall +4 +direct +1.0 KiB +2 +0.200 +0.100-0.300", told)
    assert re.search(r"lstm +assoc_recall +16 +direct +4.0 KiB +1 +0.500 +- ", told)
    assert title not in frontier.run("report", "runs/frontier-gru-1").stdout


def test_an_exported_row_says_which_training_it_is_of(frontier: Any) -> None:
    result = frontier.run("export", "runs/frontier-gru-2", "--csv", "x.csv")
    assert result.exit_code == 0, result.stderr
    with Path("x.csv").open(encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    told = (row["recipe"], row["recipe_model"], row["training_seed"])
    assert told == ("frontier", "gru", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frontier-svg", "f.svg", "--panel", "copy:16"], "unknown panel 'copy:16'"),
        (["--html", "r.html", "--panel", "assoc_recall:5"], "Known: assoc_recall:4, assoc_recall:"),
        (["--panel", "assoc_recall:16"], "--panel needs --frontier-svg FILE or --html FILE"),
        (["--frontier-svg", "no/f.svg"], "cannot write no/f.svg"),
        (
            ["--html", "r.html", "--sample", "x", "--frontier-svg", "f.svg"],
            "--frontier-svg and --panel are of many samples",
        ),
    ],
)
def test_a_wrong_frontier_exits_2_and_writes_nothing(
    frontier: Any, arguments: list[str], message: str
) -> None:
    result = report(frontier, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not [*frontier.folder.glob("*.svg"), *frontier.folder.glob("*.html")]


def test_models_that_tell_no_state_have_no_frontier(workplace: Any, stored: Any) -> None:
    cell = stored.cell("gpt")
    samples = {cell: [stored.sample(cell, 0, is_right=True)]}
    stored.run(workplace.folder / "runs" / "a", samples, state_bytes=0)
    result = workplace.run("report", "a", "--frontier-svg", "f.svg")
    assert result.exit_code == 2
    assert "no model of these runs tells its state" in result.stderr
    assert workplace.run("report", "a", "--html", "r.html").exit_code == 0
    assert "<h2>The frontier</h2>" not in Path("r.html").read_text()
