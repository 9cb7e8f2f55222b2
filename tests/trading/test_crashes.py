"""Every fault of an order, each also with a kill at every single write to the ledger, before the row and after it."""

from pathlib import Path

import pytest

from .faulty import check
from .order_faults import FAULTS, desk_of, run

pytestmark = pytest.mark.usefixtures("quick_features")


@pytest.mark.parametrize("name", FAULTS)
def test_p1_p2_p3_every_fault_with_a_crash_at_every_ledger_write(tmp_path: Path, name: str):
    desk, _ = desk_of(tmp_path / "clean", FAULTS[name])
    run(desk, FAULTS[name])
    rows = len(desk.kinds())
    desk.close()
    assert rows >= 7
    for crash_at in range(1, rows + 1):
        for after in (False, True):
            desk, broker = desk_of(tmp_path / f"{crash_at}{after}", FAULTS[name])
            run(desk, FAULTS[name], crash_at=crash_at, after=after)
            check(desk, broker)
            desk.close()
