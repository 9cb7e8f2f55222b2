"""The search space: what a trial may try, arm by arm, sized by the budget. Inactive parameters are not sampled."""

from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from pydantic import Field

from cappuccino_ml.core import Settings, derive_seed
from cappuccino_ml.encoder import SMALL, EncoderSettings
from cappuccino_ml.environment import Costs, Guards, Layout, Reward
from cappuccino_ml.policy import AgentSettings, Arm, PPOSettings, TrainingSettings

Span = tuple[float, float]


class SearchSpace(Settings):
    """Ranges and fixed choices of one study. The FT and the mlp arms get the same ranges wherever both have one."""

    learning_rate: Span = (5e-4, 1e-3)
    net_dimension: tuple[int, int] = (256, 320)
    net_dimension_step: int = 64
    batch_size: tuple[int, ...] = (1024, 2048)
    gamma: Span = (0.9, 0.97)
    gae_lambda: Span = (0.9, 0.99)
    clip: Span = (0.15, 0.3)
    entropy: Span = (1e-4, 2e-3)
    weight_decay: Span = (0.5, 5.0)
    epochs: tuple[int, int] = (3, 5)
    lookback: tuple[int, int] = (1, 8)
    benchmark: tuple[Literal["none", "equal_weight"], ...] = ("none", "equal_weight")
    ft_d_token: tuple[int, ...] = (16, 32)
    ft_n_blocks: tuple[int, int] = (1, 1)
    ft_n_heads: tuple[int, ...] = (2, 4)
    ft_encoding_dim: int = 256
    steps: int = Field(80_000, description="environment steps of every trial, equal for all arms")
    layout: Layout = Layout()
    guards: Guards = Guards()
    costs: Costs = Costs()

    def sample(self, trial: optuna.Trial, arm: Arm, *, pretrained: EncoderSettings) -> TrainingSettings:
        """Ask `trial` for every parameter that is active in `arm`; a pre-trained encoder fixes its own shape."""
        encoder = self._encoder(trial, arm, pretrained)
        lookback = (
            encoder.lookback if arm == "ft_pretrained" and encoder else trial.suggest_int("lookback", *self.lookback)
        )
        if encoder is not None:
            encoder = encoder.model_copy(update={"lookback": lookback})
        agent = AgentSettings(
            arm=arm,
            lookback=lookback,
            net_dimension=trial.suggest_int("net_dimension", *self.net_dimension, step=self.net_dimension_step),
            encoder=encoder,
            # Freezing is for weights that have learned something: a frozen random encoder never trades.
            freeze_encoder=arm == "ft_pretrained" and trial.suggest_categorical("ft_freeze_encoder", (False, True)),
        )
        ppo = PPOSettings(
            steps=self.steps,
            learning_rate=trial.suggest_float("learning_rate", *self.learning_rate, log=True),
            batch_size=trial.suggest_categorical("batch_size", self.batch_size),
            epochs=trial.suggest_int("epochs", *self.epochs),
            gamma=trial.suggest_float("gamma", *self.gamma),
            gae_lambda=trial.suggest_float("gae_lambda", *self.gae_lambda),
            clip=trial.suggest_float("clip", *self.clip),
            entropy=trial.suggest_float("entropy", *self.entropy, log=True),
            weight_decay=trial.suggest_float("weight_decay", *self.weight_decay, log=True),
        )
        reward = Reward(benchmark=trial.suggest_categorical("benchmark", self.benchmark))
        return TrainingSettings(
            agent=agent, ppo=ppo, layout=self.layout, guards=self.guards, costs=self.costs, reward=reward
        )

    def _encoder(self, trial: optuna.Trial, arm: Arm, pretrained: EncoderSettings) -> EncoderSettings | None:
        if arm == "mlp":
            return None
        if arm == "ft_pretrained":
            return pretrained
        return SMALL.model_copy(
            update={
                "d_token": trial.suggest_categorical("ft_d_token", self.ft_d_token),
                "n_blocks": trial.suggest_int("ft_n_blocks", *self.ft_n_blocks),
                "n_heads": trial.suggest_categorical("ft_n_heads", self.ft_n_heads),
                "encoding_dim": self.ft_encoding_dim,
                "dropout": 0.0,  # dropout acts in pre-training only, and this encoder has none
            }
        )


class Sampler(optuna.samplers.BaseSampler):
    """TPE whose every draw follows from seed, trial, parameter and finished trials, not from the draws before it.

    So a study that was killed between two questions asks the rest as if nothing had happened.
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


def allocation(trials_per_side: int) -> tuple[Arm, ...]:
    """The arm of every trial: FT and mlp take turns, so the split is exactly half and half, and so it is within FT."""
    arms: list[Arm] = []
    for index in range(trials_per_side):
        arms += ["mlp", "ft_pretrained" if index % 2 == 0 else "ft_scratch"]
    return tuple(arms)
