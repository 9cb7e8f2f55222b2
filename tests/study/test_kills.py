"""Workers killed at random: the trials, their states and their bytes are those of one worker left in peace."""

import multiprocessing
import random
from pathlib import Path

import pytest

from benchmarks.study_kills import Task, differences, disturb, prepare, study
from cappuccino_ml.environment import Guards
from cappuccino_ml.study import StudySettings, run_study

from .conftest import SPACE, Lab

LIVELY = SPACE.model_copy(update={"guards": Guards(dead_band=0.0)})  # else so little training is flat: nothing to prune
SETTINGS = StudySettings(trials_per_side=4, generation=4, prune_after=2, space=LIVELY)


def task(lab: Lab, root: Path) -> Task:
    return Task(
        dataset_folder=lab.dataset.folder,
        encoders=lab.encoders,
        settings=SETTINGS,
        root=root,
        workers=1,
        log=root / "log.txt",
    )


def test_eight_trials_with_two_workers_and_kills_are_those_of_one_worker(lab: Lab, tmp_path: Path) -> None:
    calm, disturbed = (task(lab, tmp_path / name) for name in ("calm", "disturbed"))
    calm.root.mkdir()
    study(calm)
    chance, lines, killed = random.Random(7), list[str](), list[int]()

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) in (2, 5):
            victim = chance.choice(multiprocessing.active_children())
            victim.kill()
            killed.append(victim.pid or 0)

    result = run_study(lab.dataset, SETTINGS, encoders=lab.encoders, root=disturbed.root, workers=2, say=say)
    assert len(set(killed)) == 2
    assert len(lines) == len(result.trials) == 8
    assert result.count("pruned") > 0
    assert result.count("failed") == 0
    assert differences(calm, disturbed) == []


@pytest.mark.slow  # a study that is killed itself takes seconds to start again
def test_a_study_killed_with_its_workers_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    calm = prepare(tmp_path / "calm", trials=24, workers=1)
    study(calm)
    (tmp_path / "cut").mkdir()
    cut = calm.model_copy(update={"root": tmp_path / "cut" / "studies", "workers": 2, "log": tmp_path / "cut" / "log"})
    done = disturb(cut, seed=3, worker_kills=4, study_kills=2, pause_s=4.0, tell=lambda line: None)
    assert done.study_kills >= 1
    assert differences(calm, cut) == []
