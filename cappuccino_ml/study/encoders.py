"""Pre-trained encoders of one data set: one per fold and one for deployment, each fitted on its own training rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cappuccino_ml.core import Settings, code_version, derive_seed, digest, is_done
from cappuccino_ml.encoder import (
    SMALL,
    EncoderSettings,
    Epoch,
    LoadedEncoder,
    PretrainingSettings,
    attention_rollout,
    load_encoder,
    pretrain,
    save_encoder,
    windows,
)
from cappuccino_ml.environment import CPU
from cappuccino_ml.features import Scaler
from cappuccino_ml.study.dataset import Dataset, load_dataset
from cappuccino_ml.study.splits import Span

DEPLOYMENT = "deployment"


class EncoderPlan(Settings):
    """Shape and training of the encoders of a study."""

    encoder: EncoderSettings = SMALL
    pretraining: PretrainingSettings = PretrainingSettings()
    seed: int = 7


class EncoderJob(Settings):
    """One encoder to fit; equal jobs have equal keys and are done once."""

    name: str  # fold-0, fold-1, ..., deployment
    dataset_folder: Path
    dataset_key: str
    rows: Span
    encoder: EncoderSettings
    pretraining: PretrainingSettings
    seed: int
    code: str  # version of the code that asked: a worker started later must not name the result otherwise
    root: Path

    @property
    def key(self) -> str:
        """Names the encoder."""
        return digest(self.model_dump(mode="json", exclude={"name", "dataset_folder", "root"}))[:16]

    @property
    def folder(self) -> Path:
        """Where it is, or will be."""
        return self.root / self.key


def encoder_jobs(dataset: Dataset, plan: EncoderPlan, *, root: Path) -> dict[str, EncoderJob]:
    """The jobs by name: `fold-0`, ..., and `deployment`, which may use all development rows."""
    # The longest first: with several workers none is left alone with the biggest job.
    rows = {DEPLOYMENT: dataset.splits.development}
    rows |= {f"fold-{index}": fold.train for index, fold in enumerate(dataset.splits.folds)}
    return {
        name: EncoderJob(
            name=name,
            dataset_folder=dataset.folder,
            dataset_key=dataset.key,
            rows=span,
            encoder=plan.encoder,
            pretraining=plan.pretraining,
            seed=derive_seed(plan.seed, "encoder", name),
            code=code_version("features", "encoder"),
            root=root,
        )
        for name, span in rows.items()
    }


def fit_encoder(
    job: EncoderJob, *, device: torch.device = CPU, on_epoch: Callable[[Epoch], None] | None = None
) -> LoadedEncoder:
    """Pre-train and store, go on where a killed run stopped, or read what is stored already.

    Args:
        job: what to do.
        device: where to train; what is stored is on the CPU. It is no part of the job's identity.
        on_epoch: told after every new epoch.
    """
    if not is_done(job.folder):
        dataset = load_dataset(job.dataset_folder, key=job.dataset_key)
        market = dataset.market
        first, last = job.rows
        scaler = Scaler.fit(market.features, slice(first, last), schema=market.schema)
        pretrained = pretrain(
            market=torch.from_numpy(market.scaled(scaler)).to(device),
            first=first,
            last=last - 1,
            encoder=job.encoder,
            settings=job.pretraining,
            seed=job.seed,
            on_epoch=on_epoch,
            resume=job.root / f".{job.key}.resume",
        )
        save_encoder(
            job.folder,
            pretrained=pretrained,
            schema=market.schema,
            scaler=scaler,
            dataset_key=dataset.key,
        )
    return load_encoder(job.folder, expected=None)


def where_it_looks(job: EncoderJob, dataset: Dataset, *, moments: int = 256) -> NDArray[np.float32]:
    """Mean attention rollout over evenly spaced moments of the encoder's own rows: [N, F], sums to below 1."""
    loaded = load_encoder(job.folder, expected=dataset.market.schema)
    market = torch.from_numpy(dataset.market.scaled(loaded.config.scaler))
    first, last = job.rows
    rows = torch.linspace(first + job.encoder.lookback, last - 1, moments).long()
    weights = attention_rollout(loaded.encoder, windows(market, rows, job.encoder.lookback))
    return np.asarray(weights.mean(0).numpy())
