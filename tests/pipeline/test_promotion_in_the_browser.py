"""A person promotes and rolls back in MLflow's own page, in a real browser; the running sensor deploys what was said.

Each step leaves a screenshot in the test's folder.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cappuccino_ml.trading import read_deployment
from cappuccino_pipeline.dagster_home import open_instance

from .browser import MARKS, Person, chromium, served, wait_for, wait_for_deployment
from .promotion_desk import Desk, open_desk

pytestmark = MARKS


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_instance(tmp_path / "state" / "dagster") as instance:
        yield open_desk(tmp_path, instance)
    os.environ.pop("DAGSTER_HOME", None)


def test_a_promotion_a_rollback_and_a_withdrawal_by_hand_are_followed(desk: Desk, tmp_path: Path) -> None:
    configuration = desk.cappuccino.configuration
    album, record = tmp_path / "album", configuration.deployment_record
    album.mkdir()
    made = []

    with chromium() as page, served(desk) as addresses:
        person = Person(page, addresses["MLflow"], configuration.model_name, album)
        person.give("champion", to="1")
        made.append(wait_for_deployment(record, version="1", alias="champion"))
        person.give("champion", to="2")
        made.append(wait_for_deployment(record, version="2", alias="champion"))
        person.give("champion", to="1")  # rolled back by moving the alias
        made.append(wait_for_deployment(record, version="1", alias="champion"))
        person.give("challenger", to="2")
        made.append(wait_for_deployment(record, version="2", alias="challenger"))
        made.append(wait_for_deployment(record, version="2", alias="champion"))  # its replayed session is a go
        person.take("champion", version="2")
        wait_for(lambda: read_deployment(record) is None, "no deployment")

    assert [one.previous for one in made] == [None, "1", "2", "1", "2"]
    assert len({one.who for one in made}) == 5
    assert all(one.who.startswith("dagster run") and len(one.checks) == 4 for one in made)
    assert desk.cappuccino.aliases() == {}
    assert len(list(album.glob("*.png"))) == 10
