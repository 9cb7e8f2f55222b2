"""The search space: what a trial may try, arm by arm. Its defaults are the complete ranges; a budget or preset narrows.

A range of one value is no question and is not asked, nor is a parameter that the arm does not use. `ft_dropout` is
never asked: dropout acts in pre-training only (in PPO it would move the ratio from 1 before the first step), and no
trial pre-trains. `use_ft_encoder` and `ft_use_pretrained` are the arm: `allocation` deals them out exactly.
"""

from typing import Any, Literal

import optuna
from pydantic import Field, model_validator

from cappuccino_ml.core import Settings
from cappuccino_ml.encoder import SMALL, EncoderSettings
from cappuccino_ml.environment import Costs, Guards, Layout, Reward
from cappuccino_ml.policy import AgentSettings, Arm, PPOSettings, TrainingSettings

Span = tuple[float, float]
Search = Literal["budget", "complete", "conservative", "aggressive", "best"]
_PPO_LOG = ("learning_rate", "entropy", "weight_decay")
_PPO_LINEAR = ("gamma", "gae_lambda", "clip")


class RewardOptions(Settings):
    """Choices for the reward, the first of them off; units as in `Reward`. Empty: not searched."""

    benchmark: tuple[Literal["none", "equal_weight"], ...] = ("none", "equal_weight")
    turnover_penalty: tuple[float, ...] = (0.0, 2e-4, 1e-3)
    drawdown_penalty: tuple[float, ...] = (0.0, 0.1, 0.5)
    concentration_penalty: tuple[float, ...] = (0.0, 1e-5, 1e-4)


class RiskOptions(Settings):
    """Choices for the guards, off among them (a `max_weight` of 1 is off); units as in `Guards`. Empty: not searched.

    A trial's guards travel with its model: the trader obeys the ones that the policy was trained with.
    """

    max_weight: tuple[float, ...] = (1.0, 0.3, 0.5)
    min_cash: tuple[float, ...] = (0.0, 0.02, 0.1)
    max_drawdown: tuple[float, ...] = (0.5, 0.35)
    stop_loss: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2)
    trailing_stop: tuple[float, ...] = (0.0, 0.1, 0.2)
    min_holding_bars: tuple[int, ...] = (0, 6, 24)
    cooldown_bars: tuple[int, ...] = (0, 6, 24)

    @classmethod
    def none(cls) -> "RiskOptions":
        """Nothing is searched: all trials have the guards of the space."""
        return cls.model_validate(dict.fromkeys(cls.model_fields, ()))


class SearchSpace(Settings):
    """Ranges (low, high) and choices of one study. FT and mlp get the same ranges wherever both have one."""

    learning_rate: Span = (1e-6, 1e-3)
    net_dimension: tuple[int, int] = (256, 1856)
    net_dimension_step: int = Field(64, ge=1)
    batch_size: tuple[int, ...] = (1024, 2048, 4096, 8192)
    gamma: Span = (0.88, 0.999)
    gae_lambda: Span = (0.9, 0.99)
    clip: Span = (0.1, 0.3)
    entropy: Span = (1e-4, 2e-2)
    weight_decay: Span = (0.1, 5.0)
    epochs: tuple[int, int] = (4, 16)
    lookback: tuple[int, int] = (1, 10)
    reward: RewardOptions = RewardOptions()
    risk: RiskOptions = RiskOptions()
    ft_d_token: tuple[int, ...] = (16, 32, 64, 96)
    ft_n_blocks: tuple[int, int] = (1, 3)
    ft_n_heads: tuple[int, ...] = (2, 4, 8)
    ft_freeze_encoder: tuple[bool, ...] = (False, True)
    ft_encoding_dim: int = 256
    steps: int = Field(80_000, ge=1, description="environment steps of every trial, equal for all arms")
    layout: Layout = Layout()
    guards: Guards = Field(Guards(), description="of all trials, where `risk` does not search")
    costs: Costs = Costs()

    @model_validator(mode="after")
    def _can_be_sampled(self) -> "SearchSpace":
        for name, value in self:
            if name in (*_PPO_LOG, *_PPO_LINEAR, "net_dimension", "epochs", "lookback", "ft_n_blocks"):
                low, high = value
                if low > high:
                    raise ValueError(f"{name} goes from {low} to {high}; give the lower end first")
            elif isinstance(value, tuple) and not value:
                raise ValueError(f"{name} has no value to choose from; give at least one")
        if max(self.batch_size) > self.layout.samples:
            raise ValueError(
                f"batch_size {max(self.batch_size)} is more than the {self.layout.samples} samples of a rollout and "
                "would change nothing; choose smaller batches or a larger layout"
            )
        for d_token in self.ft_d_token:
            for heads in self.ft_n_heads:
                if d_token % heads:
                    raise ValueError(f"ft_d_token {d_token} is not a multiple of ft_n_heads {heads}; drop one of them")
        return self

    def sample(self, trial: optuna.Trial, arm: Arm, *, pretrained: EncoderSettings) -> TrainingSettings:
        """Ask `trial` for every parameter that is active in `arm`; a pre-trained encoder fixes its own shape."""
        ask = _Asker(trial)
        encoder = self._encoder(ask, arm, pretrained)
        lookback = encoder.lookback if arm == "ft_pretrained" and encoder else ask.whole("lookback", self.lookback)
        if encoder is not None:
            encoder = encoder.model_copy(update={"lookback": lookback})
        agent = AgentSettings(
            arm=arm,
            lookback=lookback,
            net_dimension=ask.whole("net_dimension", self.net_dimension, step=self.net_dimension_step),
            encoder=encoder,
            # Freezing is for weights that have learned something: a frozen random encoder never trades.
            freeze_encoder=arm == "ft_pretrained" and ask.one_of("ft_freeze_encoder", self.ft_freeze_encoder),
        )
        ppo = PPOSettings(
            steps=self.steps,
            batch_size=ask.one_of("batch_size", self.batch_size),
            epochs=ask.whole("epochs", self.epochs),
            **{name: ask.number(name, getattr(self, name), log=True) for name in _PPO_LOG},
            **{name: ask.number(name, getattr(self, name)) for name in _PPO_LINEAR},
        )
        return TrainingSettings(
            agent=agent,
            ppo=ppo,
            layout=self.layout,
            guards=Guards.model_validate(self.guards.model_dump() | ask.options(self.risk)),
            costs=self.costs,
            reward=Reward.model_validate(ask.options(self.reward)),
        )

    def _encoder(self, ask: "_Asker", arm: Arm, pretrained: EncoderSettings) -> EncoderSettings | None:
        if arm == "mlp":
            return None
        if arm == "ft_pretrained":
            return pretrained
        return SMALL.model_copy(
            update={
                "d_token": ask.one_of("ft_d_token", self.ft_d_token),
                "n_blocks": ask.whole("ft_n_blocks", self.ft_n_blocks),
                "n_heads": ask.one_of("ft_n_heads", self.ft_n_heads),
                "encoding_dim": self.ft_encoding_dim,
                "dropout": 0.0,  # dropout acts in pre-training only, and this encoder has none
            }
        )


class _Asker:
    """Puts a question to an Optuna trial only where there is something to choose."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def number(self, name: str, span: Span, *, log: bool = False) -> float:
        low, high = span
        return low if low == high else self._trial.suggest_float(name, low, high, log=log)

    def whole(self, name: str, span: tuple[int, int], *, step: int = 1) -> int:
        low, high = span
        return low if low == high else self._trial.suggest_int(name, low, high, step=step)

    def one_of(self, name: str, choices: tuple[Any, ...]) -> Any:
        return choices[0] if len(choices) == 1 else self._trial.suggest_categorical(name, choices)

    def options(self, options: Settings) -> dict[str, Any]:
        return {name: self.one_of(name, choices) for name, choices in options if choices}


def allocation(trials_per_side: int) -> tuple[Arm, ...]:
    """The arm of every trial: FT and mlp take turns, so the split is exactly half and half, and so it is within FT."""
    arms: list[Arm] = []
    for index in range(trials_per_side):
        arms += ["mlp", "ft_pretrained" if index % 2 == 0 else "ft_scratch"]
    return tuple(arms)


def preset(space: SearchSpace, search: Search) -> SearchSpace:
    """`space` for a way to search: as it is, or the complete ranges with its steps, layout, costs and encoding width.

    `conservative` and `aggressive` are the complete ranges with smaller or larger encoders. `best` begins from the
    complete ranges, too, and is narrowed by `best_ranges`.
    """
    if search == "budget":
        return space
    kept = {name: getattr(space, name) for name in ("steps", "layout", "guards", "costs", "ft_encoding_dim")}
    shapes: dict[Search, dict[str, Any]] = {
        "conservative": {"ft_d_token": (32, 64), "ft_n_blocks": (1, 2), "ft_n_heads": (2, 4)},
        "aggressive": {"ft_d_token": (32, 64, 96, 128), "ft_n_blocks": (1, 4), "ft_n_heads": (2, 4, 8)},
    }
    return SearchSpace(**kept, **shapes.get(search, {}))
