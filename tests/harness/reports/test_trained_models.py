"""Checkpoints that differ in the seed of their training alone are one model."""

from dataclasses import replace
from typing import Any

import pytest
from harnessapi.values import Mode, TrainedBy

from harness.reports.model_pages import asked_alike, model_pages
from harness.reports.trained_models import over_trainings, spread, trained_models
from harness.way import Prompting

SEARCH = {"prompting": Prompting.SEARCH, "retrieval": Mode.DENSE}


def test_seeds_of_one_recipe_and_shape_are_one_model_whatever_their_endpoints_are_called(
    trained_cell: Any,
) -> None:
    cells = [trained_cell("gru", right, seed=seed) for seed, right in ((3, 60), (1, 20), (2, 40))]
    other = trained_cell("lstm", 100)
    renamed = replace(cells[0], label="anything")
    models = trained_models([renamed, *cells[1:], other])
    assert [(model.name, len(model.trainings)) for model in models] == [("gru", 3), ("lstm", 1)]
    assert [cell.model.trained_by.seed for cell in models[0].trainings] == [1, 2, 3]  # type: ignore[union-attr]


def test_every_training_counts_alike_in_the_mean_however_many_samples_it_was_asked(
    trained_cell: Any,
) -> None:
    one, other = trained_cell("gru", 200, seed=1), trained_cell("gru", 0, seed=2)
    # Three times as many samples of the second, by another seed of the samples.
    more = [replace(other, seed=number) for number in (1, 2)]
    found = spread([other, one, *more])
    assert found is not None
    assert (found.accuracies, found.mean, found.low, found.high) == ((1.0, 0.0), 0.5, 0.0, 1.0)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"state_bytes": 4096}, ["gru, 1.0 KiB", "gru, 4.0 KiB"]),
        ({"state_bits": 64, "state_bytes": 8}, ["gru", "gru, 64 bits"]),
        ({"cache_policy": "tova=64"}, ["gru", "gru, tova=64"]),
        ({"num_parameters": 300_000}, ["gru, 0.2M parameters", "gru, 0.3M parameters"]),
        (
            {"trained_by": TrainedBy(recipe="other", model="gru", seed=2)},
            ["gru, frontier", "gru, other"],
        ),
    ],
)
def test_another_recipe_shape_or_part_of_the_state_is_another_model_with_a_name_of_its_own(
    trained_cell: Any, fields: dict[str, Any], names: list[str]
) -> None:
    cells = [trained_cell("gru", 20), trained_cell("gru", 20, seed=2, **fields)]
    assert [model.name for model in trained_models(cells)] == names


def test_a_checkpoint_that_does_not_say_how_it_was_trained_is_a_model_of_its_own(
    trained_cell: Any,
) -> None:
    cells = [
        trained_cell("rnn", 20, seed=None, checkpoint_digest="one"),
        trained_cell("rnn-rag", 200, seed=None, checkpoint_digest="one", **SEARCH),
        trained_cell("rnn-2", 30, seed=None, checkpoint_digest="two"),
        # Servers that are not ours have no digests.
        trained_cell("gpt", 30, seed=None, checkpoint_digest=""),
        trained_cell("claude", 30, seed=None, checkpoint_digest=""),
    ]
    models = trained_models(cells)
    assert [model.name for model in models] == ["rnn", "rnn-2", "gpt", "claude"]
    assert {len(model.trainings) for model in models} == {1}
    assert [row.first.way for row in asked_alike(models[0])] == ["direct", "search dense"]


def test_cells_of_all_trainings_become_one_with_their_mean_and_range(trained_cell: Any) -> None:
    cells = [trained_cell("gru", right, seed=seed) for seed, right in ((1, 20), (2, 60))]
    alone = trained_cell("lstm", 100)
    merged, kept = over_trainings(trained_models([*cells, alone]))
    assert (merged.label, merged.metrics.accuracy, merged.metrics.ci95) == ("gru", 0.2, (0.1, 0.3))
    assert (merged.metrics.n, merged.metrics.correct) == (400, 80)
    assert (kept.label, kept.metrics) == ("lstm", alone.metrics)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ('{"model_type": "gru", "hidden_size": 64}', {"model_type": "gru", "hidden_size": "64"}),
        ("", {}),
        ("[1]", {}),
        ("{", {"config.json": "{"}),
    ],
)
def test_a_config_is_shown_as_far_as_it_is_told(
    trained_cell: Any, text: str, config: dict[str, str]
) -> None:
    [page] = model_pages(trained_models([trained_cell("gru", 20, config_json=text)]))
    assert page.config == config
