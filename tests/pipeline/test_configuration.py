"""The environment: what is read, what is refused, and that each refusal is one sentence."""

import os
from pathlib import Path

import pytest

from cappuccino_ml.core import ConfigurationError
from cappuccino_pipeline.configuration import Configuration


def read(tmp_path: Path, **variables: str) -> Configuration:
    return Configuration.read({"CAPPUCCINO_STATE": str(tmp_path / "state"), "HOME": "/root", **variables})


def test_an_empty_environment_is_the_simulated_market(tmp_path: Path):
    configuration = read(tmp_path)
    assert (configuration.source, configuration.budget, configuration.universe.quote) == (
        "simulated",
        "small",
        "USD",
    )
    assert configuration.workers == os.cpu_count()
    assert configuration.state == tmp_path / "state"
    assert configuration.state.is_dir()


def test_every_value_is_read(tmp_path: Path):
    configuration = read(
        tmp_path,
        CAPPUCCINO_SOURCE="placebo",
        CAPPUCCINO_TICKERS="btc, AVAX",
        CAPPUCCINO_QUOTE="eur",
        CAPPUCCINO_TIMEFRAME="4h",
        CAPPUCCINO_BUDGET="full",
        CAPPUCCINO_SEARCH="aggressive",
        CAPPUCCINO_WORKERS="3",
        CAPPUCCINO_SEED="11",
    )
    assert configuration.source == "placebo"
    assert configuration.universe.symbols == ("BTC-EUR", "AVAX-EUR")
    assert configuration.universe.timeframe == "4h"
    assert (configuration.budget, configuration.workers, configuration.seed) == ("full", 3, 11)
    assert configuration.search == "aggressive"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"CAPPUCCINO_SOURCE": "kraken"}, ["CAPPUCCINO_SOURCE", "kraken", "simulated, placebo, files"]),
        ({"CAPPUCCINO_BUDGET": "huge"}, ["CAPPUCCINO_BUDGET", "small, full"]),
        ({"CAPPUCCINO_SEARCH": "wide"}, ["CAPPUCCINO_SEARCH", "wide", "budget, complete"]),
        ({"CAPPUCCINO_WORKERS": "0"}, ["CAPPUCCINO_WORKERS", "at least 1"]),
        ({"CAPPUCCINO_WORKERS": "two"}, ["CAPPUCCINO_WORKERS", "'two'"]),
        ({"CAPPUCCINO_SEED": "-1"}, ["CAPPUCCINO_SEED", "at least 0"]),
        ({"CAPPUCCINO_TIMEFRAME": "2h"}, ["CAPPUCCINO_TIMEFRAME", "'2h'", "1m, 5m"]),
        ({"CAPPUCCINO_TICKERS": "BTC,,ETH"}, ["CAPPUCCINO_TICKERS", "BTC,,ETH"]),
        ({"CAPPUCCINO_TICKERS": "BTC,BTC"}, ["CAPPUCCINO_TICKERS", "BTC", "twice"]),
        ({"CAPPUCCINO_SOURCE": "files"}, ["CAPPUCCINO_FILES_DIR"]),
        ({"CAPPUCCINO_SOURCE": "ccxt"}, ["CAPPUCCINO_EXCHANGE", "kraken or coinbase"]),
        ({"CAPPUCCINO_SOURCE": "alpaca", "CAPPUCCINO_URL": "http://me:hush@proxy"}, ["CAPPUCCINO_URL", "password"]),
        ({"CAPPUCCINO_SOURCE": "alpaca", "CAPPUCCINO_SINCE": "2024"}, ["CAPPUCCINO_SINCE", "'2024'", "2024-01-01"]),
        ({"CAPPUCCINO_SOURCE": "alpaca", "CAPPUCCINO_SINCE": "2999-01-01"}, ["CAPPUCCINO_SINCE", "future"]),
        ({"CAPPUCCINO_SOURCE": "files", "CAPPUCCINO_FILES_DIR": "/nowhere/at/all"}, ["/nowhere/at/all"]),
        ({"CAPPUCCINO_SORCE": "files"}, ["CAPPUCCINO_SORCE", "did you mean CAPPUCCINO_SOURCE"]),
        ({"CAPPUCCINO_XYZ": ""}, ["CAPPUCCINO_XYZ"]),
    ],
)
def test_a_wrong_value_is_one_sentence_with_the_way_out(tmp_path: Path, variables: dict[str, str], words: list[str]):
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, **variables)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_state_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be made"):
        Configuration.read({"CAPPUCCINO_STATE": str(tmp_path / "file" / "state")})


def test_the_quote_of_files_is_the_one_their_names_agree_on(tmp_path: Path):
    folder = tmp_path / "files"
    folder.mkdir()
    variables = {"CAPPUCCINO_SOURCE": "files", "CAPPUCCINO_FILES_DIR": str(folder)}
    with pytest.raises(ConfigurationError, match="holds no Parquet"):
        read(tmp_path, **variables)
    (folder / "BTC-USDT.parquet").touch()
    (folder / "ethusdt.csv").touch()
    assert read(tmp_path, **variables).universe.quote == "USDT"
    (folder / "LTC-EUR.csv").touch()
    with pytest.raises(ConfigurationError, match="EUR, USDT"):
        read(tmp_path, **variables)
    assert read(tmp_path, **variables, CAPPUCCINO_QUOTE="EUR").universe.quote == "EUR"
