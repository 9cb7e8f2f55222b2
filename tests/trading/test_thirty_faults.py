"""Every one of the thirty faults has a test of its name, and a script that dies at every write to the ledger."""

import re
from pathlib import Path

from . import order_faults, test_trader_on_alpaca, world_faults

TESTS = Path(__file__).resolve().parents[1]
THIRTY = set(range(1, 31))


def numbers(name: str) -> set[int]:
    """Those that follow `fault`, one after the other, in the name of a test."""
    found = re.search(r"fault((?:_(?:fault_)?\d\d)+)", name)
    return {int(number) for number in re.findall(r"\d\d", found[1])} if found else set()


def test_each_fault_has_a_test_of_its_name() -> None:
    named: set[int] = set()
    for path in TESTS.rglob("test_*.py"):
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            named |= numbers(name)
    assert sorted(THIRTY - named) == []


def test_each_fault_has_a_script_with_a_crash_at_every_ledger_write() -> None:
    scripts = [*order_faults.FAULTS, *world_faults.FAULTS, *test_trader_on_alpaca.CRASHES]
    leading = [re.match(r"(?:\d\d )*", script) for script in scripts]
    scripted = {int(number) for found in leading if found for number in found[0].split()}
    assert sorted(THIRTY - scripted) == []
