"""Faults of account, market, clock, disk and process, each also with a kill at every single write to the ledger."""

import contextlib
from pathlib import Path

import pytest

from cappuccino_ml.core import TradingError

from .conftest import CrashError, CrashingLedger
from .faulty import check, state_of
from .test_faults_of_the_world import edit
from .world_faults import FAULTS, FullLedger, WorldFault, desk_of, run

pytestmark = pytest.mark.usefixtures("quick_features")
QUICK = {"17 book long, broker flat", "29 a drawdown, and a recovery", "30 SIGTERM in the middle of a tick"}
NAMES = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAULTS]


def rows_of(folder: Path, fault: WorldFault) -> int:
    desk, broker = desk_of(folder, fault)
    run(desk, fault)
    check(desk, broker)
    fault.then(desk)
    assert bool(state_of(desk).stopped) == fault.halts
    rows = len(desk.kinds())
    desk.close()
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_p1_p2_p3_p7_every_fault_of_the_world_with_a_crash_at_every_ledger_write(tmp_path: Path, name: str):
    fault = FAULTS[name]
    rows = rows_of(tmp_path / "clean", fault)
    assert rows >= 8
    for crash_at in range(1, rows + 1):
        for after in (False, True):
            desk, broker = desk_of(tmp_path / f"{crash_at}{after}", fault)
            run(desk, fault, crash_at=crash_at, after=after)
            check(desk, broker)
            fault.then(desk)
            assert bool(state_of(desk).stopped) == fault.halts
            desk.close()


@pytest.mark.slow
@pytest.mark.parametrize("rows_lost", [1, 4])
def test_fault_30_p2_p10_a_disk_that_is_full_from_any_write_on_loses_and_doubles_nothing(
    tmp_path: Path, rows_lost: int
):
    fault = WorldFault()
    for full_at in range(1, rows_of(tmp_path / "clean", fault) + 1):
        desk, broker = desk_of(tmp_path / f"{full_at}", fault)
        run(desk, fault, ledger=FullLedger, full_at=full_at, full_for=rows_lost)
        check(desk, broker)
        assert not state_of(desk).stopped
        desk.close()


def test_fault_30_p10_a_row_edited_after_a_crash_at_any_write_starts_no_trader(tmp_path: Path):
    fault = WorldFault()
    for crash_at in range(2, rows_of(tmp_path / "clean", fault), 3):
        desk, broker = desk_of(tmp_path / f"{crash_at}", fault)
        with contextlib.suppress(CrashError):
            desk.open(ledger_type=CrashingLedger, crash_at=crash_at, after=True).tick()
        if len(desk.kinds()) < crash_at:  # it lies behind the first bar
            break
        desk.close()
        sent = len(broker.posts)
        edit(desk, crash_at)
        with pytest.raises(TradingError, match=f"row {crash_at} of ledger"):
            desk.open()
        assert len(broker.posts) == sent
        desk.close()
