"""Bars to features: indicators, the stationary transform, the scaler, the schema with its hash, and the MarketTable."""

from cappuccino_ml.features.check import FeatureFinding, FeatureReport, check_features
from cappuccino_ml.features.frame import frame_columns
from cappuccino_ml.features.indicators import raw_indicators
from cappuccino_ml.features.market import MarketTable
from cappuccino_ml.features.scaler import Scaler
from cappuccino_ml.features.schema import FEATURES, FEATURES_VERSION, WARM_UP_BARS, FeatureSchema
from cappuccino_ml.features.stationary import CONTEXT_BARS, latest_features, stationary

__all__ = [
    "CONTEXT_BARS",
    "FEATURES",
    "FEATURES_VERSION",
    "WARM_UP_BARS",
    "FeatureFinding",
    "FeatureReport",
    "FeatureSchema",
    "MarketTable",
    "Scaler",
    "check_features",
    "frame_columns",
    "latest_features",
    "raw_indicators",
    "stationary",
]
