"""`cappuccino pretrain` and `cappuccino train`: one experiment file on the current data set, outside of any study."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cappuccino_ml.core import is_done, read_settings
from cappuccino_ml.encoder import Epoch, read_history
from cappuccino_ml.policy import Iteration
from cappuccino_ml.reports import pictures
from cappuccino_ml.study import (
    Device,
    Experiment,
    device_of,
    fit,
    fit_encoder,
    pretraining_job,
    training_job,
)
from cappuccino_pipeline.resources import Cappuccino


def pretrain(cappuccino: Cappuccino, file: Path, *, device: Device) -> None:
    """Pre-train the encoder that `file` describes, print its skill and where it is.

    Raises:
        CappuccinoError: a wrong file, no data set yet, no such device, or training failed.
    """
    dataset, console = cappuccino.dataset, Console(soft_wrap=True)
    experiment = read_settings(Experiment, file)
    job = pretraining_job(experiment, dataset, root=cappuccino.configuration.experiments_root)
    if is_done(job.folder):
        console.print("done before; nothing was trained")
    with _bar(console) as bar:
        task = bar.add_task("epochs", total=experiment.pretraining.epochs, now="")

        def tell(line: Epoch) -> None:
            bar.update(task, completed=line.epoch, now=f"validation loss {line.validation_loss:.4f}")

        skill = fit_encoder(job, device=device_of(device), on_epoch=tell).config.skill
    picture = pictures.pretraining(
        histories={job.name: read_history(job.folder)},
        skills={job.name: skill},
        label=dataset.config.label,
        path=job.root / f"{job.key}.png",
    )
    r2 = ", ".join(f"{name} {value:.3f}" for name, value in skill.r2.items())
    console.print(f"masked R2 on later rows ({dataset.config.label}): {r2}")
    console.print(f"loss curve {picture}")
    console.print(f"encoder {job.folder}")


def train(cappuccino: Cappuccino, file: Path, *, device: Device) -> None:
    """Train the agent that `file` describes, print what it earned on the fold's test rows and where it is.

    Raises:
        CappuccinoError: a wrong file, no data set yet, no such device or encoder, or training failed.
    """
    dataset, console = cappuccino.dataset, Console(soft_wrap=True)
    job = training_job(read_settings(Experiment, file), dataset, root=cappuccino.configuration.experiments_root)
    if is_done(job.folder):
        console.print("done before; nothing was trained")
    with _bar(console) as bar:
        task = bar.add_task("steps", total=job.training.ppo.steps, now="")

        def tell(line: Iteration) -> None:
            bar.update(task, completed=line.steps, now=f"{line.reward_bps:+.2f} bps a bar")

        result = fit(job, device=device_of(device), on_iteration=tell)
    console.print(f"{job.training.agent.arm}, {result.parameters:,} parameters, {result.steps:,} steps")
    if job.test_rows is None:
        console.print("trained on all development rows, so nothing was measured")
    else:
        console.print(
            f"{result.bars:,} later bars ({dataset.config.label}): net Sharpe {result.sharpe:+.2f} a year, drawdown "
            f"{result.max_drawdown:.1%}, turnover {result.turnover_per_day:.2f} of equity a day",
        )
    console.print(f"agent {job.folder}")


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}"),
        console=console,
    )
