"""Bars to features: indicators, whole or bar by bar, stationary transform, scaler, schema, checker and MarketTable."""

from cappuccino_ml.features.check import FeatureReport, check_features, check_scaler
from cappuccino_ml.features.findings import FeatureFinding
from cappuccino_ml.features.frame import frame_columns
from cappuccino_ml.features.indicators import raw_indicators
from cappuccino_ml.features.market import MarketTable
from cappuccino_ml.features.rates import missing_rates, outlier_rates
from cappuccino_ml.features.recursive import RecursiveFeatures
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
    "RecursiveFeatures",
    "Scaler",
    "check_features",
    "check_scaler",
    "frame_columns",
    "latest_features",
    "missing_rates",
    "outlier_rates",
    "raw_indicators",
    "stationary",
]
