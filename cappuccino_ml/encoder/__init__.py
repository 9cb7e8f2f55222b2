"""FT-Transformer encoders of market windows and their pre-training by masked feature modelling."""

from cappuccino_ml.encoder.attribution import attention_rollout, importance, integrated_gradients
from cappuccino_ml.encoder.checkpoint import (
    EncoderConfig,
    LoadedEncoder,
    Transfer,
    load_encoder,
    load_masked_model,
    read_history,
    save_encoder,
)
from cappuccino_ml.encoder.epochs import PretrainingSettings
from cappuccino_ml.encoder.masking import sample_masks
from cappuccino_ml.encoder.pretraining import Epoch, Pretrained, pretrain
from cappuccino_ml.encoder.settings import BALANCED, LARGE, SMALL, EncoderSettings, Fusion, Tokenization
from cappuccino_ml.encoder.skill import Skill
from cappuccino_ml.encoder.transfer import read_as, skill_beside, transfer_encoder
from cappuccino_ml.encoder.transformer import FTTransformerEncoder
from cappuccino_ml.encoder.windows import windows

__all__ = [
    "BALANCED",
    "LARGE",
    "SMALL",
    "EncoderConfig",
    "EncoderSettings",
    "Epoch",
    "FTTransformerEncoder",
    "Fusion",
    "LoadedEncoder",
    "Pretrained",
    "PretrainingSettings",
    "Skill",
    "Tokenization",
    "Transfer",
    "attention_rollout",
    "importance",
    "integrated_gradients",
    "load_encoder",
    "load_masked_model",
    "pretrain",
    "read_as",
    "read_history",
    "sample_masks",
    "save_encoder",
    "skill_beside",
    "transfer_encoder",
    "windows",
]
