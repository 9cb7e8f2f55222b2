"""The configuration of a run: every CAPPUCCINO_* variable is read here and nowhere else."""

import difflib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError

from cappuccino_ml.bars.alpaca_source import KEY_NAMES
from cappuccino_ml.bars.file_names import quote_of_files
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import ConfigurationError, Settings, digest

PREFIX = "CAPPUCCINO_"
VARIABLES = {
    "CAPPUCCINO_STATE": "folder for everything that is made (default: data_lake in the repository)",
    "CAPPUCCINO_SOURCE": "where bars come from: simulated, placebo, files, ccxt or alpaca (default: simulated)",
    "CAPPUCCINO_FILES_DIR": "for files: a folder of Parquet, Feather or CSV files named like BTC-USD",
    "CAPPUCCINO_EXCHANGE": "for ccxt: its name of the exchange, such as kraken, coinbase or binance",
    "CAPPUCCINO_SINCE": "for ccxt and alpaca: day of the first bars, such as 2024-01-01 (default: 2023-01-01)",
    "CAPPUCCINO_URL": "for ccxt and alpaca: another address of the same interface, such as a proxy",
    "CAPPUCCINO_TICKERS": "comma list, in order (default: BTC,ETH,LTC,BCH,LINK,UNI,AAVE)",
    "CAPPUCCINO_QUOTE": "quote currency (default: USD; for files, the one all file names agree on)",
    "CAPPUCCINO_TIMEFRAME": "bar length: 1m 5m 15m 30m 1h 4h 1d (default: 1h)",
    "CAPPUCCINO_BUDGET": "how much to train: small or full (default: small)",
    "CAPPUCCINO_SEARCH": "ranges of the study: budget, complete, conservative, aggressive or best (default: budget)",
    "CAPPUCCINO_WORKERS": "parallel processes (default: the number of cores)",
    "CAPPUCCINO_BROKER": "whose paper account the trader uses: simulated or alpaca (default: simulated)",
    "CAPPUCCINO_ALERT_URL": "webhook that alerts are posted to; a secret, never printed (default: none)",
    "CAPPUCCINO_SEED": "seed of everything random (default: 7)",
}
DEFAULT_SEED = 7
DEFAULT_SINCE = datetime(2023, 1, 1, tzinfo=UTC)
SOURCES = ("simulated", "placebo", "files", "ccxt", "alpaca")
SEARCHES = ("budget", "complete", "conservative", "aggressive", "best")
REPOSITORY = Path(__file__).resolve().parents[1]


class Configuration(Settings):
    """What a run was asked to do. Made by `Configuration.read`; tests construct it directly."""

    state: Path = Field(description="absolute folder for everything that is made")
    source: Literal["simulated", "placebo", "files", "ccxt", "alpaca"] = "simulated"
    files_folder: Path | None = None
    exchange: str | None = Field(None, description="for ccxt: which exchange, by ccxt's id")
    since: datetime = Field(DEFAULT_SINCE, description="for ccxt and alpaca: first bar open asked for, UTC")
    url: str | None = Field(None, description="for ccxt and alpaca: another address of the same interface")
    broker: Literal["simulated", "alpaca"] = "simulated"
    alert_url: SecretStr | None = Field(None, description="webhook for alerts")
    alpaca_key: SecretStr | None = None
    alpaca_secret: SecretStr | None = None
    universe: Universe = Universe()
    budget: Literal["small", "full"] = "small"
    search: Literal["budget", "complete", "conservative", "aggressive", "best"] = "budget"
    workers: int = Field(1, ge=1)
    seed: int = Field(DEFAULT_SEED, ge=0)

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> "Configuration":
        """The configuration in `environment` (default: the process's), with its state folder made.

        Raises:
            ConfigurationError: an unknown CAPPUCCINO_ variable, a value outside the allowed ones, a folder that is
                missing or cannot be written.
        """
        environment = os.environ if environment is None else environment
        # An empty variable means "not set": that is how shells and compose files switch one off.
        given = {name: value.strip() for name, value in environment.items() if name.startswith(PREFIX)}
        for name in given:
            _require_known(name)
        given = {name: value for name, value in given.items() if value}
        source = _one_of(given, "CAPPUCCINO_SOURCE", SOURCES, default="simulated")
        files_folder = _files_folder(given) if source == "files" else None
        tickers = _tickers(given)
        quote = given.get("CAPPUCCINO_QUOTE") or (
            quote_of_files(files_folder, tickers=tickers) if files_folder else "USD"
        )
        values = {
            "state": _writable_folder(Path(given.get("CAPPUCCINO_STATE") or REPOSITORY / "data_lake")),
            "source": source,
            "files_folder": files_folder,
            **(_venue(given, source=source) if source in ("ccxt", "alpaca") else {}),
            **_broker(given, environment, source=source, quote=quote.upper()),
            "alert_url": given.get("CAPPUCCINO_ALERT_URL"),
            "universe": _universe(tickers=tickers, quote=quote, timeframe=given.get("CAPPUCCINO_TIMEFRAME", "1h")),
            "budget": _one_of(given, "CAPPUCCINO_BUDGET", ("small", "full"), default="small"),
            "search": _one_of(given, "CAPPUCCINO_SEARCH", SEARCHES, default="budget"),
            "workers": _whole_number(given, "CAPPUCCINO_WORKERS", default=os.cpu_count() or 1, least=1),
            "seed": _whole_number(given, "CAPPUCCINO_SEED", default=DEFAULT_SEED, least=0),
        }
        return cls.model_validate(values)

    @property
    def market(self) -> str:
        """Names what is traded, such as `simulated-usd-1h`: models and sessions of different markets never mix."""
        name = f"{self.exchange or self.source}-{self.universe.quote.lower()}-{self.universe.timeframe}"
        ours = [list(self.universe.tickers), str(self.files_folder or self.seed)]
        default = [list(Universe().tickers), str(DEFAULT_SEED)]
        return name if ours == default else f"{name}-{digest(ours)[:6]}"

    @property
    def datasets_root(self) -> Path:
        """Frozen training data, one folder per key."""
        return self.state / "datasets"

    @property
    def encoders_root(self) -> Path:
        """Pre-trained encoders, one folder per key."""
        return self.state / "encoders"

    @property
    def studies_root(self) -> Path:
        """Optuna journals, trials and their agents."""
        return self.state / "studies"

    @property
    def comparisons_root(self) -> Path:
        """Trainings of the comparison of arms."""
        return self.state / "comparisons"

    @property
    def experiments_root(self) -> Path:
        """Trainings by hand, of ablation and transfer, with the data sets and encoders that only they use."""
        return self.state / "experiments"

    @property
    def refits_root(self) -> Path:
        """Nightly refits of the incumbent."""
        return self.state / "refits"

    @property
    def verdicts_root(self) -> Path:
        """Evidence on candidates."""
        return self.state / "verdicts"

    @property
    def models_root(self) -> Path:
        """Verified copies of registered models."""
        return self.state / "models"

    @property
    def trading_root(self) -> Path:
        """Deployment record and sessions, apart for each source: a model of simulated bars never trades others."""
        return self.state / "trading" / self.market

    @property
    def deployment_record(self) -> Path:
        """Which model is on the paper account."""
        return self.trading_root / "deployment.json"

    @property
    def model_name(self) -> str:
        """The registered model of this market."""
        return f"cappuccino-{self.market}"

    @property
    def account_root(self) -> Path:
        """The trader's ledger, health and log, apart for each broker."""
        return self.trading_root / self.broker

    @property
    def health_file(self) -> Path:
        """What the trader says of itself."""
        return self.account_root / "health.json"

    @property
    def wish_file(self) -> Path:
        """Whether the trader should run, as it was last asked for."""
        return self.account_root / "wanted.json"

    @property
    def trader_log(self) -> Path:
        """What a trader that was started apart says."""
        return self.account_root / "trader.log"

    @property
    def ledger_file(self) -> Path:
        """Every decision and order of the account."""
        return self.account_root / "ledger.sqlite"

    @property
    def kill_file(self) -> Path:
        """While it exists, the trader sends nothing."""
        return self.account_root / "KILL"

    @property
    def mlflow_root(self) -> Path:
        """The registry's database and artifacts."""
        return self.state / "mlflow"

    @property
    def mlflow_database(self) -> Path:
        """SQLite file; absent until something is registered."""
        return self.mlflow_root / "mlflow.db"

    @property
    def mlflow_address_file(self) -> Path:
        """Address of MLflow's page as it was served last; absent before, and after a port that any free one was."""
        return self.mlflow_root / "address.txt"

    @property
    def mlflow_uri(self) -> str:
        """SQLAlchemy address of `mlflow_database`."""
        return f"sqlite:///{self.mlflow_database}"

    @property
    def dagster_home(self) -> Path:
        """DAGSTER_HOME: run history, schedules, sensors."""
        return self.state / "dagster"

    @property
    def reports_root(self) -> Path:
        """Pages and pictures."""
        return self.state / "reports" / self.market

    @property
    def alerts_file(self) -> Path:
        """One JSON line per failed run and per alarm of the trader."""
        return self.state / "alerts.jsonl"


def _require_known(name: str) -> None:
    if name not in VARIABLES:
        near = difflib.get_close_matches(name, VARIABLES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the known ones are {', '.join(VARIABLES)}."
        raise ConfigurationError(f"{name} is not a variable of Cappuccino; {hint}")


def _one_of(given: Mapping[str, str], name: str, allowed: tuple[str, ...], *, default: str) -> str:
    value = given.get(name, default)
    if value not in allowed:
        raise ConfigurationError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}.")
    return value


def _whole_number(given: Mapping[str, str], name: str, *, default: int, least: int) -> int:
    text = given.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise ConfigurationError(f"{name} is {text!r}; it must be a whole number of at least {least}.")
    return int(text)


def _tickers(given: Mapping[str, str]) -> tuple[str, ...]:
    if "CAPPUCCINO_TICKERS" not in given:
        return Universe().tickers
    tickers = tuple(ticker.strip().upper() for ticker in given["CAPPUCCINO_TICKERS"].split(","))
    if not all(ticker.isalnum() for ticker in tickers):
        raise ConfigurationError(
            f"CAPPUCCINO_TICKERS is {given['CAPPUCCINO_TICKERS']!r}; it must be a comma list like BTC,ETH."
        )
    return tickers


def _universe(*, tickers: tuple[str, ...], quote: str, timeframe: str) -> Universe:
    try:
        return Universe(tickers=tickers, quote=quote.upper(), timeframe=timeframe)
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{PREFIX}{str(first['loc'][0]).upper()}: {reason}.") from error


def _writable_folder(path: Path) -> Path:
    folder = path.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the state folder {folder} cannot be made ({error.strerror}); set CAPPUCCINO_STATE to one you can write."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"the state folder {folder} cannot be written; set CAPPUCCINO_STATE to one you can write."
        )
    return folder


def _broker(given: Mapping[str, str], environment: Mapping[str, str], *, source: str, quote: str) -> dict[str, object]:
    """Whose account, and Alpaca's keys where it is the broker or the source; they come under the vendor's own names."""
    broker = _one_of(given, "CAPPUCCINO_BROKER", ("simulated", "alpaca"), default="simulated")
    if "alpaca" not in (broker, source):
        return {"broker": broker}
    key, secret = (environment.get(name, "").strip() or None for name in KEY_NAMES)
    if broker == "alpaca" and not (key and secret):
        raise ConfigurationError(
            f"CAPPUCCINO_BROKER is alpaca, so {' and '.join(KEY_NAMES)} must hold the keys of a paper account."
        )
    if broker == "alpaca" and quote != "USD":
        raise ConfigurationError(f"CAPPUCCINO_QUOTE is {quote}, but Alpaca's paper account trades coins in USD.")
    return {"broker": broker, "alpaca_key": key, "alpaca_secret": secret}


def _venue(given: Mapping[str, str], *, source: str) -> dict[str, object]:
    """What reaches an exchange."""
    exchange = given.get("CAPPUCCINO_EXCHANGE", "").lower() or None
    if source == "ccxt" and exchange is None:
        raise ConfigurationError(
            "CAPPUCCINO_SOURCE is ccxt, so CAPPUCCINO_EXCHANGE must name the exchange, such as kraken or coinbase."
        )
    if "@" in given.get("CAPPUCCINO_URL", ""):
        raise ConfigurationError(
            "CAPPUCCINO_URL holds a user or a password, which would end in logs; give an address without them."
        )
    return {
        "exchange": exchange if source == "ccxt" else None,
        "since": _day(given, "CAPPUCCINO_SINCE", default=DEFAULT_SINCE),
        "url": given.get("CAPPUCCINO_URL"),
    }


def _day(given: Mapping[str, str], name: str, *, default: datetime) -> datetime:
    if name not in given:
        return default
    try:
        day = datetime.strptime(given[name], "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigurationError(f"{name} is {given[name]!r}; it must be a day such as 2024-01-01.") from error
    if day > datetime.now(UTC):
        raise ConfigurationError(f"{name} is {given[name]}, which lies in the future; it must be a day that has begun.")
    return day


def _files_folder(given: Mapping[str, str]) -> Path:
    if "CAPPUCCINO_FILES_DIR" not in given:
        raise ConfigurationError(
            "CAPPUCCINO_SOURCE is files, so CAPPUCCINO_FILES_DIR must name the folder that holds them."
        )
    folder = Path(given["CAPPUCCINO_FILES_DIR"]).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigurationError(
            f"CAPPUCCINO_FILES_DIR is {folder}, which is not a folder; name the one that holds the bar files."
        )
    return folder
