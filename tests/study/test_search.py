"""The search space: half FT and half mlp, and every parameter that is asked for is used."""

from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cappuccino_ml.policy import Arm, TrainingSettings
from cappuccino_ml.study import SearchSpace, allocation

from .conftest import ENCODER, SPACE, MakeJob

ARMS: tuple[Arm, ...] = ("mlp", "ft_scratch", "ft_pretrained")
COMMON = {
    "net_dimension", "learning_rate", "batch_size", "epochs", "gamma", "gae_lambda", "clip", "entropy", "weight_decay",
    "benchmark",
}  # fmt: skip
ASKED: dict[Arm, set[str]] = {
    "mlp": COMMON | {"lookback"},
    "ft_scratch": COMMON | {"lookback", "ft_d_token", "ft_n_blocks", "ft_n_heads"},
    "ft_pretrained": COMMON | {"ft_freeze_encoder"},
}


def asked(arm: Arm, space: SearchSpace = SPACE) -> tuple[TrainingSettings, dict[str, Any]]:
    """Settings and parameters with distributions, as a study would get them."""
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3)).ask()
    training = space.sample(trial, arm, pretrained=ENCODER)
    return training, {name: (trial.params[name], trial.distributions[name]) for name in trial.params}


def another(value: Any, distribution: optuna.distributions.BaseDistribution) -> Any:
    """A different value of the same range."""
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return next(choice for choice in distribution.choices if choice != value)
    assert isinstance(distribution, optuna.distributions.IntDistribution | optuna.distributions.FloatDistribution)
    return distribution.low if value != distribution.low else distribution.high


@given(st.integers(1, 60))
def test_the_allocation_is_exactly_half_and_half(trials_per_side: int) -> None:
    arms = allocation(trials_per_side)
    assert len(arms) == 2 * trials_per_side
    assert arms.count("mlp") == trials_per_side
    assert 0 <= arms.count("ft_pretrained") - arms.count("ft_scratch") <= 1
    # Any even beginning is half and half too, so that no side meets a wiser sampler than the other.
    assert all(arms[:even].count("mlp") == even // 2 for even in range(0, len(arms), 2))


@pytest.mark.parametrize("arm", ARMS)
def test_inactive_parameters_are_not_sampled(arm: Arm) -> None:
    training, parameters = asked(arm)
    assert set(parameters) == ASKED[arm]
    assert training.agent.arm == arm
    assert (training.agent.encoder is None) == (arm == "mlp")


@pytest.mark.parametrize(("arm", "name"), [(arm, name) for arm in ARMS for name in sorted(ASKED[arm])])
def test_defect_14_every_sampled_parameter_changes_the_job(arm: Arm, name: str, make_job: MakeJob) -> None:
    training, parameters = asked(arm)
    values = {key: value for key, (value, _) in parameters.items()}
    same = SPACE.sample(optuna.trial.FixedTrial(values), arm, pretrained=ENCODER)  # type: ignore[arg-type]
    assert same == training
    values[name] = another(*parameters[name])
    changed = SPACE.sample(optuna.trial.FixedTrial(values), arm, pretrained=ENCODER)  # type: ignore[arg-type]
    assert changed != training
    assert make_job(arm, training=changed).key != make_job(arm, training=training).key


def test_both_sides_have_the_same_ranges_and_the_same_steps() -> None:
    (mlp, of_mlp), (scratch, of_scratch) = asked("mlp"), asked("ft_scratch")
    shared = set(of_mlp) & set(of_scratch)
    assert shared == ASKED["mlp"]
    assert all(of_mlp[name][1] == of_scratch[name][1] for name in shared)
    assert mlp.ppo.steps == scratch.ppo.steps == SPACE.steps
    assert (mlp.guards, mlp.costs) == (scratch.guards, scratch.costs)


def test_a_pretrained_encoder_keeps_its_own_shape() -> None:
    training, _ = asked("ft_pretrained")
    assert training.agent.encoder == ENCODER
    assert training.agent.lookback == ENCODER.lookback
