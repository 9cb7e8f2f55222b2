"""Transfer: an encoder used on bars and tickers that it never saw, on time after everything that shaped it.

Beside it, at equal steps, seeds and settings: the same encoder pre-trained on the target's own training rows, one from
scratch, and the mlp. Masked R2 is measured on the target's test rows, beside a ridge fitted on its training rows.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import torch

from cappuccino_ml.core import (
    DataError,
    Settings,
    code_version,
    derive_seed,
    digest,
    is_done,
    read_settings,
    write_json,
)
from cappuccino_ml.encoder import LoadedEncoder, Skill, load_encoder, load_masked_model, skill_beside, transfer_encoder
from cappuccino_ml.features import Scaler
from cappuccino_ml.policy import AgentSettings, Arm
from cappuccino_ml.study.dataset import load_dataset
from cappuccino_ml.study.encoders import EncoderJob, fit_encoder
from cappuccino_ml.study.equal_trainings import seeded_jobs
from cappuccino_ml.study.fitting import FitJob
from cappuccino_ml.study.jobs import StoredEncoder
from cappuccino_ml.study.splits import Span
from cappuccino_ml.study.transfer_grounds import Ground, TransferSettings
from cappuccino_ml.study.variants import Variant, VariantRun, run_variants
from cappuccino_ml.study.workers import run_jobs

TRANSFERRED, THERE = "transferred", "pre-trained there"
_SCRATCH, _MLP = "from scratch", "mlp"


class TransferJob(Settings):
    """One encoder to put under another schema; equal jobs have equal keys and are done once."""

    name: str
    source: EncoderJob
    dataset_folder: Path
    dataset_key: str
    rows: Span  # of the target, for its scaler
    code: str
    root: Path

    @property
    def key(self) -> str:
        """Names the transferred encoder."""
        identity = self.model_dump(mode="json", exclude={"source", "dataset_folder", "root"})
        return digest({**identity, "source": self.source.key})[:16]

    @property
    def folder(self) -> Path:
        """Where it is, or will be."""
        return self.root / self.key


class TransferResult(Settings):
    """What came of one ground."""

    name: str
    source_schema: str  # hash
    target_schema: str  # hash
    read_as: dict[str, str]  # target ticker -> source ticker
    source_until: datetime  # UTC: nothing later shaped the encoder
    trained_from: datetime  # first decision on the target
    tested_from: datetime
    tested_until: datetime
    skill: Skill  # masked R2 on the test rows
    bars_per_year: float
    variants: tuple[Variant, ...]
    runs: tuple[VariantRun, ...]


def fit_transfer(job: TransferJob) -> LoadedEncoder:
    """Transfer and store, or read what is stored already; the source encoder must be finished.

    Raises:
        DataError: the target's rows do not begin a whole gap after what shaped the encoder.
    """
    target = load_dataset(job.dataset_folder, key=job.dataset_key)
    source = load_dataset(job.source.dataset_folder, key=job.source.dataset_key)
    until = source.time(job.source.rows[1])
    clear = until + source.splits.gap * (source.time(1) - source.time(0))
    if target.time(job.rows[0]) < clear:
        raise DataError(
            f"transfer {job.name}: the encoder was shaped by bars up to {until:%Y-%m-%d %H:%M} and may be used from "
            f"{clear:%Y-%m-%d %H:%M} on, but the target begins {target.time(job.rows[0]):%Y-%m-%d %H:%M}; start later."
        )
    if not is_done(job.folder):
        first, last = job.rows
        transfer_encoder(
            job.folder,
            name=job.name,
            source=job.source.folder,
            source_key=job.source.key,
            source_until=source.time(job.source.rows[1] - 1),
            schema=target.market.schema,
            scaler=Scaler.fit(target.market.features, slice(first, last), schema=target.market.schema),
            dataset_key=target.key,
            rows=job.rows,
        )
    return load_encoder(job.folder, expected=target.market.schema)


def run_transfer(
    grounds: Sequence[Ground],
    settings: TransferSettings,
    *,
    root: Path,
    workers: int,
    say: Callable[[str], None],
) -> tuple[TransferResult, ...]:
    """Pre-train, transfer, measure and train what is not finished yet; one result per ground."""
    encoders = [job for ground in grounds for job in (ground.source, ground.there)]
    for job, loaded in run_jobs(fit_encoder, encoders, workers=workers):
        say(f"encoder {job.name}: masked R2 {loaded.config.skill.r2['model']:.3f} on its own validation rows")
    moves = [transfer_job(ground, root=root) for ground in grounds]
    moved = [fit_transfer(move) for move in moves]
    variants = transfer_variants()
    jobs: dict[tuple[str, int], FitJob] = {}
    for ground, move in zip(grounds, moves, strict=True):
        jobs |= {
            (f"{ground.name}: {name}", seed): job
            for (name, seed), job in _fit_jobs(ground, move, settings, root=root).items()
        }
    runs = run_variants(jobs, workers=workers, say=say)
    results = []
    for ground, move, encoder in zip(grounds, moves, moved, strict=True):
        record, target, prefix = encoder.config.transfer, ground.target, f"{ground.name}: "
        assert record is not None
        results.append(
            TransferResult(
                name=ground.name,
                source_schema=record.source_schema_hash,
                target_schema=record.target_schema_hash,
                read_as=record.read_as,
                source_until=record.source_until,
                trained_from=target.time(ground.fold.train[0]),
                tested_from=target.time(ground.fold.test[0]),
                tested_until=target.time(ground.fold.test[1]),
                skill=_skill(ground, move, settings, root=root),
                bars_per_year=target.config.bars_per_year,
                variants=variants,
                runs=tuple(
                    run.model_copy(update={"variant": run.variant.removeprefix(prefix)})
                    for run in runs
                    if run.variant.startswith(prefix)
                ),
            )
        )
    return tuple(results)


def transfer_variants() -> tuple[Variant, ...]:
    """The policies trained on every ground, and what each is compared with."""
    beside = (_SCRATCH, _MLP)
    return (
        Variant(name=f"{TRANSFERRED}, fine-tuned", factor="encoder", against=(*beside, f"{THERE}, fine-tuned")),
        Variant(name=f"{TRANSFERRED}, frozen", factor="encoder", against=(*beside, f"{THERE}, frozen")),
        Variant(name=f"{THERE}, fine-tuned", factor="encoder", against=beside),
        Variant(name=f"{THERE}, frozen", factor="encoder", against=beside),
        Variant(name=_SCRATCH, factor="encoder"),
        Variant(name=_MLP, factor="encoder"),
    )


def transfer_job(ground: Ground, *, root: Path) -> TransferJob:
    """The ground's encoder put under its target's schema."""
    return TransferJob(
        name=ground.name,
        source=ground.source,
        dataset_folder=ground.target.folder,
        dataset_key=ground.target.key,
        rows=ground.fold.train,
        code=code_version("features", "encoder"),
        root=root,
    )


def _fit_jobs(
    ground: Ground, move: TransferJob, settings: TransferSettings, *, root: Path
) -> dict[tuple[str, int], FitJob]:
    jobs: dict[tuple[str, int], FitJob] = {}
    for variant in transfer_variants():
        arm: Arm = {_MLP: "mlp", _SCRATCH: "ft_scratch"}.get(variant.name, "ft_pretrained")  # type: ignore[assignment]
        encoder: StoredEncoder = move if variant.name.startswith(TRANSFERRED) else ground.there
        agent = AgentSettings(
            arm=arm,
            lookback=ground.source.encoder.lookback,
            net_dimension=settings.net_dimension,
            encoder=None if arm == "mlp" else ground.source.encoder,
            freeze_encoder=variant.name.endswith("frozen"),
        )
        seeded = seeded_jobs(
            ground.target,
            settings,
            experiment="transfer",
            agent=agent,
            steps=settings.steps,
            fold=ground.fold,
            encoder=encoder,
            root=root,
        )
        jobs |= {(variant.name, seed): job for seed, job in seeded.items()}
    return jobs


def _skill(ground: Ground, move: TransferJob, settings: TransferSettings, *, root: Path) -> Skill:
    """Masked R2 on the ground's test rows, of the transferred encoder and of the one pre-trained there; kept."""
    seed = derive_seed(settings.seed, "transfer", "masks") % 2**31
    identity = digest([move.key, ground.there.key, ground.fold.model_dump(mode="json"), seed])[:16]
    path = root / "skills" / f"{identity}.json"
    if not path.is_file():
        market = ground.target.market
        scaler = load_encoder(move.folder, expected=market.schema).config.scaler  # `there` has the same, by its rows
        skill = skill_beside(
            torch.from_numpy(market.scaled(scaler)),
            {TRANSFERRED: load_masked_model(move.folder), THERE: load_masked_model(ground.there.folder)},
            fit_rows=ground.fold.train,
            test_rows=ground.fold.test,
            mask_share=ground.there.pretraining.mask_share,
            seed=seed,
        )
        write_json(path, skill)
    return read_settings(Skill, path)
