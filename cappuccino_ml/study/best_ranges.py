"""`best` ranges: the search space narrowed around winners of finished studies on the same market, with the evidence.

A study counts only if its development rows end before this data set's holdout begins: ranges that were chosen by
looking at holdout bars would leak them.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cappuccino_ml.core import ConfigurationError, digest, is_done, read_settings, write_json
from cappuccino_ml.study.dataset import Dataset, DatasetConfig
from cappuccino_ml.study.results import RESULT, Narrowing, StudyResult, StudySettings, TrialResult, Winner
from cappuccino_ml.study.search import SearchSpace

WINNING_SHARE = 0.25  # of a study's completed trials
LEAST_WINNERS = 4
MARGIN = 0.1  # of a range, kept on both sides of the winners
_LOG = ("learning_rate", "entropy", "weight_decay")


def best_ranges(
    space: SearchSpace, dataset: Dataset, *, studies: Path, datasets: Path
) -> tuple[SearchSpace, Narrowing]:
    """Narrow `space` -> the narrower one and the trials it came from.

    The best quarter of every study's completed trials (at least one) wins. A range becomes the winners' range and a
    tenth of its width on both sides, never wider than `space`; choices become those that winners took. A parameter that
    no winner was asked keeps its range.

    Args:
        space: what to narrow.
        dataset: of the study to come.
        studies: folder of studies.
        datasets: folder of the data sets they were made on.

    Raises:
        ConfigurationError: too few winners.
    """
    winners: list[tuple[str, TrialResult]] = []
    passed_over: dict[str, str] = {}
    read = []
    for folder in sorted(path for path in studies.glob("*") if is_done(path)):
        try:
            study = read_settings(StudyResult, folder / RESULT)
        except ConfigurationError:
            passed_over[folder.name] = "it was written by another version of the code"
            continue
        reason = _unfit(study, dataset, datasets)
        if reason:
            passed_over[study.key] = reason
            continue
        read.append(study.key)
        ranked = sorted(study.completed, key=lambda trial: (-(trial.value or 0.0), trial.number))
        winners += [(study.key, trial) for trial in ranked[: max(1, round(WINNING_SHARE * len(ranked)))]]
    if len(winners) < LEAST_WINNERS:
        raise ConfigurationError(
            f"best ranges need {LEAST_WINNERS} winning trials of finished studies on this market and found "
            f"{len(winners)} in {len(read)} studies ({len(passed_over)} passed over); run a study with "
            "CAPPUCCINO_SEARCH=complete first."
        )
    narrowing = Narrowing(
        winners=tuple(
            Winner(study=key, trial=trial.number, key=trial.key, arm=trial.arm, value=trial.value or 0.0)
            for key, trial in winners
        ),
        studies=tuple(read),
        passed_over=passed_over,
    )
    return narrow(space, [trial for _, trial in winners]), narrowing


def narrow(space: SearchSpace, winners: Sequence[TrialResult]) -> SearchSpace:
    """`space` around what `winners` were."""
    changes: dict[str, Any] = {}
    for name, value in space:
        taken = [trial.params[name] for trial in winners if name in trial.params]
        if name in ("reward", "risk"):
            changes[name] = {
                option: _choices(choices, [trial.params[option] for trial in winners if option in trial.params])
                for option, choices in value
            }
        elif isinstance(value, tuple) and taken:
            spans = isinstance(value[0], float) or name in ("net_dimension", "epochs", "lookback", "ft_n_blocks")
            changes[name] = _span(name, value, taken, space) if spans else _choices(value, taken)
    return SearchSpace.model_validate(space.model_dump() | changes)


def _choices(choices: tuple[Any, ...], taken: Sequence[Any]) -> tuple[Any, ...]:
    """The choices that winners took, in the space's order; all of them where none is among them."""
    return tuple(choice for choice in choices if choice in taken) or choices


def _span(name: str, span: tuple[Any, Any], taken: Sequence[Any], space: SearchSpace) -> tuple[Any, Any]:
    inside = [value for value in taken if span[0] <= value <= span[1]]
    if not inside:
        return span
    if isinstance(span[0], float):
        scale, back = (math.log, math.exp) if name in _LOG else (float, float)
        low, high = scale(min(inside)), scale(max(inside))
        room = MARGIN * (scale(span[1]) - scale(span[0]))
        return max(span[0], back(low - room)), min(span[1], back(high + room))
    step = space.net_dimension_step if name == "net_dimension" else 1
    # Whole steps from the lower end, so that the grid stays the space's.
    room = max(step, round(MARGIN * (span[1] - span[0]) / step) * step)
    low = span[0] + (min(inside) - span[0]) // step * step
    return max(span[0], low - room), min(span[1], max(inside) + room)


def _unfit(study: StudyResult, dataset: Dataset, datasets: Path) -> str | None:
    folder = datasets / study.dataset_key
    if not is_done(folder):
        return "its data set is gone, so what it has seen cannot be told"
    config = read_settings(DatasetConfig, folder / "dataset.json")
    ours = dataset.config
    if (config.label, config.feature_schema.hash) != (ours.label, ours.feature_schema.hash):
        timeframe = config.feature_schema.timeframe
        return f"it is on other bars: {config.label}, {timeframe}, schema {config.feature_schema.hash}"
    bar = config.feature_schema.universe.bar
    seen_until = config.first + config.splits.development[1] * bar
    if seen_until >= dataset.time(dataset.splits.holdout[0]):
        return f"it has seen bars up to {seen_until:%Y-%m-%d}, which lie in this data set's holdout"
    return None


def resolve(settings: StudySettings, dataset: Dataset, *, studies: Path, datasets: Path) -> StudySettings:
    """Settings whose `best` ranges are found: once per data set and space, so that a study asked for again is the same.

    Delete the folder `.ranges` of `studies` to have them found anew.

    Raises:
        ConfigurationError: too few winners.
    """
    if settings.search != "best" or settings.narrowing is not None:
        return settings
    place = studies / ".ranges" / f"{digest({'dataset': dataset.key, 'settings': settings})[:16]}.json"
    if not place.is_file():
        space, narrowing = best_ranges(settings.space, dataset, studies=studies, datasets=datasets)
        write_json(place, settings.model_copy(update={"space": space, "narrowing": narrowing}))
    return read_settings(StudySettings, place)
