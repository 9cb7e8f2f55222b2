"""`cappuccino explain ORDER`: an order followed back to its model, bar, features, verdict and data."""

from collections.abc import Iterator
from pathlib import Path

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading.ledger import read_ledger
from cappuccino_ml.trading.record import OrderTrace, trace_order
from cappuccino_pipeline.resources import Cappuccino


def explain(cappuccino: Cappuccino, order_id: str) -> list[str]:
    """Lines `name: value` on an order of any ledger of this market.

    Raises:
        TradingError: no ledger has it, or the ledger that has it was altered.
        CheckpointError: the registry no longer has the model.
    """
    ledger, trace = find_order(cappuccino.configuration.trading_root, order_id)
    facts = cappuccino.registry.facts(trace.version)
    same = "the same" if facts["model_key"] == trace.model else f"NOT the same: {facts['model_key']}"
    price = f" at {trace.price}" if trace.price else ""
    equity = "" if trace.equity is None else f", equity {trace.equity:,.2f}"
    wanted = f"action {trace.action:+.4f}, so {trace.decided:+.8f} of {trace.symbol} was decided"
    return [
        f"order: {trace.order_id}, {trace.side} {trace.quantity} {trace.symbol}",
        f"became: {' > '.join(trace.steps)}, filled {trace.filled}{price}{trace.reason and f' ({trace.reason})'}",
        f"bar: closed {trace.bar_close:%Y-%m-%d %H:%M} UTC{equity}",
        f"wanted: {wanted}",
        f"features: {trace.features}; cash and weights {', '.join(f'{share:.3f}' for share in trace.entries)}",
        f"model: version {trace.version}, key {trace.model}, the registry's is {same}",
        f"verdict: {facts['outcome']} of study {facts['study_key']}",
        f"data: {facts['data_manifest']}, schema {facts['schema_hash'][:12]}, bars {facts['source']}",
        f"made by: Dagster run {facts['dagster_run_id'] or 'none'}; MLflow {facts['run_url']}",
        f"ledger: {ledger}, rows {', '.join(map(str, trace.rows))}, chain intact",
    ]


def find_order(root: Path, order_id: str) -> tuple[Path, OrderTrace]:
    """The ledger below `root` that has the order, the live one first, and what it says of it."""
    for ledger in _ledgers(root):
        rows = read_ledger(ledger)
        if any(row.kind == "order" and row.payload["id"] == order_id for row in rows):
            return ledger, trace_order(rows, order_id)
    raise TradingError(
        f"no ledger below {root} has an order {order_id}; ids begin with cap- and stand in paper_trading_report."
    )


def _ledgers(root: Path) -> Iterator[Path]:
    """Every ledger, those nearest to the root first."""
    yield from sorted(root.rglob("*.sqlite"), key=lambda path: (len(path.parts), path))
