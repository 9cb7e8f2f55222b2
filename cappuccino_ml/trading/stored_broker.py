"""A simulated account that outlives its process: every order is on disk before anybody hears of it."""

from pathlib import Path
from typing import Any

from cappuccino_ml.core import LakeError, TradingError, write_bytes
from cappuccino_ml.trading.broker import BrokerSilentError
from cappuccino_ml.trading.orders import Order, OrderState
from cappuccino_ml.trading.simulated_broker import SimulatedBroker


class StoredBroker(SimulatedBroker):
    """`SimulatedBroker` with its books in a file. What happens later to an order is fixed when it is accepted."""

    def __init__(self, path: Path, **settings: Any) -> None:
        """Open the account in `path`, or a new one; `settings` are those of `SimulatedBroker`.

        Raises:
            TradingError: the file cannot be read.
        """
        super().__init__(**settings)
        self._path = path
        if path.exists():
            try:
                self.restore(path.read_text())
            except (OSError, ValueError, LookupError, TypeError) as error:
                raise TradingError(f"the simulated account {path} cannot be read ({error}); restore a copy.") from error
        else:
            self._store()

    def submit(self, order: Order) -> OrderState:
        """As the simulated broker does, kept before the answer goes out; a disk that refuses is a silent broker."""
        answer = super().submit(order)
        self._store()
        return answer

    def cancel(self, client_order_id: str) -> None:
        """As the simulated broker does, kept."""
        super().cancel(client_order_id)
        self._store()

    def _store(self) -> None:
        try:
            write_bytes(self._path, self.snapshot().encode())
        except LakeError as error:
            raise BrokerSilentError(f"the simulated account was not kept: {error}") from error
