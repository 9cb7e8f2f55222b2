"""Encoder: an FT-Transformer learns to fill in hidden entries.  python -m examples.pretrain_encoder [FOLDER]"""

from pathlib import Path

from cappuccino_ml.encoder import EncoderSettings, PretrainingSettings
from cappuccino_ml.study import EncoderJob, EncoderPlan, encoder_jobs, fit_encoder
from examples import folder
from examples.look_at_features import frozen

ENCODER = EncoderSettings(lookback=2, d_token=16, n_blocks=1, n_heads=2, encoding_dim=32)
PLAN = EncoderPlan(encoder=ENCODER, pretraining=PretrainingSettings(epochs=2, batch_size=64, learning_rate=1e-2))


def last_fold(place: Path) -> EncoderJob:
    """The encoder of the last fold: it may see that fold's training rows and no others."""
    return encoder_jobs(frozen(place), PLAN, root=place / "encoders")["fold-1"]


def main(place: Path) -> None:
    """Pre-train, show the skill beside what is trivial."""
    fitted = fit_encoder(last_fold(place))
    for method, r2 in fitted.config.skill.r2.items():
        print(f"{method:24} R2 on masked entries {r2:+.3f}")


if __name__ == "__main__":
    main(folder())
