"""The launch form of the data set: days and a budget, checked before anything runs, kept for later stages."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from pydantic import ValidationError

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import DataError
from cappuccino_ml.study import SplitSettings
from cappuccino_pipeline.assets.training import training_dataset
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.dataset_form import Budget, DatasetForm
from cappuccino_pipeline.demo import run_job
from cappuccino_pipeline.jobs import months_tags
from cappuccino_pipeline.plans import Plan, plan_for
from cappuccino_pipeline.resources import Cappuccino

PLAN = Plan(splits=SplitSettings(folds=1, holdout_share=0.2, paper_bars=24, max_lookback=2, memory_bars=40))


@pytest.fixture(scope="module")
def cappuccino(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cappuccino]:
    configuration = Configuration(state=tmp_path_factory.mktemp("state"), universe=Universe(tickers=("BTC",)))
    made = Cappuccino(configuration, plan=PLAN)
    with dg.DagsterInstance.ephemeral() as instance:
        run_job(made, instance, "update_bars", tags=months_tags(first="2024-01", last="2024-03"))
    return made


def freeze(cappuccino: Cappuccino, **form: object) -> None:
    result = dg.materialize(
        [training_dataset],
        selection=[training_dataset],
        resources={"cappuccino": cappuccino},
        run_config=dg.RunConfig({"training_dataset": DatasetForm(**form)}),  # type: ignore[arg-type]
    )
    assert result.success


def test_with_nothing_filled_in_every_stored_bar_is_used_and_the_configured_budget(cappuccino: Cappuccino):
    freeze(cappuccino)
    config = cappuccino.dataset.config
    assert (config.first, config.last) == (
        datetime(2024, 1, 1, tzinfo=UTC),
        datetime(2024, 3, 31, 23, tzinfo=UTC),
    )
    assert cappuccino.budget == cappuccino.configuration.budget == "small"


def test_the_chosen_days_are_used_the_last_one_included_and_the_budget_holds_for_later_stages(cappuccino: Cappuccino):
    freeze(cappuccino, first="2024-01-15", last="2024-03-20", budget=Budget.full)
    config = cappuccino.dataset.config
    assert (config.first, config.last) == (
        datetime(2024, 1, 15, tzinfo=UTC),
        datetime(2024, 3, 20, 23, tzinfo=UTC),
    )
    again = Cappuccino(cappuccino.configuration)
    assert again.budget == "full"
    assert again.plan == plan_for("full", seed=cappuccino.configuration.seed)
    freeze(cappuccino)
    assert Cappuccino(cappuccino.configuration).budget == "small"


def test_a_range_that_is_too_short_stops_with_the_library_s_sentence_and_changes_nothing(cappuccino: Cappuccino):
    freeze(cappuccino)
    before = cappuccino.dataset.key
    with pytest.raises(DataError, match="give a longer range of bars"):
        freeze(cappuccino, first="2024-03-01", last="2024-03-20", budget=Budget.full)
    assert (cappuccino.dataset.key, cappuccino.budget) == (before, "small")


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"first": "yesterday"}, "not a day such as 2024-06-01"),
        ({"last": "2024-13-01"}, "not a day such as 2024-06-01"),
        ({"first": "2024-03-02", "last": "2024-03-01"}, "swap them"),
    ],
)
def test_a_wrong_form_is_refused_with_one_sentence(form: dict[str, str], sentence: str):
    with pytest.raises(ValidationError, match=sentence):
        DatasetForm(**form)  # type: ignore[arg-type]


def test_an_empty_state_folder_has_no_budget_of_its_own(tmp_path: Path):
    assert Cappuccino(Configuration(state=tmp_path, budget="full")).budget == "full"
