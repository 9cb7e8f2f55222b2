"""A holdout is read once, and no second study may call the same bars fresh."""

import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.core import LakeError
from cappuccino_ml.verdict import HoldoutLedger, Reading

DATA = {"source": "files", "tickers": ["BTC", "ETH"], "quote": "USD"}


def hours(first: int, bars: int) -> np.ndarray:
    return np.datetime64("2024-01-01", "us") + np.arange(first, first + bars) * np.timedelta64(3600, "s")


class Computation:
    """Counts how often it is asked."""

    def __init__(self, bars: int, seed: int = 0) -> None:
        self.calls = 0
        self._frame = pd.DataFrame(
            np.random.default_rng(seed).normal(size=(bars, 2)) / 100, columns=["candidate", "cash"]
        )

    def __call__(self) -> pd.DataFrame:
        self.calls += 1
        return self._frame


def read(ledger: HoldoutLedger, study: str, first: int, bars: int, *, trials: int = 10, data: dict = DATA) -> Reading:
    return ledger.read(study=study, data=data, timestamps=hours(first, bars), trials=trials, compute=Computation(bars))[
        0
    ]


def test_asking_again_returns_the_stored_result_and_computes_nothing(tmp_path: Path) -> None:
    once, never = Computation(50), Computation(50, seed=1)
    arguments = {"study": "s1", "data": DATA, "timestamps": hours(0, 50), "trials": 10}
    first, frame = HoldoutLedger(tmp_path).read(**arguments, compute=once)
    again, same = HoldoutLedger(tmp_path).read(**arguments, compute=never)
    assert (once.calls, never.calls) == (1, 0)
    assert first == again
    assert first.fresh
    pd.testing.assert_frame_equal(frame, same)
    assert np.array_equal(frame[["candidate", "cash"]].to_numpy(), once().to_numpy())
    assert frame.index[0] == pd.Timestamp("2024-01-01", tz="UTC")


def test_what_was_read_can_be_recalled_and_recalling_reads_nothing(tmp_path: Path) -> None:
    ledger = HoldoutLedger(tmp_path / "ledger")
    assert ledger.recall("s1") is None
    assert not (tmp_path / "ledger").exists()
    reading = read(ledger, "s1", 0, 50)
    recalled = ledger.recall("s1")
    assert recalled is not None
    assert recalled[0] == reading
    assert len(recalled[1]) == 50
    assert ledger.recall("s2") is None
    assert ledger.readings() == (reading,)


def test_a_second_study_on_overlapping_bars_is_not_fresh_and_is_told_who_read_them(tmp_path: Path) -> None:
    ledger = HoldoutLedger(tmp_path)
    read(ledger, "s1", 0, 50)
    second = read(ledger, "s2", 40, 50)
    assert (second.fresh, second.fresh_bars, second.earlier_studies) == (False, 40, ("s1",))
    assert read(ledger, "s1", 0, 50).fresh  # what was true at the first reading stays on record
    third = read(ledger, "s3", 90, 50)
    assert (third.fresh, third.fresh_bars, third.earlier_studies) == (True, 50, ())


def test_other_data_is_another_holdout(tmp_path: Path) -> None:
    ledger = HoldoutLedger(tmp_path)
    read(ledger, "s1", 0, 50)
    other = read(ledger, "s2", 0, 50, data=DATA | {"tickers": ["BTC", "AVAX"]})
    assert (other.fresh, other.trials_so_far) == (True, 10)


def test_trials_accumulate_over_studies_on_the_same_data(tmp_path: Path) -> None:
    ledger = HoldoutLedger(tmp_path)
    assert [read(ledger, f"s{n}", 60 * n, 50, trials=10 * n).trials_so_far for n in (1, 2, 3)] == [10, 30, 60]
    read(ledger, "s3", 180, 50, trials=999)  # asking again adds nothing


def test_trials_of_studies_that_never_came_to_a_verdict_count_too(tmp_path: Path) -> None:
    ledger = HoldoutLedger(tmp_path)
    read(ledger, "s1", 0, 50, trials=10)
    # s1 measured two more than it completed, s2 (this one) is counted by what it completed, s3 was stopped.
    reading, _ = ledger.read(
        study="s2",
        data=DATA,
        timestamps=hours(60, 50),
        trials=5,
        compute=Computation(50),
        measured={"s1": 12, "s2": 6, "s3": 7},
        champion="abc",
    )
    assert (reading.trials_so_far, reading.unfinished_studies, reading.champion) == (5 + 12 + 7, 1, "abc")
    # A folder that has been deleted takes no trials back.
    assert read(ledger, "s4", 120, 50, trials=1).trials_so_far == 1 + 10 + 5


def test_one_study_cannot_read_two_holdouts(tmp_path: Path) -> None:
    ledger = HoldoutLedger(tmp_path)
    read(ledger, "s1", 0, 50)
    with pytest.raises(LakeError, match="a new holdout is a new study"):
        read(ledger, "s1", 10, 50)
    with pytest.raises(LakeError, match="a new holdout is a new study"):
        read(ledger, "s1", 0, 50, data={"source": "ccxt"})


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    ledger = HoldoutLedger(tmp_path)
    read(ledger, "s1", 0, 50)
    file = tmp_path / "s1" / "returns.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(LakeError, match="is not the file that study s1 stored"):
        read(ledger, "s1", 0, 50)


def test_a_computation_that_fails_or_gives_nonsense_leaves_nothing_behind(tmp_path: Path) -> None:
    ledger = HoldoutLedger(tmp_path)

    def broken() -> pd.DataFrame:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        ledger.read(study="s1", data=DATA, timestamps=hours(0, 50), trials=1, compute=broken)
    for frame in (pd.DataFrame({"candidate": [0.0] * 49}), pd.DataFrame({"candidate": [np.nan] * 50})):
        with pytest.raises(ValueError, match="50 rows"):
            ledger.read(study="s1", data=DATA, timestamps=hours(0, 50), trials=1, compute=lambda frame=frame: frame)
    assert ledger.readings() == ()


@pytest.mark.parametrize("study", ["../s1", "", ".hidden", "a/b"])
def test_a_key_that_is_not_a_plain_name_is_refused(tmp_path: Path, study: str) -> None:
    with pytest.raises(ValueError, match="study key"):
        read(HoldoutLedger(tmp_path), study, 0, 50)


def test_of_studies_that_ask_at_once_exactly_one_is_fresh(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("fork")
    fresh = processes.SimpleQueue()
    # Not a pool: its end is a SIGTERM, which a process forked from this one may have inherited a handler for.
    studies = [
        processes.Process(
            target=lambda study: fresh.put(read(HoldoutLedger(tmp_path), study, 0, 50).fresh), args=(name,)
        )
        for name in ("s0", "s1", "s2", "s3")
    ]
    for study in studies:
        study.start()
    for study in studies:
        study.join(60)
    assert [study.exitcode for study in studies] == [0] * len(studies)
    assert sum(fresh.get() for _ in studies) == 1
