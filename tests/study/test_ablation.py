"""The ablation changes one thing at a time, and nothing else: steps, seeds, rows, settings and encoders' rows agree."""

from pathlib import Path

import pytest

from cappuccino_ml.encoder import BALANCED, EncoderSettings
from cappuccino_ml.environment import Layout
from cappuccino_ml.study import AblationSettings, ablation_cases, ablation_jobs, load_dataset, run_ablation
from cappuccino_ml.study.variants import fit_and_time

SETTINGS = AblationSettings(
    steps=256,
    seeds=2,
    lookbacks=(1, 2),
    short_lookback=1,
    net_dimension=16,
    layout=Layout(timestamps=4, environments=4, steps=16, episode_bars=32),
)


@pytest.fixture
def planned(lab, tmp_path: Path):
    fold = lab.dataset.splits.folds[-1]
    return ablation_jobs(lab.dataset, SETTINGS, encoder=lab.encoders["fold-1"], fold=fold, root=tmp_path)


def test_every_factor_of_the_specification_is_there_and_compared_with_what_differs_in_it_alone():
    cases = {case.variant.name: case for case in ablation_cases(BALANCED, AblationSettings())}
    assert {case.variant.factor for case in cases.values()} == {
        "none", "tokenization", "lookback", "fusion", "freezing", "pre-training", "encoder",
    }  # fmt: skip
    changed = {"tokenization": "tokenization", "lookback": "lookback", "fusion": "fusion"}
    for case in cases.values():
        for other in case.variant.against:
            ours, theirs = (
                {**one.encoder.model_dump(), "arm": one.arm, "freeze": one.freeze} for one in (case, cases[other])
            )
            differing = {name for name in ours if ours[name] != theirs[name]}
            expected = {"freezing": "freeze", "pre-training": "arm", "encoder": "arm"} | changed
            assert differing == {expected[case.variant.factor]}, case.variant.name
    assert [case.encoder.lookback for case in cases.values() if case.variant.factor == "lookback"] == [3, 6]


def test_a_short_lookback_that_is_the_encoders_own_is_compared_with_the_default():
    cases = {case.variant.name: case for case in ablation_cases(EncoderSettings(lookback=3), AblationSettings())}
    assert cases["scalar tokens, lookback 3"].variant.against == ("default",)
    assert "lookback 3" not in cases


def test_variants_share_steps_seeds_rows_and_all_settings_but_the_agent(lab, planned):
    encoders, jobs = planned
    splits = load_dataset(lab.dataset.folder).splits
    for (name, seed), job in jobs.items():
        twin = jobs["default", seed]
        agent = {"agent": twin.training.agent}
        assert job.training.model_copy(update=agent) == twin.training
        assert (job.seed, job.train_rows, job.test_rows) == (twin.seed, twin.train_rows, twin.test_rows)
        assert job.test_rows[1] <= splits.development[1]
        assert (job.encoder_key is not None) is (name in encoders)
        assert job.encoder_key == (encoders[name].key if name in encoders else None)
    assert len({job.seed for job in jobs.values()}) == SETTINGS.seeds
    assert len({job.key for job in jobs.values()}) == len(jobs)


def test_the_default_and_the_frozen_variant_begin_with_the_studys_own_encoder(lab, planned):
    encoders, _ = planned
    own = lab.encoders["fold-1"]
    assert encoders["default"] == encoders["frozen encoder"] == own
    for job in encoders.values():
        assert (job.rows, job.seed, job.pretraining) == (own.rows, own.seed, own.pretraining)


def test_a_finished_ablation_is_only_read(lab, tmp_path):
    fold = lab.dataset.splits.folds[-1]
    small = SETTINGS.model_copy(update={"seeds": 1})

    def run(said: list[str]):
        return run_ablation(
            lab.dataset,
            small,
            encoder=lab.encoders["fold-1"],
            fold=fold,
            root=tmp_path,
            workers=1,
            say=said.append,
        )

    first = run([])
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = run([])
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps
    assert [run.variant for run in first.runs] == [case.variant.name for case in first.cases]
    assert all(run.wall_s is not None and run.wall_s > 0 for run in first.runs)
    assert set(first.encoder_r2) == {case.variant.name for case in first.cases if case.arm == "ft_pretrained"}


def test_the_time_of_an_interrupted_training_is_not_known(lab, planned):
    _, jobs = planned
    job = jobs["no encoder (mlp)", 0]
    (job.root / f".{job.key}.resume").mkdir(parents=True)
    assert fit_and_time(job).wall_s is None
    assert fit_and_time(job).wall_s is None
    assert fit_and_time(jobs["no encoder (mlp)", 1]).wall_s is not None
