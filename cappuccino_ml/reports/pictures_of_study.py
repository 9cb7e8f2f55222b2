"""Pictures of a study: arms, hyper-parameters that mattered, what was tried, where the best lie, what was pruned."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.reports.pictures_of_training import study_history
from cappuccino_ml.reports.style import ARMS, BLUE, FAINT, INK, VERMILION, canvas, whole_numbers
from cappuccino_ml.study import Importance, SearchSpace, StudyResult, TrialResult, narrow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OTHERS = "#CFCFCF"
_LOG = ("learning_rate", "entropy", "weight_decay")
_WHOLE = ("net_dimension", "epochs", "lookback", "ft_n_blocks")
MOST_AXES = 7
SIDES = {"ft": "FT-Transformer", "mlp": "MLP"}


def study_pictures(study: StudyResult, found: Sequence[Importance], *, label: str, folder: Path) -> dict[str, Path]:
    """Every picture of a study, written into `folder`, by name; see the functions of these names."""
    completed = len(study.completed)
    return {
        "study_history": study_history(study=study, label=label, path=folder / "study_history.png"),
        "study_pruning": study_pruning(study=study, label=label, path=folder / "study_pruning.png"),
        "study_arms": study_arms(study=study, label=label, path=folder / "study_arms.png"),
        "study_importances": study_importances(
            found=found, trials=completed, label=label, path=folder / "study_importances.png"
        ),
        "study_parallel": study_parallel(study=study, found=found, label=label, path=folder / "study_parallel.png"),
        "study_ranges": study_ranges(study=study, label=label, path=folder / "study_ranges.png"),
    }


def study_importances(*, found: Sequence[Importance], trials: int, label: str, path: Path) -> Path:
    """Importance of each parameter as a bar, and what chance alone shows as a mark.

    Args:
        found: the largest first.
        trials: completed ones.
        label: source of the bars.
        path: PNG file.
    """
    title = f"Hyper-parameter importance, {trials} completed trials"
    with canvas(path=path, label=label, title=title, height=max(2.4, 1.0 + 0.24 * len(found))) as (ax,):
        where = np.arange(len(found))[::-1]
        clear = [one.value > one.chance for one in found]
        colours = [BLUE if above else FAINT for above in clear]
        ax.barh(where, [one.value for one in found], height=0.62, color=colours)
        ax.scatter(
            [one.chance for one in found], where, marker="|", s=110, color=VERMILION, lw=1.6, label="95% of chance"
        )
        ax.set_yticks(where, [f"{one.name} ({one.trials})" for one in found])
        ax.grid(visible=False, axis="y")
        ax.set_xlabel("share of what sets the best quarter of the trials apart (PED-ANOVA)")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        said = "blue: more than 95% of shuffled studies show; number of trials that were asked in brackets"
        ax.set_title(said if found else "too few completed trials to tell", fontsize=8, fontweight="normal")
        if found:
            ax.legend(loc="lower right")
    return path


def study_parallel(*, study: StudyResult, found: Sequence[Importance], label: str, path: Path) -> Path:
    """Every completed trial as a line through what it was asked, its value last; the best quarter in colour.

    Args:
        study: its trials.
        found: importances; the first parameters that all trials were asked are shown, in that order.
        label: source of the bars.
        path: PNG file.
    """
    completed = study.completed
    title = f"What {len(completed)} completed trials tried"
    asked = [set(trial.params) for trial in completed]
    common = set.intersection(*asked) if asked else set()
    names = [one.name for one in found if one.name in common][:MOST_AXES]
    axes_names = ["arm", *names, "net Sharpe"]
    with canvas(path=path, label=label, title=title, height=3.6) as (ax,):
        columns = [_positions([trial.arm for trial in completed], list(ARMS))]
        ticks: list[list[str]] = [list(ARMS)]
        for name in names:
            values = [trial.params[name] for trial in completed]
            scaled, ends = _scaled(name, values)
            columns.append(scaled)
            ticks.append(ends)
        sharpes = [trial.value or 0.0 for trial in completed]
        columns.append(_unit(np.array(sharpes)))
        ticks.append([f"{min(sharpes, default=0):+.2f}", f"{max(sharpes, default=0):+.2f}"])
        best = {trial.number for trial in _best(completed)}
        for row, trial in enumerate(completed):
            winner = trial.number in best
            ax.plot(
                range(len(columns)),
                [column[row] for column in columns],
                color=ARMS[trial.arm] if winner else OTHERS,
                lw=1.8 if winner else 0.7,
                zorder=3 if winner else 2,
                antialiased=winner,  # many soft grey lines make a heavy file
            )
        for index, texts in enumerate(ticks):
            _axis(ax, index, texts, last=index == len(ticks) - 1)
        for arm, colour in ARMS.items():
            ax.plot([], [], color=colour, lw=1.8, label=f"{arm}, best quarter")
        ax.plot([], [], color=OTHERS, label="others")
        ax.set_xticks(range(len(axes_names)), axes_names, rotation=25, ha="right")
        ax.set_xlim(-0.5, len(axes_names) - 0.35)
        ax.set_ylim(-0.09, 1.09)
        ax.set_yticks([])
        ax.grid(visible=False)
        ax.spines["left"].set_visible(False)
        ax.spines["bottom"].set_visible(False)
        ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return path


def study_arms(*, study: StudyResult, label: str, path: Path) -> Path:
    """Per arm: the value of every completed trial with the median, and turnover against value."""
    shown = [arm for arm in ARMS if any(trial.arm == arm for trial in study.trials)]
    title = f"Arms of study {study.key}, on the development folds"
    with canvas(path=path, label=label, title=title, columns=2, height=3.4) as (left, right):
        for index, arm in enumerate(shown):
            mine = [trial for trial in study.completed if trial.arm == arm]
            values = np.array([trial.value or 0.0 for trial in mine])
            spread = np.linspace(-0.22, 0.22, len(mine)) if len(mine) > 1 else np.zeros(len(mine))
            left.scatter(index + spread, values, color=ARMS[arm], s=26, alpha=0.85)
            if len(values):
                left.hlines(float(np.median(values)), index - 0.34, index + 0.34, color=INK, lw=1.6)
            turnover = [100 * trial.turnover_per_day for trial in mine]
            right.scatter(turnover, values, color=ARMS[arm], s=26, alpha=0.85)
        left.set_xticks(range(len(shown)), [f"{arm}\n{_states(study, arm)}" for arm in shown])
        left.set_xlim(-0.6, len(shown) - 0.4)
        left.grid(visible=False, axis="x")
        left.set_title("each completed trial; line: median")
        left.set_ylabel("net Sharpe a year, mean over folds")
        right.set_title("against turnover, colours as left")
        right.set_xlabel("turnover a day, % of equity")
        for ax in (left, right):
            ax.axhline(0, color=FAINT, lw=0.8)
    return path


def study_pruning(*, study: StudyResult, label: str, path: Path) -> Path:
    """Mean Sharpe of every trial after its first, second, ... fold; a given-up one ends at a mark beside the median."""
    pruned = study.count("pruned")
    title = f"Pruning: {pruned} of {study.tried} measured trials were given up before their last fold"
    with canvas(path=path, label=label, title=title, columns=2, height=3.2) as axes:
        for ax, (side, name) in zip(axes, SIDES.items(), strict=True):
            mine = [trial for trial in study.trials if trial.side == side and trial.fold_sharpes]
            for trial in mine:
                folds = range(1, len(trial.means) + 1)
                ax.plot(folds, trial.means, color=ARMS[trial.arm], lw=1, alpha=0.7, marker="o", ms=3)
                if trial.pruned:
                    ax.scatter(folds[-1:], trial.means[-1:], marker="v", s=38, color=VERMILION, zorder=3)
                    ax.scatter(folds[-1:], [trial.pruned.median], marker="_", s=140, color=INK, zorder=3)
            ax.axhline(0, color=FAINT, lw=0.8)
            whole_numbers(ax)
            ax.set_title(f"{name}: {sum(bool(trial.pruned) for trial in mine)} of {len(mine)}")
            ax.set_xlabel("folds measured")
        axes[0].set_ylabel("net Sharpe a year, mean so far")
        for arm, colour in ARMS.items():
            axes[1].plot([], [], color=colour, label=arm)
        axes[1].scatter([], [], marker="v", s=38, color=VERMILION, label="given up")
        axes[1].scatter([], [], marker="_", s=140, color=INK, label="median then")
        axes[1].legend(ncols=5, loc="upper center", bbox_to_anchor=(-0.05, -0.18))
    return path


def study_ranges(*, study: StudyResult, label: str, path: Path) -> Path:
    """Of every parameter asked: the range, the values of all trials, and what `best` ranges would keep of it."""
    winners = _best(study.completed)
    space = study.settings.space
    asked = {name for trial in study.completed for name in trial.params}
    whole, kept = _options(space), kept_by_best(space, winners)
    names = [name for name in whole if name in asked][::-1]
    title = f"Where the best {len(winners)} of {len(study.completed)} completed trials lie"
    with canvas(path=path, label=label, title=title, height=max(2.4, 1.1 + 0.27 * len(names))) as (ax,):
        texts = []
        for row, name in enumerate(names):
            ends, place = _ruler(name, whole[name], space)
            ax.plot([0, 1], [row, row], color=OTHERS, lw=7, solid_capstyle="butt", zorder=1)
            if name in kept:
                span = [place(value) for value in kept[name]]
                ax.plot(span, [row, row], color=BLUE, lw=7, alpha=0.45, solid_capstyle="butt")
            for trial in (trial for trial in study.completed if name in trial.params):
                best = trial in winners
                colour, size = (ARMS[trial.arm], 26) if best else (FAINT, 9)
                ax.scatter(place(trial.params[name]), row, s=size, color=colour, zorder=3 if best else 2, lw=0)
            texts.append(f"{name}  ({ends})")
        ax.set_yticks(range(len(names)), texts)
        ax.set_xticks([])
        ax.set_xlim(-0.03, 1.03)
        ax.grid(visible=False)
        ax.spines["left"].set_visible(False)
        ax.spines["bottom"].set_visible(False)
        for arm, colour in ARMS.items():
            ax.scatter([], [], s=26, color=colour, label=f"{arm}, best quarter")
        ax.scatter([], [], s=9, color=FAINT, label="others")
        ax.plot([], [], color=BLUE, lw=7, alpha=0.45, label="range that `best` keeps")
        ax.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.4, 1.0), columnspacing=1.0, handletextpad=0.4)
    return path


def kept_by_best(space: SearchSpace, winners: Sequence[TrialResult]) -> dict[str, tuple[Any, Any]]:
    """The part of each range of `space` that `best` keeps: it narrows the complete range, a tenth of which it adds."""
    spans = [name for name in _options(space) if _is_span(name, space)]
    complete = space.model_copy(update={name: SearchSpace.model_fields[name].default for name in spans})
    narrower = narrow(complete, winners) if winners else complete
    ends = {name: tuple(zip(getattr(space, name), getattr(narrower, name), strict=True)) for name in spans}
    kept = {name: (max(low), min(high)) for name, (low, high) in ends.items()}
    return {name: (low, high) for name, (low, high) in kept.items() if low <= high}


def _options(space: SearchSpace) -> dict[str, tuple[Any, ...]]:
    """Ranges and choices by name, those of reward and risk among them."""
    return {
        name: value for part in (space, space.reward, space.risk) for name, value in part if isinstance(value, tuple)
    }


def _is_span(name: str, space: SearchSpace) -> bool:
    return name in _WHOLE or (name in SearchSpace.model_fields and isinstance(getattr(space, name)[0], float))


def _ruler(name: str, values: tuple[Any, ...], space: SearchSpace) -> tuple[str, Callable[[Any], float]]:
    """The ends of a range or the choices as text, and where a value lies from 0 to 1."""
    if _is_span(name, space):
        scale = np.log if name in _LOG else float
        low, high = scale(values[0]), scale(values[1])
        return f"{values[0]:.4g} to {values[1]:.4g}", lambda value: float((scale(value) - low) / (high - low or 1))
    return ", ".join(map(str, values)), lambda value: values.index(value) / max(1, len(values) - 1)


def _states(study: StudyResult, arm: str) -> str:
    states = [trial.state for trial in study.trials if trial.arm == arm]
    return ",\n".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed") if state in states)


def _best(completed: Sequence[TrialResult]) -> list[TrialResult]:
    ranked = sorted(completed, key=lambda trial: (-(trial.value or 0.0), trial.number))
    return ranked[: max(1, round(len(ranked) / 4))]


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(values):
        return values
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)


def _scaled(name: str, values: Sequence[object]) -> tuple[NDArray[np.float64], list[str]]:
    """Heights in 0..1 and the texts at equal distances from the lowest to the highest."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = np.array(values, dtype=np.float64)
        heights = _unit(np.log(numbers) if name in _LOG else numbers)
        ends = [f"{numbers.min():.4g}", f"{numbers.max():.4g}"]
        return heights, ends if numbers.max() > numbers.min() else ["", ends[0], ""]
    kinds = sorted({str(value) for value in values})
    return _positions([str(value) for value in values], kinds), kinds if len(kinds) > 1 else ["", *kinds, ""]


def _positions(values: Sequence[str], kinds: list[str]) -> NDArray[np.float64]:
    span = max(1, len(kinds) - 1)
    return np.array([kinds.index(value) / span if len(kinds) > 1 else 0.5 for value in values])


def _axis(ax: "Axes", index: int, texts: Sequence[str], *, last: bool) -> None:
    ax.axvline(index, color=FAINT, lw=0.8, zorder=1)
    for place, text in zip(np.linspace(0, 1, len(texts)), texts, strict=True):
        edge = "bottom" if place == 1 else "top" if place == 0 else "center"
        shift = 0.012 if place == 1 else -0.012 if place == 0 else 0.0
        ax.text(
            index + (0.06 if edge == "center" else 0.0),
            float(place) + shift,
            text,
            fontsize=6.5,
            ha="left" if edge == "center" else "center",
            va=edge,
            fontweight="bold" if last else "normal",
        )
