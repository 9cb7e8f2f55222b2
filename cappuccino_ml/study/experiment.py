"""One pre-training or one training by hand, as a JSON file describes it, on the folds of a frozen data set."""

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from cappuccino_ml.core import ConfigurationError, Settings, code_version
from cappuccino_ml.encoder import SMALL, EncoderSettings, PretrainingSettings, load_encoder
from cappuccino_ml.environment import Costs, Guards, Layout, Reward
from cappuccino_ml.policy import AGENT_ROOMS, AgentSettings, Arm, PPOSettings, TrainingSettings
from cappuccino_ml.study.dataset import Dataset
from cappuccino_ml.study.encoders import DEPLOYMENT, EncoderJob, EncoderPlan, encoder_jobs
from cappuccino_ml.study.fitting import FitJob

Device = Literal["auto", "cpu", "cuda"]


class Experiment(Settings):
    """What the JSON file says. One file serves `pretrain` and, with `pretrained_encoder_path` added, `train`."""

    fold: Annotated[int, Field(ge=0)] | Literal["last", "deployment"] = Field(
        "last", description="whose training rows are used; deployment: all development rows, and nothing is measured"
    )
    seed: int = Field(7, ge=0)
    use_ft_encoder: bool = Field(False, description="an FT-Transformer in actor and critic; without it a plain MLP")
    ft_config: EncoderSettings | None = Field(
        None, description="shape of the encoder (default: the small preset); a pre-trained encoder brings its own"
    )
    pretraining: PretrainingSettings = PretrainingSettings()
    pretrained_encoder_path: Path | None = Field(None, description="folder that `pretrain` named")
    freeze_encoder: bool = False
    share_encoder: bool = True
    net_dimension: int = Field(256, ge=8)
    lookback: int | None = Field(None, ge=1, description="of the plain MLP (default 3); an encoder brings its own")
    ppo: PPOSettings = PPOSettings()
    layout: Layout = Layout()
    guards: Guards = Guards()
    costs: Costs = Costs()
    reward: Reward = Reward()

    @model_validator(mode="after")
    def _encoder_is_wanted(self) -> "Experiment":
        given = {
            "pretrained_encoder_path": self.pretrained_encoder_path is not None,
            "freeze_encoder": self.freeze_encoder,
        }
        for name, is_given in given.items():
            if is_given and not self.use_ft_encoder:
                raise ValueError(f"{name} is given, but use_ft_encoder is false; set it to true or leave {name} out")
        if self.use_ft_encoder and self.lookback not in (None, self.encoder.lookback):
            raise ValueError(
                f"lookback {self.lookback} differs from the encoder's {self.encoder.lookback}; leave lookback out"
            )
        return self

    @property
    def encoder(self) -> EncoderSettings:
        """Shape to pre-train, or to train from scratch."""
        return self.ft_config or SMALL


def device_of(name: Device) -> torch.device:
    """The device that is asked for; auto is the GPU where torch finds one.

    Raises:
        ConfigurationError: cuda is asked for and absent.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("the device is cuda, but torch finds no CUDA GPU here; choose cpu or auto.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def pretraining_job(experiment: Experiment, dataset: Dataset, *, root: Path) -> EncoderJob:
    """The encoder that `experiment` describes, to be kept below `root`; see `_fold` for the error."""
    plan = EncoderPlan(encoder=experiment.encoder, pretraining=experiment.pretraining, seed=experiment.seed)
    fold = _fold(experiment, dataset)
    return encoder_jobs(dataset, plan, root=root)[DEPLOYMENT if fold is None else f"fold-{fold}"]


def training_job(experiment: Experiment, dataset: Dataset, *, root: Path) -> FitJob:
    """The agent that `experiment` describes, to be kept below `root`.

    Raises:
        CheckpointError: `pretrained_encoder_path` holds no whole encoder.
        ConfigurationError: `ft_config` is given and is not the pre-trained encoder's; or see `_fold`.
        SchemaMismatch: that encoder was made from other features.
    """
    arm: Arm = "mlp"
    encoder: EncoderSettings | None = None
    encoder_folder = experiment.pretrained_encoder_path
    if encoder_folder is not None:
        arm = "ft_pretrained"
        encoder = load_encoder(encoder_folder, expected=dataset.market.schema).config.encoder
        if experiment.ft_config not in (None, encoder):
            raise ConfigurationError(
                f"ft_config differs from that of the encoder in {encoder_folder}; leave ft_config out of the file."
            )
    elif experiment.use_ft_encoder:
        arm, encoder = "ft_scratch", experiment.encoder
    fold = _fold(experiment, dataset)
    splits = dataset.splits
    return FitJob(
        dataset_folder=dataset.folder,
        dataset_key=dataset.key,
        train_rows=splits.development if fold is None else splits.folds[fold].train,
        test_rows=None if fold is None else splits.folds[fold].test,
        training=TrainingSettings(
            agent=AgentSettings(
                arm=arm,
                lookback=encoder.lookback if encoder else experiment.lookback or 3,
                net_dimension=experiment.net_dimension,
                encoder=encoder,
                freeze_encoder=experiment.freeze_encoder,
                share_encoder=experiment.share_encoder,
            ),
            ppo=experiment.ppo,
            layout=experiment.layout,
            guards=experiment.guards,
            costs=experiment.costs,
            reward=experiment.reward,
        ),
        seed=experiment.seed,
        encoder_folder=encoder_folder,
        encoder_key=encoder_folder.name if encoder_folder else None,
        code=code_version(*AGENT_ROOMS),
        root=root,
    )


def _fold(experiment: Experiment, dataset: Dataset) -> int | None:
    """The fold's index; None for deployment.

    Raises:
        ConfigurationError: the data set has no such fold.
    """
    folds = len(dataset.splits.folds)
    if experiment.fold == "deployment":
        return None
    fold = folds - 1 if experiment.fold == "last" else experiment.fold
    if fold >= folds:
        raise ConfigurationError(f"fold is {fold}, but the data set has folds 0 to {folds - 1}; choose one of them.")
    return fold
