"""Pictures of learning: an encoder's losses and skill, a study's trials, reward against environment steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.encoder import Epoch
from cappuccino_ml.encoder.skill import Skill
from cappuccino_ml.policy import Iteration
from cappuccino_ml.reports.style import ARMS, BLUE, FAINT, GREEN, INK, ORANGE, PALETTE, PINK, SKY, canvas, whole_numbers
from cappuccino_ml.study import StudyResult

PREDICTORS = {
    "model": "encoder",
    "encoding": "its encoding alone",
    "ridge": "ridge regression",
    "carry": "last value",
    "mean": "training mean",
}
_PREDICTOR_MARKERS = {"model": "o", "encoding": "D", "ridge": "s", "carry": "^"}
_PREDICTOR_COLOURS = {"model": BLUE, "encoding": SKY, "ridge": ORANGE, "carry": GREEN, "mean": PINK}


def pretraining(*, histories: Mapping[str, list[Epoch]], skills: Mapping[str, Skill], label: str, path: Path) -> Path:
    """Loss by epoch of every encoder, and the share of hidden entries' variance each predictor explains (R2)."""
    title = "Pre-training: filling in hidden features"
    with canvas(path=path, label=label, title=title, columns=2, height=3.4) as (loss, skill):
        for index, (name, history) in enumerate(histories.items()):
            colour = PALETTE[index % len(PALETTE)]
            epochs = [line.epoch for line in history]
            loss.plot(epochs, [line.train_loss for line in history], color=colour, lw=1, ls=":")
            loss.plot(epochs, [line.validation_loss for line in history], color=colour, label=name)
        loss.set_title("loss: dotted training, solid validation")
        loss.set_xlabel("epoch")
        loss.set_ylabel("squared error, scaled units")
        whole_numbers(loss)
        loss.legend()
        shown = [name for name in PREDICTORS if any(name in one.r2 for one in skills.values())]
        width = 0.8 / max(1, len(shown))
        for index, name in enumerate(shown):
            where = np.arange(len(skills)) + (index - (len(shown) - 1) / 2) * width
            values = [one.r2.get(name, np.nan) for one in skills.values()]
            bars = skill.bar(where, values, width * 0.92, color=_PREDICTOR_COLOURS[name], label=PREDICTORS[name])
            skill.bar_label(bars, fmt="%.2f", fontsize=6.5, padding=1)
        skill.set_xticks(range(len(skills)), list(skills))
        skill.set_title("R2 on validation windows (1 is perfect)")
        skill.axhline(0, color=INK, lw=0.8)
        skill.margins(y=0.12)
        skill.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.08), columnspacing=1.0, handlelength=1.0)
        skill.grid(visible=False, axis="x")
    return path


def feature_skill(*, skills: Mapping[str, Skill], features: Sequence[str], label: str, path: Path) -> Path:
    """R2 of hidden entries by feature, mean over encoders, for each predictor; best filled in on top.

    Raises:
        ValueError: the skills are of another number of features.
    """
    shown = [name for name in PREDICTORS if name != "mean" and any(name in one.r2 for one in skills.values())]
    found = {}
    for name in shown:
        each = [one.r2_by_feature[name] for one in skills.values() if name in one.r2_by_feature]
        if any(len(values) != len(features) for values in each):
            raise ValueError(f"the skills are of {len(each[0])} features, not of the {len(features)} named")
        # A feature that never moved has none; it is left out where it is missing.
        columns = [[value for value in column if value is not None] for column in zip(*each, strict=True)]
        found[name] = np.array([np.mean(column) if column else np.nan for column in columns])
    order = np.argsort(found[shown[0]])
    title = "Pre-training: which features are filled in, and by whom"
    with canvas(path=path, label=label, title=title, height=0.27 * len(features) + 1.3) as (ax,):
        where = np.arange(len(features))
        ends = np.array([values[order] for values in found.values()])
        ax.hlines(where, np.nanmin(ends, axis=0), np.nanmax(ends, axis=0), color=FAINT, lw=0.8, zorder=1)
        for name, values in found.items():
            marker = _PREDICTOR_MARKERS[name]
            ax.scatter(
                values[order], where, color=_PREDICTOR_COLOURS[name], marker=marker, s=34, label=PREDICTORS[name]
            )
        ax.axvline(0, color=INK, lw=0.8)
        ax.set_yticks(where, [features[index] for index in order])
        ax.set_xlabel("R2 of hidden entries: 1 is perfect, 0 as good as their own mean")
        ax.grid(visible=False, axis="y")
        ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return path


def study_history(*, study: StudyResult, label: str, path: Path) -> Path:
    """Mean net Sharpe over folds by trial, each fold a small dot, the best so far as a line; failed trials crossed.

    A pruned trial is a hollow triangle at the mean of the folds it was measured on.
    """
    completed = study.completed
    title = f"Study {study.key}: {len(completed)} of {len(study.trials)} trials completed"
    with canvas(path=path, label=label, title=title, height=3.4) as (ax,):
        for arm, colour in ARMS.items():
            mine = [trial for trial in completed if trial.arm == arm]
            for trial in mine:
                ax.plot([trial.number] * len(trial.fold_sharpes), trial.fold_sharpes, color=colour, lw=0.8, alpha=0.5)
                ax.scatter([trial.number] * len(trial.fold_sharpes), trial.fold_sharpes, color=colour, s=7, alpha=0.6)
            if mine:
                values = [trial.value for trial in mine]
                ax.scatter([trial.number for trial in mine], values, color=colour, s=42, label=arm, zorder=3)  # type: ignore[arg-type]
        if completed:
            ax.scatter([], [], color=FAINT, s=7, label="each fold")
            best = np.maximum.accumulate([trial.value or 0.0 for trial in completed])
            ax.step([trial.number for trial in completed], best, where="post", color=INK, lw=1, label="best so far")
        pruned = [trial for trial in study.trials if trial.pruned]
        if pruned:
            where, means = [trial.number for trial in pruned], [trial.means[-1] for trial in pruned]
            ax.scatter(where, means, marker="v", s=30, facecolors="none", color=FAINT, label="pruned")
        failed = [trial.number for trial in study.trials if trial.value is None and not trial.pruned]
        if failed:
            ax.scatter(failed, np.zeros(len(failed)), marker="x", color=INK, label="failed")
        ax.axhline(0, color=FAINT, lw=0.8)
        ax.set_xlabel("trial")
        ax.set_ylabel("net Sharpe a year")
        whole_numbers(ax)
        ax.legend(ncols=7, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return path


def learning_curves(*, curves: Mapping[str, list[list[Iteration]]], label: str, path: Path) -> Path:
    """Reward during training against environment steps: mean over an arm's runs, and the range of its middle half.

    Args:
        curves: arm -> runs -> iterations. Reward is of the exploring policy on training rows: it shows learning, not
            what a policy is worth.
        label: source of the bars.
        path: PNG file.
    """
    title = "Learning: reward of the exploring policy on its training rows, mean and middle half"
    with canvas(path=path, label=label, title=title, height=3.4) as (ax,):
        for index, (arm, runs) in enumerate(curves.items()):
            lengths = [len(run) for run in runs if run]
            if not lengths:
                continue
            shortest = min(lengths)
            steps = np.array([line.steps for line in next(run for run in runs if run)][:shortest])
            rewards = np.array([_smooth([line.reward_bps for line in run])[:shortest] for run in runs if run])
            colour = ARMS.get(arm, PALETTE[index % len(PALETTE)])
            low, high = np.percentile(rewards, (25, 75), axis=0)
            ax.fill_between(steps, low, high, color=colour, alpha=0.18, lw=0)
            ax.plot(
                steps, rewards.mean(axis=0), color=colour, label=f"{arm} ({len(rewards)} run{'s' * (len(rewards) > 1)})"
            )
        ax.axhline(0, color=FAINT, lw=0.8)
        ax.set_xlabel("environment steps")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value else "0")
        ax.set_ylabel("reward per bar, bps")
        ax.legend(loc="best")
    return path


def _smooth(values: list[float]) -> NDArray[np.float64]:
    """Centred mean over a tenth of the run, shorter at its ends."""
    half = max(1, len(values) // 20)
    return np.array([np.mean(values[max(0, index - half) : index + half + 1]) for index in range(len(values))])
