"""Paper trading: broker port, orders, ledger, the trader, deployment, replay of history and its report."""

from cappuccino_ml.trading.alpaca_broker import AlpacaBroker, AlpacaRules
from cappuccino_ml.trading.broker import (
    AccessRefusedError,
    Account,
    Broker,
    BrokerBusyError,
    BrokerSilentError,
    DuplicateOrderError,
    Quote,
)
from cappuccino_ml.trading.deployment import (
    Deployment,
    Followed,
    Refusal,
    deploy,
    follow_registry,
    model_to_trade,
    read_deployment,
    wanted,
)
from cappuccino_ml.trading.engine import Tick, Trader
from cappuccino_ml.trading.feed import BarFeed, PanelFeed
from cappuccino_ml.trading.following import DeploymentFollower, OneModel
from cappuccino_ml.trading.health import Health, health_problems, read_health
from cappuccino_ml.trading.hosts import require_paper_host
from cappuccino_ml.trading.journal import Mode
from cappuccino_ml.trading.ledger import Ledger, Row, is_held, read_ledger
from cappuccino_ml.trading.limits import NO_LIMITS, Limits
from cappuccino_ml.trading.model import ModelFailedError, TradingModel
from cappuccino_ml.trading.open_quotes import OpenQuotes
from cappuccino_ml.trading.orders import Order, OrderState, Status, client_order_id
from cappuccino_ml.trading.pace import AT_ONCE, Pace
from cappuccino_ml.trading.record import OrderTrace, faults_of, fills_of, trace_order
from cappuccino_ml.trading.replay import Session, replay, research_act, research_sizes, shadow_backtest
from cappuccino_ml.trading.report import Comparison, compare
from cappuccino_ml.trading.service import Service
from cappuccino_ml.trading.session import SessionReport, read_session, rehearse, run_session
from cappuccino_ml.trading.simulated_broker import Habits, SimulatedBroker
from cappuccino_ml.trading.source_feed import SourceFeed, SourceQuotes
from cappuccino_ml.trading.state import TradingState, release, restrict
from cappuccino_ml.trading.stored_broker import StoredBroker

__all__ = [
    "AT_ONCE",
    "NO_LIMITS",
    "AccessRefusedError",
    "Account",
    "AlpacaBroker",
    "AlpacaRules",
    "BarFeed",
    "Broker",
    "BrokerBusyError",
    "BrokerSilentError",
    "Comparison",
    "Deployment",
    "DeploymentFollower",
    "DuplicateOrderError",
    "Followed",
    "Habits",
    "Health",
    "Ledger",
    "Limits",
    "Mode",
    "ModelFailedError",
    "OneModel",
    "OpenQuotes",
    "Order",
    "OrderState",
    "OrderTrace",
    "Pace",
    "PanelFeed",
    "Quote",
    "Refusal",
    "Row",
    "Service",
    "Session",
    "SessionReport",
    "SimulatedBroker",
    "SourceFeed",
    "SourceQuotes",
    "Status",
    "StoredBroker",
    "Tick",
    "Trader",
    "TradingModel",
    "TradingState",
    "client_order_id",
    "compare",
    "deploy",
    "faults_of",
    "fills_of",
    "follow_registry",
    "health_problems",
    "is_held",
    "model_to_trade",
    "read_deployment",
    "read_health",
    "read_ledger",
    "read_session",
    "rehearse",
    "release",
    "replay",
    "require_paper_host",
    "research_act",
    "research_sizes",
    "restrict",
    "run_session",
    "shadow_backtest",
    "trace_order",
    "wanted",
]
