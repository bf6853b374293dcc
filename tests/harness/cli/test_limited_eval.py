"""`harness eval` with a cost, and with a rule that says when samples are enough."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.scoring.sequential import least_samples, sequential_interval

ASKED = ("eval", "--endpoint", "rnn", "--task", "assoc_recall", "--size", "4", "--json")
PRICED = '[rnn]\ncheckpoint = "rnn"\nprompt_price = 100\ncompletion_price = 1000\n'


def ask(workplace: Any, *options: str) -> Any:
    return workplace.run(*ASKED, "--prompting", "direct", "--concurrency", "8", *options)


def resume(workplace: Any, *options: str) -> Any:
    return workplace.run("eval", "--resume", workplace.only_run().name, "--json", *options)


def summary(workplace: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workplace.only_run() / "summary.json").read_text())
    return found


def limits(workplace: Any) -> Any:
    return json.loads((workplace.only_run() / "manifest.json").read_text())["limits"]


def cost(workplace: Any) -> float:
    read = sum(one["num_prompt_tokens"] for one in workplace.samples())
    written = sum(one["num_generated_tokens"] for one in workplace.samples())
    return (100 * read + 1000 * written) / 1e6


def test_a_cost_ends_a_run_is_stored_and_is_raised_by_a_larger_one(workplace: Any) -> None:
    (workplace.folder / "endpoints.toml").write_text(PRICED)
    result = ask(workplace, "--samples", "100", "--max-cost", "0.15")
    assert result.exit_code == 4, result.stderr
    assert "of 0.15 (--max-cost), and the next sample may cost" in result.stderr
    row = json.loads(result.stdout)
    assert 0 < row["n"] < 100
    assert row["cost"] == pytest.approx(cost(workplace))
    assert 0 < row["cost"] <= 0.15
    assert summary(workplace)["cost"] == row["cost"]
    assert limits(workplace)["max_cost"] == 0.15
    again = resume(workplace)
    assert (again.exit_code, json.loads(again.stdout)["n"]) == (4, row["n"])
    more = resume(workplace, "--max-cost", "0.25")
    assert more.exit_code == 4
    assert row["cost"] < json.loads(more.stdout)["cost"] <= 0.25
    assert limits(workplace)["max_cost"] == 0.25
    done = resume(workplace, "--max-cost", "100")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["n"] == len(workplace.samples()) == 100


def test_what_was_spent_stands_in_the_table_and_in_the_report(workplace: Any) -> None:
    (workplace.folder / "endpoints.toml").write_text(PRICED)
    options = ("--samples", "10", "--max-cost", "5", "--max-tokens-total", "100000")
    result = workplace.run(*ASKED[:-1], *options)
    assert result.exit_code == 0, result.stderr
    tokens, total = summary(workplace)["tokens_spent"], summary(workplace)["cost"]
    assert f"spent {tokens:,} of 100,000 tokens, {total:.4g} of a cost of 5" in result.stdout
    assert f"cost {total:.4f}" in result.stdout
    report = workplace.run("report", workplace.only_run().name, "--html", "r.html")
    assert f"{total:.4f}" in report.stdout
    assert f"{total:.4f}" in (workplace.folder / "r.html").read_text()


def test_a_price_that_changes_is_that_of_all_samples_from_then_on(workplace: Any) -> None:
    (workplace.folder / "endpoints.toml").write_text(PRICED)
    first = json.loads(ask(workplace, "--samples", "100", "--max-cost", "0.15").stdout)
    dear = PRICED.replace("100\n", "200\n").replace("1000\n", "2000\n")
    (workplace.folder / "endpoints.toml").write_text(dear)
    again = resume(workplace)
    assert again.exit_code == 4
    assert json.loads(again.stdout)["cost"] == pytest.approx(2 * first["cost"])


def test_a_cost_without_prices_is_refused_by_endpoint(workplace: Any) -> None:
    result = ask(workplace, "--max-cost", "1")
    assert result.exit_code == 2
    assert "prompt_price, completion_price of rnn" in result.stderr
    assert not list(workplace.folder.glob("runs/*"))
    assert ask(workplace, "--max-cost", "nan").exit_code == 2
    assert ask(workplace, "--max-cost", "0").exit_code == 2


def test_a_cell_is_done_once_its_interval_is_narrow(workplace: Any) -> None:
    workplace.script(wrong_share=0.2)
    result = ask(workplace, "--samples", "100000", "--stop-when", "width=0.3")
    assert result.exit_code == 0, result.stderr
    row = json.loads(result.stdout)
    assert (row["stopped_by"], row["ci95_method"]) == ("width=0.3", "sequential")
    assert row["n"] < 200
    assert row["ci95"] == pytest.approx(sequential_interval(row["correct"], row["n"]))
    assert row["ci95"][1] - row["ci95"][0] <= 0.3
    indices = {int(one["address"].rpartition("=")[2]) for one in workplace.samples()}
    assert indices == set(range(row["n"]))
    assert summary(workplace)["complete"]
    assert "nothing is left to do" in resume(workplace).stderr
    table = workplace.run("report", workplace.only_run().name)
    assert "width=0.3" in table.stdout


def test_a_narrower_width_goes_on_with_the_samples_that_there_are(workplace: Any) -> None:
    first = json.loads(ask(workplace, "--samples", "400", "--stop-when", "width=0.3").stdout)
    assert first["n"] >= least_samples(0.3)
    second = resume(workplace, "--stop-when", "width=0.1")
    assert second.exit_code == 0, second.stderr
    row = json.loads(second.stdout)
    assert (row["stopped_by"], limits(workplace)["stop_when"]) == ("width=0.1", "width=0.1")
    assert first["n"] < least_samples(0.1) <= row["n"] < 400
    everything = resume(workplace, "--stop-when", "none")
    row = json.loads(everything.stdout)
    assert (row["n"], row["stopped_by"], row["ci95_method"]) == (400, None, "wilson")


def test_a_gap_that_a_killed_run_left_is_filled_before_it_is_enough(workplace: Any) -> None:
    ask(workplace, "--samples", "400", "--stop-when", "width=0.3")
    path = Path(workplace.only_run() / "samples.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3] + lines[5:]))
    result = resume(workplace)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["n"] == len(lines)


def test_too_few_samples_for_a_width_are_all_asked_and_said(workplace: Any) -> None:
    result = ask(workplace, "--samples", "10", "--stop-when", "width=0.02")
    assert result.exit_code == 0, result.stderr
    row = json.loads(result.stdout)
    assert (row["n"], row["stopped_by"], row["ci95_method"]) == (10, None, "sequential")
    assert "no 10 samples (--samples) make an interval that narrow" in result.stderr


@pytest.mark.parametrize("rule", ["width=2", "widht=0.1", "accuracy>0.5"])
def test_a_rule_that_there_is_not_is_refused(workplace: Any, rule: str) -> None:
    result = ask(workplace, "--stop-when", rule)
    assert result.exit_code == 2
    assert rule.partition("=")[0] in result.stderr
    assert not list(workplace.folder.glob("runs/*"))


def test_tokens_are_of_the_run_until_they_are_spent(workplace: Any) -> None:
    result = ask(workplace, "--samples", "100", "--max-tokens-total", "900")
    assert result.exit_code == 4
    spent = json.loads(result.stdout)["tokens_spent"]
    assert 0 < spent <= 900
    # By itself it goes on without; with a number, with so many more.
    more = resume(workplace, "--max-tokens-total", "300")
    assert more.exit_code == 4
    assert spent < json.loads(more.stdout)["tokens_spent"] <= spent + 300
    assert limits(workplace)["max_tokens_total"] == spent + 300
    done = resume(workplace)
    assert done.exit_code == 0, done.stderr
    assert "goes on without a limit of tokens" in done.stderr
    assert json.loads(done.stdout)["n"] == 100


def test_a_killed_run_goes_on_under_its_limits(workplace: Any) -> None:
    ask(workplace, "--samples", "100", "--max-tokens-total", "900")
    path = Path(workplace.only_run() / "samples.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:5]))
    result = resume(workplace)
    assert result.exit_code == 4
    row = json.loads(result.stdout)
    assert (row["n"], row["tokens_spent"] <= 900) == (len(lines), True)
