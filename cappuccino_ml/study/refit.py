"""Nightly retraining: the incumbent's configuration on the newest rows, scored on the paper window it never saw."""

from pathlib import Path

from cappuccino_ml.core import code_version, derive_seed
from cappuccino_ml.encoder import PretrainingSettings
from cappuccino_ml.policy import AGENT_ROOMS, AgentConfig
from cappuccino_ml.study.dataset import Dataset
from cappuccino_ml.study.encoders import EncoderJob
from cappuccino_ml.study.fitting import FitJob


def refit_jobs(
    dataset: Dataset, incumbent: AgentConfig, *, pretraining: PretrainingSettings, encoders_root: Path, root: Path
) -> tuple[EncoderJob | None, FitJob]:
    """What to fit, in this order: a new encoder if the incumbent started from one, then the agent.

    The agent trains on everything up to the gap before the paper window, the old holdout included: its score there is
    a shadow, not a verdict, and only a study with a fresh holdout, or a person, may promote it.
    """
    rows = (dataset.splits.development[0], dataset.splits.paper[0] - dataset.splits.gap)
    settings = incumbent.training
    encoder = None
    if settings.agent.arm == "ft_pretrained" and settings.agent.encoder is not None:
        encoder = EncoderJob(
            name="refit",
            dataset_folder=dataset.folder,
            dataset_key=dataset.key,
            rows=rows,
            encoder=settings.agent.encoder,
            pretraining=pretraining,
            seed=derive_seed(incumbent.seed, "encoder", "refit"),
            code=code_version("features", "encoder"),
            root=encoders_root,
        )
    agent = FitJob(
        dataset_folder=dataset.folder,
        dataset_key=dataset.key,
        train_rows=rows,
        test_rows=dataset.splits.paper,
        training=settings,
        seed=incumbent.seed,
        encoder_folder=encoder.folder if encoder else None,
        encoder_key=encoder.key if encoder else None,
        code=code_version(*AGENT_ROOMS, "study"),
        root=root,
    )
    return encoder, agent
