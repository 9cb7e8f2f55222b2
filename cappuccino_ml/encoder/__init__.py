"""FT-Transformer encoders of market windows and their pre-training by masked feature modelling."""

from cappuccino_ml.encoder.transformer import BALANCED, LARGE, SMALL, EncoderSettings, FTTransformerEncoder
from cappuccino_ml.encoder.windows import windows

__all__ = ["BALANCED", "LARGE", "SMALL", "EncoderSettings", "FTTransformerEncoder", "windows"]
