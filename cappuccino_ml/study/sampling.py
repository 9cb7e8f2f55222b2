"""How a generation of trials is asked: together, by the study's seed and earlier generations, and by nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from cappuccino_ml.core import derive_seed
from cappuccino_ml.encoder import EncoderSettings
from cappuccino_ml.policy import Arm, TrainingSettings
from cappuccino_ml.study.search import SearchSpace


@dataclass(frozen=True)
class Asked:
    """One trial before it is run."""

    number: int
    arm: Arm
    training: TrainingSettings
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]


def ask_generation(
    earlier: Sequence[FrozenTrial], arms: Sequence[Arm], *, space: SearchSpace, pretrained: EncoderSettings, seed: int
) -> tuple[Asked, ...]:
    """The next `len(arms)` trials, given all `earlier` ones with their results.

    A pure function: whoever asks again, after a kill or elsewhere, is answered the same.
    """
    scratch = optuna.create_study(sampler=Sampler(seed=seed), direction="maximize")
    scratch.add_trials(earlier)
    asked = []
    for number, arm in enumerate(arms, start=len(earlier)):
        trial = scratch.ask()
        training = space.sample(trial, arm, pretrained=pretrained)
        asked.append(Asked(number, arm, training, dict(trial.params), dict(trial.distributions)))
    return tuple(asked)


class Sampler(optuna.samplers.BaseSampler):
    """TPE whose every draw follows from study seed, trial, parameter and earlier generations, not from other draws.

    The generation is in the trial's number. So a parameter more or less in the space leaves the others' draws alone.
    """

    def __init__(self, *, seed: int) -> None:
        self._seed = seed

    def _tpe(self, *use: object) -> optuna.samplers.TPESampler:
        return optuna.samplers.TPESampler(seed=derive_seed(self._seed, "sampler", *use) % 2**32)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that all finished trials have: they are drawn together."""
        return self._tpe().infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw those parameters."""
        return self._tpe(trial.number).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one of the others."""
        return self._tpe(trial.number, param_name).sample_independent(study, trial, param_name, param_distribution)
