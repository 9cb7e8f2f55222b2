"""Ablation: one factor of the pre-trained agent at a time, equal steps and seeds, on the last fold's test rows.

The default is `ft_pretrained`, fine-tuned, with the encoder of the study. A variant differs from what it is compared
with in its factor alone: scalar tokens, whose number grows with the lookback, are tried at a short one, against
the default tokens there; joint fusion, which needs scalar tokens, is compared with late fusion of scalar tokens.
"""

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from cappuccino_ml.core import Settings
from cappuccino_ml.encoder import EncoderSettings
from cappuccino_ml.policy import AgentSettings, Arm
from cappuccino_ml.study.dataset import Dataset
from cappuccino_ml.study.encoders import EncoderJob, fit_encoder
from cappuccino_ml.study.equal_trainings import EqualTrainings, seeded_jobs
from cappuccino_ml.study.fitting import FitJob
from cappuccino_ml.study.splits import Fold
from cappuccino_ml.study.variants import Variant, VariantRun, run_variants
from cappuccino_ml.study.workers import run_jobs

DEFAULT = "default"


class AblationSettings(EqualTrainings):
    """What is tried, and at what cost."""

    steps: int = Field(100_000, ge=1, description="environment steps of every training")
    lookbacks: tuple[int, ...] = Field((3, 6, 10), description="the encoder's own is left out")
    short_lookback: int = Field(3, ge=1, description="of the variants with scalar tokens and of what they differ from")


class AblationCase(Settings):
    """A variant with the arm and the encoder that it means."""

    variant: Variant
    arm: Arm
    encoder: EncoderSettings
    freeze: bool = False


class Ablation(Settings):
    """All runs; `encoder_r2` is the masked R2 of the encoders that were pre-trained, by variant."""

    label: str
    settings: AblationSettings
    cases: tuple[AblationCase, ...]
    encoder_r2: dict[str, float]
    ridge_r2: dict[str, float]  # of the ridge on the same masked windows
    bars_per_year: float
    runs: tuple[VariantRun, ...]


def ablation_cases(encoder: EncoderSettings, settings: AblationSettings) -> tuple[AblationCase, ...]:
    """The default and everything that differs from it, or from another variant, in one factor."""

    def case(
        name: str,
        factor: str,
        *,
        against: str = DEFAULT,
        arm: Arm = "ft_pretrained",
        freeze: bool = False,
        **shape: object,
    ) -> AblationCase:
        changed = EncoderSettings.model_validate({**encoder.model_dump(), **shape})
        variant = Variant(name=name, factor=factor, against=() if name == against else (against,))
        return AblationCase(variant=variant, arm=arm, encoder=changed, freeze=freeze)

    short = settings.short_lookback
    lookbacks = sorted({*settings.lookbacks, short} - {encoder.lookback})
    base = DEFAULT if short == encoder.lookback else f"lookback {short}"
    cases = [case(DEFAULT, "none")]
    cases += [
        case(f"{kind} tokens", "tokenization", tokenization=kind)
        for kind in ("series", "ticker")
        if kind != encoder.tokenization
    ]
    cases += [case(f"lookback {lookback}", "lookback", lookback=lookback) for lookback in lookbacks]
    scalar = f"scalar tokens, lookback {short}"
    cases.append(case(scalar, "tokenization", against=base, tokenization="scalar", lookback=short))
    cases.append(
        case(f"joint fusion, {scalar}", "fusion", against=scalar, tokenization="scalar", fusion="joint", lookback=short)
    )
    cases.append(case("frozen encoder", "freezing", freeze=True))
    cases.append(case("no pre-training", "pre-training", arm="ft_scratch"))
    cases.append(case("no encoder (mlp)", "encoder", against="no pre-training", arm="mlp"))
    return tuple(cases)


def ablation_jobs(
    dataset: Dataset,
    settings: AblationSettings,
    *,
    encoder: EncoderJob,
    fold: Fold,
    root: Path,
) -> tuple[dict[str, EncoderJob], dict[tuple[str, int], FitJob]]:
    """Encoders to pre-train by variant, then the trainings by (variant, seed).

    Args:
        dataset: frozen data.
        settings: what is tried.
        encoder: the default's, fitted on `fold.train`; the others get its rows, seed and pre-training.
        fold: rows to train on and, after a gap, rows to measure on.
        root: where results go.
    """
    encoders: dict[str, EncoderJob] = {}
    jobs: dict[tuple[str, int], FitJob] = {}
    for case in ablation_cases(encoder.encoder, settings):
        name = case.variant.name
        if case.arm == "ft_pretrained":
            encoders[name] = encoder.model_copy(update={"encoder": case.encoder})
        agent = AgentSettings(
            arm=case.arm,
            lookback=case.encoder.lookback,
            net_dimension=settings.net_dimension,
            encoder=None if case.arm == "mlp" else case.encoder,
            freeze_encoder=case.freeze,
        )
        seeded = seeded_jobs(
            dataset,
            settings,
            experiment="ablation",
            agent=agent,
            steps=settings.steps,
            fold=fold,
            encoder=encoders.get(name, encoder),
            root=root,
        )
        jobs |= {(name, seed): job for seed, job in seeded.items()}
    return encoders, jobs


def run_ablation(
    dataset: Dataset,
    settings: AblationSettings,
    *,
    encoder: EncoderJob,
    fold: Fold,
    root: Path,
    workers: int,
    say: Callable[[str], None],
) -> Ablation:
    """Pre-train and train what is not finished yet, and collect all of it; see `ablation_jobs` for the arguments."""
    encoders, jobs = ablation_jobs(dataset, settings, encoder=encoder, fold=fold, root=root)
    model: dict[str, float] = {}
    ridge: dict[str, float] = {}
    names: dict[str, list[str]] = {}
    for name, job in encoders.items():
        names.setdefault(job.key, []).append(name)
    for job, loaded in run_jobs(fit_encoder, {job.key: job for job in encoders.values()}.values(), workers=workers):
        for name in names[job.key]:
            model[name], ridge[name] = loaded.config.skill.r2["model"], loaded.config.skill.r2["ridge"]
        say(f"encoder of {', '.join(names[job.key])}: masked R2 {loaded.config.skill.r2['model']:.3f}")
    return Ablation(
        label=dataset.config.label,
        settings=settings,
        cases=ablation_cases(encoder.encoder, settings),
        encoder_r2={name: model[name] for name in encoders},
        ridge_r2={name: ridge[name] for name in encoders},
        bars_per_year=dataset.config.bars_per_year,
        runs=run_variants(jobs, workers=workers, say=say),
    )
