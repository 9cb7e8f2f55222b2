"""A nightly update of bars: what it costs on ten years of history against one, and what it writes with nothing new."""

import gc
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cappuccino_ml.bars import SimulatedSource, Universe, bars_table, ingest_month, months_between

TARGET_GROWTH, TARGET_WRITES = 1.2, 0
END = datetime(2031, 1, 1, tzinfo=UTC)
MARKET = SimulatedSource(start=datetime(2021, 1, 1, tzinfo=UTC), end=END)
UNIVERSE = Universe()
FIRST_NIGHT = datetime(2030, 11, 2, 2, 30, tzinfo=UTC)
NIGHTS = 58  # two months; every night both tables get the same day of bars


@dataclass
class History:
    """A table with some years behind it, and what its updates took."""

    root: Path
    years: int
    update_ms: list[float] = field(default_factory=list)
    idle_ms: list[float] = field(default_factory=list)
    writes: int = 0  # files written or touched by updates with nothing new
    requests: int = 0  # of updates of complete months

    def build(self) -> None:
        for month in months_between(FIRST_NIGHT.replace(year=FIRST_NIGHT.year - self.years, month=12), FIRST_NIGHT):
            self.update(FIRST_NIGHT - timedelta(days=1), month=month)

    def update(self, now: datetime, *, month: str | None = None) -> dict[str, Any]:
        """As a nightly process does it: open the table, bring the running month up to date."""
        table = bars_table(self.root, source=MARKET, universe=UNIVERSE)
        return ingest_month(MARKET, table, UNIVERSE, month or f"{now:%Y-%m}", now=now)

    def night(self, now: datetime) -> None:
        began = time.perf_counter()
        facts = self.update(now)
        self.update_ms.append(1e3 * (time.perf_counter() - began))
        assert facts["new_rows"] > 0
        before = self.files()
        began = time.perf_counter()
        self.update(now)
        self.idle_ms.append(1e3 * (time.perf_counter() - began))
        complete = self.update(now, month=f"{FIRST_NIGHT - timedelta(days=40):%Y-%m}")
        self.requests += sum(map(len, complete["asked"].values()))
        after = self.files()
        self.writes += sum(before.get(path) != after.get(path) for path in before.keys() | after.keys())

    def files(self) -> dict[Path, tuple[int, int, int]]:
        found = {path: path.stat() for path in self.root.rglob("*")}
        return {path: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for path, stat in found.items()}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        one, ten = (History(Path(folder) / str(years), years=years) for years in (1, 10))
        for history in (one, ten):
            history.build()
        gc.collect()
        gc.disable()  # a collection would hit one of the two by chance
        for night in range(NIGHTS):
            for history in (one, ten) if night % 2 else (ten, one):
                history.night(FIRST_NIGHT + timedelta(days=night))
        (table,) = ten.root.glob("bars/*")
        manifest_kb = (table / "manifest.json").stat().st_size / 1e3
    one_ms, ten_ms = (statistics.median(history.update_ms) for history in (one, ten))
    one_idle, ten_idle = (statistics.median(history.idle_ms) for history in (one, ten))
    growth, writes, requests = ten_ms / one_ms, one.writes + ten.writes, one.requests + ten.requests
    print(f"{'':44}{'1 year':>10}{'10 years':>10}{'growth':>10}{'target':>10}")
    print(f"{'nightly update, ms':44}{one_ms:>10.1f}{ten_ms:>10.1f}{growth:>10.2f}{f'<= {TARGET_GROWTH}':>10}")
    print(f"{'update with nothing new, ms':44}{one_idle:>10.1f}{ten_idle:>10.1f}{ten_idle / one_idle:>10.2f}")
    print(
        f"{'files written or touched with nothing new':44}{one.writes:>10}{ten.writes:>10}{'':>10}{TARGET_WRITES:>10}"
    )
    print(f"{'requests for a complete month':44}{one.requests:>10}{ten.requests:>10}{'':>10}{0:>10}")
    print(f"medians of {NIGHTS} nights, {len(UNIVERSE.tickers)} tickers, hourly; the manifest has {manifest_kb:.0f} kB")
    result = {
        "update_growth_10y_over_1y": round(growth, 3),
        "noop_writes": writes,
        "complete_month_requests": requests,
        "update_ms_1y": round(one_ms, 2),
        "update_ms_10y": round(ten_ms, 2),
        "noop_ms_1y": round(one_idle, 2),
        "noop_ms_10y": round(ten_idle, 2),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
