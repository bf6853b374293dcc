import html
import json
import os
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from harnessapi.values import Mode

from harness.scoring.intervals import wilson_interval
from harness.way import Prompting

HOSTILE = '</script><img src=x onerror=alert(1)> & "q" \u202e\x00'


class Reader(HTMLParser):
    """What a browser would make of a page: tags that close properly, and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def direct_run(stored: Any, folder: Path, endpoint: str = "rnn", **fields: Any) -> Path:
    """Sizes 4 and 8, 10 samples each; all right at 4, every second at 8."""
    cells = [stored.cell(endpoint, size=size) for size in (4, 8)]
    seed = fields.get("seed", 0)
    return stored.run(
        folder,
        {
            cell: [
                stored.sample(cell, i, is_right=cell.size == 4 or i % 2 == 0, seed=seed)
                for i in range(10)
            ]
            for cell in cells
        },
        **fields,
    )


def search_run(stored: Any, folder: Path, task: str = "assoc_recall") -> Path:
    cell = stored.cell("rnn-rag", task=task, prompting=Prompting.SEARCH, retrieval=Mode.DENSE)
    return stored.run(folder, {cell: [stored.sample(cell, i, is_right=True) for i in range(10)]})


def test_a_report_is_recomputed_from_the_samples(workplace: Any, stored: Any) -> None:
    folder = direct_run(stored, workplace.folder / "runs" / "a")
    (folder / "summary.json").write_text("nonsense")
    result = workplace.run("report", "a", "--json")
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["size"], row["correct"], row["n"]) for row in rows] == [(4, 10, 10), (8, 5, 10)]
    assert rows[1]["ci95"] == list(wilson_interval(5, 10))
    assert rows[1]["state_bytes"] == 2048
    assert rows[1]["generated_tokens_per_sample"] == 3
    assert rows[1]["bound"] == 1.0


def test_the_tables_say_what_a_report_is_asked_for(workplace: Any, stored: Any) -> None:
    direct_run(stored, workplace.folder / "runs" / "a")
    search_run(stored, workplace.folder / "runs" / "b")
    result = workplace.run("report", "a", "runs/b")
    assert result.exit_code == 0, result.stderr
    for words in (
        "run 1: a, rnn, seed 0, 10 samples a cell",
        "run 2: b, rnn-rag",
        "family x task x way",
        "accuracy against size",
        "accuracy against state",
        "0.237-0.763",
        "no answer",
        "truncated",
        "errored",
        "TTFT p50 ms",
        "tokens/s",
        "inserted",
        "generated",
        "search dense",
    ):
        assert words in result.stdout


def test_a_search_that_cannot_find_the_answer_is_said_to_be_one(
    workplace: Any, stored: Any
) -> None:
    search_run(stored, workplace.folder / "runs" / "a", task="index")
    search_run(stored, workplace.folder / "runs" / "b")
    assert "index with dense search cannot be answered" in workplace.run("report", "a").stdout
    assert "cannot be answered" not in workplace.run("report", "b").stdout
    assert workplace.run("report", "a", "--html", "a.html").exit_code == 0
    assert "index with dense search cannot be answered" in Path("a.html").read_text()


def test_runs_of_one_name_and_the_same_cells_are_told_apart(workplace: Any, stored: Any) -> None:
    direct_run(stored, workplace.folder / "runs" / "a")
    direct_run(stored, workplace.folder / "runs" / "b", seed=1)
    result = workplace.run("report", "a", "b")
    for label in ("rnn (run 1)", "rnn (run 2)"):
        assert label in result.stdout


def test_states_of_other_widths_under_one_name_are_told_apart(workplace: Any, stored: Any) -> None:
    for size, bits in ((4, 64), (8, 128)):
        cell = stored.cell("narrow", size=size)
        samples = {cell: [stored.sample(cell, 0, is_right=True)]}
        folder = stored.run(workplace.folder / "runs" / str(bits), samples)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["endpoints"][0]["model"]["state_bits"] = bits
        (folder / "manifest.json").write_text(json.dumps(manifest))
    result = workplace.run("report", "64", "128")
    for label in ("narrow (run 1)", "narrow (run 2)"):
        assert label in result.stdout


def test_the_same_samples_are_pooled_once(workplace: Any, stored: Any) -> None:
    for name, seed in (("a", 0), ("again", 0), ("b", 1)):
        direct_run(stored, workplace.folder / "runs" / name, seed=seed)
    result = workplace.run("report", "a", "again", "b")
    pools = result.stdout.partition("family x task")[2].partition("accuracy against size")[0]
    assert re.search(r"0\.750\s+0\.\d+-0\.\d+\s+40\s", pools)


def test_a_torn_last_line_is_a_missing_sample(workplace: Any, stored: Any) -> None:
    folder = direct_run(stored, workplace.folder / "runs" / "a")
    os.truncate(folder / "samples.jsonl", (folder / "samples.jsonl").stat().st_size - 20)
    result = workplace.run("report", "a")
    assert result.exit_code == 0
    assert "1 missing: harness eval --resume" in result.stdout


def damage_line(folder: Path, number: int, text: str) -> None:
    lines = (folder / "samples.jsonl").read_text().splitlines()
    lines[number - 1] = text or lines[0].replace('"num_attempts": 1', '"num_attempts": 2')
    (folder / "samples.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "line 3"),
        ("[]", "line 3: Expected `object`, got `array`"),
        ("{}", "line 3: Object missing required field `num_prompt_tokens`"),
        ("", "line 3: sample assoc_recall/alphabet=128,size=4/test/seed=0/index=0"),
    ],
)
def test_a_damaged_run_is_named_and_the_others_reported(
    workplace: Any, stored: Any, text: str, reason: str
) -> None:
    folder = direct_run(stored, workplace.folder / "runs" / "a")
    damage_line(folder, 3, text)
    search_run(stored, workplace.folder / "runs" / "b")
    result = workplace.run("report", "a", "b", "--html", "r.html", "--json")
    assert result.exit_code == 4
    for words in (str(Path("a", "samples.jsonl")), reason, "--resume", "Restore it"):
        assert words in result.stderr
    assert [json.loads(line)["run"] for line in result.stdout.splitlines()] == ["b"]
    page = Reader(Path("r.html").read_text())
    assert "Left out: " in page.text
    assert "rnn-rag" in page.text


def test_a_folder_without_a_manifest_is_a_damaged_run(workplace: Any, stored: Any) -> None:
    folder = direct_run(stored, workplace.folder / "runs" / "a")
    (folder / "manifest.json").unlink()
    result = workplace.run("report", "runs/a")
    assert result.exit_code == 4
    assert "restore the file" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "unknown run 'nope'"),
        (["a", "--sample", "x"], "need --html"),
        (["a", "--html", "r.html", "--sample", "x"], "no sample 'x' in a"),
        (["a", "--html", "no/r.html"], "cannot write no/r.html"),
        (["a", "--html", "r.html", "--samples-dir", "manifest/x"], "cannot write sample pages"),
        (["a", "copy"], "are the same run"),
    ],
)
def test_a_wrong_report_command_exits_2(
    workplace: Any, stored: Any, arguments: list[str], message: str
) -> None:
    folder = direct_run(stored, workplace.folder / "runs" / "a")
    copy = workplace.folder / "runs" / "copy"
    copy.mkdir()
    (copy / "manifest.json").write_text((folder / "manifest.json").read_text())
    (workplace.folder / "manifest").write_text("a file")
    result = workplace.run("report", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def hash_of(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def policy_of(text: str) -> dict[str, list[str]]:
    [policy] = re.findall(r'"Content-Security-Policy" content="([^"]*)"', text)
    parts = (part.split() for part in html.unescape(policy).split(";"))
    return {name: sources for name, *sources in parts}


def test_a_page_is_well_formed_loads_nothing_and_runs_our_script_alone(
    workplace: Any, stored: Any
) -> None:
    direct_run(stored, workplace.folder / "runs" / "a")
    search_run(stored, workplace.folder / "runs" / "b")
    result = workplace.run("report", "a", "b", "--html", "r.html")
    assert result.exit_code == 0, result.stderr
    text = Path("r.html").read_text()
    page = Reader(text)
    assert page.tags.isdisjoint({"img", "link", "iframe", "object"})
    assert {"svg", "table", "details", "figure", "title"} <= page.tags
    assert not re.search(r"https?:|url\(|@import|//\w", text)
    policy = policy_of(text)
    assert policy["default-src"] == ["'none'"]
    for name, source in (("script", "script-src"), ("style", "style-src")):
        [inline] = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        assert policy[source] == [hash_of(inline)]
    assert not [name for name, _ in page.attributes if name == "style"]
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]


def test_text_of_a_model_is_shown_and_never_markup(workplace: Any, stored: Any) -> None:
    cell = stored.cell("rnn", prompting=Prompting.SEARCH, retrieval=Mode.REGEX)
    step = {"query": HOSTILE, "mode": "regex", "outcome": HOSTILE, "inserted_text": HOSTILE}
    line = stored.sample(
        cell,
        0,
        is_right=False,
        prompt=HOSTILE,
        answer=HOSTILE,
        target=HOSTILE,
        finish_reason=HOSTILE,
        transcript=[[channel, HOSTILE] for channel in ("reasoning", "query", "inserted", HOSTILE)],
        searches=[{**step, "detail": HOSTILE, "expanded_query": HOSTILE, "elapsed_ms": 1.0}],
    )
    stored.run(workplace.folder / "runs" / "a", {cell: [line]}, family=HOSTILE)
    options = ("--html", "r.html")
    assert workplace.run("report", "a", *options, "--samples-dir", "pages").exit_code == 0
    assert workplace.run("report", "a", "--html", "s.html", "--sample", line["address"])
    pages = [Path("r.html"), Path("s.html"), *Path("pages").iterdir()]
    assert len(pages) == 4
    for path in pages:
        page = Reader(path.read_text())
        assert "img" not in page.tags
        assert page.text.count('"use strict"') == (path.name == "r.html")
        assert ("script" in page.tags) == (path.name == "r.html")
        assert "\u202e" not in page.text
        assert path.name.startswith("cell") or "</script><img src=x onerror=alert(1)>" in page.text


def test_a_transcript_tells_query_inserted_and_generated_text_apart(
    workplace: Any, stored: Any
) -> None:
    search_run(stored, workplace.folder / "runs" / "b")
    workplace.run("report", "b", "--html", "r.html")
    text = Path("r.html").read_text()
    assert 'class="query" title="generated by the model: a query">&lt;search&gt; fem' in text
    assert 'class="inserted" title="inserted by the search">[fem bab]' in text


def test_a_query_that_was_expanded_is_shown_with_what_was_searched(
    workplace: Any, stored: Any
) -> None:
    cell = stored.cell("rnn", prompting=Prompting.SEARCH, retrieval=Mode.REGEX)
    step = {
        "query": "3 ~",
        "outcome": "found",
        "inserted_text": "5",
        "expanded_query": r"3 ~ (\S+)",
    }
    line = stored.sample(cell, 0, is_right=True, searches=[step])
    stored.run(workplace.folder / "runs" / "a", {cell: [line]})
    workplace.run("report", "a", "--html", "r.html")
    page = Reader(Path("r.html").read_text())
    assert "searched for" in page.text
    assert r"3 ~ (\S+)" in page.text


def test_samples_are_capped_and_the_cap_is_said(workplace: Any, stored: Any) -> None:
    cell = stored.cell("rnn")
    lines = [stored.sample(cell, i, is_right=i >= 30) for i in range(60)]
    stored.run(workplace.folder / "runs" / "a", {cell: lines})
    workplace.run("report", "a", "--html", "r.html")
    text = Path("r.html").read_text()
    assert "30 of 60 right; 30 shown" in text
    assert "the first 20 that are not right and the first 10 that are" in text


def hrefs(path: Path) -> list[str]:
    return [v for name, v in Reader(path.read_text()).attributes if name == "href"]


def test_sample_pages_lead_on_back_and_to_their_neighbours(workplace: Any, stored: Any) -> None:
    direct_run(stored, workplace.folder / "runs" / "a")
    Path("out").mkdir()
    workplace.run("report", "a", "--html", "out/r.html", "--samples-dir", "pages")
    [cell] = [path for path in Path("pages").glob("cell-*") if "size=8" in path.read_text()]
    assert "../out/r.html" in hrefs(cell)
    samples = [Path("pages", page) for page in hrefs(cell) if page.startswith("sample-")]
    [page] = [
        path for path in samples if "<h1>" in path.read_text() and "index=0<" in path.read_text()
    ]
    walk = [page]
    while following := re.search(r'<a href="([^"]*)">next', walk[-1].read_text()):
        walk.append(Path("pages", following[1]))
        assert f'<a href="{walk[-2].name}">previous' in walk[-1].read_text()
        assert {"../out/r.html", cell.name} <= set(hrefs(walk[-1]))
    assert sorted(walk) == sorted(samples)


def test_a_cells_page_has_a_list_and_a_count_for_every_verdict(workplace: Any, stored: Any) -> None:
    cell = stored.cell("rnn")
    lines = [stored.sample(cell, i, is_right=i < 3) for i in range(8)]
    lines[-1]["verdict"] = "no_answer"
    stored.run(workplace.folder / "runs" / "a", {cell: lines})
    workplace.run("report", "a", "--html", "r.html", "--samples-dir", "pages")
    [path] = Path("pages").glob("cell-*")
    text = path.read_text()
    for verdict, words, count in (
        ("correct", "correct", 3),
        ("wrong", "wrong", 4),
        ("no_answer", "no answer", 1),
    ):
        assert f'<a href="#{verdict}">{words} ({count})</a>' in text
        own = text.partition(f'<section id="{verdict}">')[2].partition("</section>")[0]
        assert own.count("<li>") == count


def figures(text: str) -> dict[str, str]:
    found = re.findall(r"<figure>\s*<h3>(.*?)</h3>(.*?)</figure>", text, re.DOTALL)
    return dict(found)


def test_a_task_with_and_without_search_is_one_panel(workplace: Any, stored: Any) -> None:
    direct_run(stored, workplace.folder / "runs" / "a")
    search_run(stored, workplace.folder / "runs" / "b")
    workplace.run("report", "a", "b", "--html", "r.html")
    drawn = figures(Path("r.html").read_text())
    assert list(drawn) == ["assoc_recall", "assoc_recall, size 4", "assoc_recall, size 8"]
    panel = drawn["assoc_recall"]
    for label in ("rnn, direct", "rnn-rag, search dense"):
        assert f"<bdi>{label}</bdi>" in panel
    # One with a search: its mark in the chart, and in the legend.
    assert panel.count('class="point hollow"') == 2


def test_marks_that_would_cover_each_other_stand_side_by_side(workplace: Any, stored: Any) -> None:
    cells = [stored.cell(name, size=size) for name in ("a", "b", "c") for size in (4, 8)]
    samples = {cell: [stored.sample(cell, i, is_right=True) for i in range(5)] for cell in cells}
    stored.run(workplace.folder / "runs" / "a", samples)
    workplace.run("report", "a", "--html", "r.html")
    svg = figures(Path("r.html").read_text())["assoc_recall"].partition("</svg>")[0]
    places = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="(.*?)" cy="(.*?)"', svg)]
    assert len(places) == 6
    assert len({y for _, y in places}) == 1
    across = sorted(x for x, _ in places)
    assert min(b - a for a, b in pairwise(across)) >= 7.9


def test_no_tick_is_cut_at_the_edge(workplace: Any, stored: Any) -> None:
    cells = [stored.cell(name) for name in ("a", "b")]
    samples = {cell: [stored.sample(cell, 0, is_right=True)] for cell in cells}
    folder = stored.run(workplace.folder / "runs" / "a", samples)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["endpoints"][1]["model"]["state_bytes"] = 400_000
    (folder / "manifest.json").write_text(json.dumps(manifest))
    workplace.run("report", "a", "--html", "r.html")
    panel = figures(Path("r.html").read_text())["assoc_recall, size 4"]
    [x] = re.findall(r'<text x="([0-9.]+)"[^>]*text-anchor="middle"[^>]*>512K<', panel)
    width = float(re.findall(r'viewBox="0 0 ([0-9.]+)', panel)[0])
    assert float(x) + 7 * len("512K") / 2 <= width


def test_the_top_says_the_finding(workplace: Any, stored: Any) -> None:
    for name, right in (("rnn", 1), ("rnn-rag", 40)):
        way = {"prompting": Prompting.SEARCH, "retrieval": Mode.DENSE} if "-" in name else {}
        cell = stored.cell(name, **way)
        lines = [stored.sample(cell, i, is_right=i < right) for i in range(40)]
        stored.run(workplace.folder / "runs" / f"of-{name}", {cell: lines})
    workplace.run("report", "of-rnn", "of-rnn-rag", "--html", "r.html")
    assert (
        "assoc_recall at 4 key-value pairs: rnn, direct, 0.025; the same weights with search "
        "1.000 (n = 40 each)."
    ) in Path("r.html").read_text()


def test_a_task_that_a_model_was_not_trained_on_is_marked(workplace: Any, stored: Any) -> None:
    cells = [stored.cell("rnn", task=task) for task in ("assoc_recall", "parity")]
    samples = {cell: [stored.sample(cell, i, is_right=False) for i in range(5)] for cell in cells}
    stored.run(workplace.folder / "runs" / "a", samples, trained_tasks=("assoc_recall",))
    result = workplace.run("report", "a", "--html", "r.html")
    text = Path("r.html").read_text()
    assert "† not trained on it (rnn: parity)" in result.stdout
    assert "† not trained on it (rnn: parity)" in text
    by_state = result.stdout.partition("accuracy against state")[2]
    assert [line.split()[0] for line in by_state.splitlines() if "0.000†" in line] == ["parity"]
    assert text.count("0.000†") == 1


def test_the_signs_of_a_known_task_are_explained(workplace: Any, stored: Any) -> None:
    cell = stored.cell("rnn-rag", task="is_tree", prompting=Prompting.SEARCH, retrieval=Mode.REGEX)
    stored.run(workplace.folder / "runs" / "a", {cell: [stored.sample(cell, 0, is_right=True)]})
    workplace.run("report", "a", "--html", "r.html", "--samples-dir", "pages")
    for path in (Path("r.html"), *Path("pages").glob("sample-*")):
        text = Reader(path.read_text()).text
        for sign in ("2 ~ 0", "= 3", "<search> $1 ~ </search>", "FAILED", "<regex>"):
            assert sign in text


def test_every_sample_has_a_page_that_the_report_leads_to(workplace: Any, stored: Any) -> None:
    direct_run(stored, workplace.folder / "runs" / "a")
    Path("out").mkdir()
    result = workplace.run("report", "a", "--html", "out/r.html", "--samples-dir", "pages")
    assert result.exit_code == 0, result.stderr
    links = hrefs(Path("out/r.html"))
    lists = [link for link in links if "/cell-" in link]
    assert len(lists) == 2
    pages: set[Path] = set()
    for link in lists:
        path = Path("out") / link
        pages |= {path.parent / page for page in hrefs(path) if page.startswith("sample-")}
    assert len(pages) == 20
    assert all("target" in Reader(page.read_text()).text for page in pages)
    assert {Path("out", link).resolve() for link in links} <= {
        path.resolve() for path in Path("pages").iterdir()
    }


def test_a_page_of_one_sample_shows_every_completion_of_it(workplace: Any, stored: Any) -> None:
    direct_run(stored, workplace.folder / "runs" / "a")
    search_run(stored, workplace.folder / "runs" / "b")
    address = "assoc_recall/alphabet=128,size=4/test/seed=0/index=3"
    result = workplace.run("report", "a", "b", "--html", "s.html", "--sample", address)
    assert result.exit_code == 0, result.stderr
    page = Reader(Path("s.html").read_text())
    assert page.text.count("Completion") == 2
    assert "rnn-rag/assoc_recall/size=4/search/dense/symbolic" in page.text


def test_the_papers_figures_stand_beside_ours(workplace: Any, stored: Any) -> None:
    cell = stored.cell("ssm", task="is_tree", size=16, prompting=Prompting.COT)
    lines = [stored.sample(cell, i, is_right=True) for i in range(5)]
    folder = workplace.folder / "runs" / "a"
    stored.run(folder, {cell: lines}, family="SSM", num_parameters=1_100_000)
    workplace.run("report", "a", "--html", "r.html")
    text = Reader(Path("r.html").read_text()).text
    # Of the three sizes of its model, the nearest is drawn; the table has all.
    assert text.count("paper: RNN (Mamba) + CoT 1M") == 2
    assert "paper: RNN (Mamba) + CoT 2M" not in text
    assert "RNN (Mamba) + CoT 2M" in text
    assert "paper: Transformer" not in text
    assert "arXiv 2402.18510" in text


def test_a_run_of_unknown_state_and_task_is_reported(workplace: Any, stored: Any) -> None:
    cell = stored.cell("far", task="of_tomorrow")
    folder = workplace.folder / "runs" / "a"
    lines = [stored.sample(cell, 0, is_right=True)]
    stored.run(folder, {cell: lines}, family="EXTERNAL", state_bytes=0, num_parameters=0)
    result = workplace.run("report", "a", "--html", "r.html")
    assert result.exit_code == 0, result.stderr
    assert "of_tomorrow" in figures(Path("r.html").read_text())


def test_errored_samples_are_counted_apart(workplace: Any, stored: Any) -> None:
    folder = direct_run(stored, workplace.folder / "runs" / "a")
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
    kept, lost = lines[:-1], json.loads(lines[-1])
    (folder / "samples.jsonl").write_text("".join(kept))
    errors = [json.loads(line) for line in (kept[0], lines[-1])]
    (folder / "errors.jsonl").write_text("".join(json.dumps(e) + "\n" for e in errors))
    result = workplace.run("report", "a", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    # The first was asked again and has its completion since.
    assert [(row["n"], row["errored"]) for row in rows] == [(10, 0), (9, 1)]
    assert lost["cell"].endswith("direct/none/symbolic")


def test_the_effective_length_is_said_where_there_are_sizes(workplace: Any, stored: Any) -> None:
    right = {4: 10, 8: 9, 16: 4}
    samples = {
        stored.cell("rnn", size=size): [
            stored.sample(stored.cell("rnn", size=size), i, is_right=i < number) for i in range(10)
        ]
        for size, number in right.items()
    }
    other = stored.cell("ssm")
    stored.run(
        workplace.folder / "runs" / "a",
        {**samples, other: [stored.sample(other, i, is_right=True) for i in range(10)]},
    )
    result = workplace.run("report", "a", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    told = [(row["effective_length"], row["effective_length_at_least"]) for row in rows]
    assert told == [(8, False)] * 3 + [(None, None)]
    assert "effective length" in workplace.run("report", "a").stdout
    workplace.run("report", "a", "--html", "a.html")
    page = (workplace.folder / "a.html").read_text()
    assert "Effective length" in page
    assert "4, 8, 16" in page
