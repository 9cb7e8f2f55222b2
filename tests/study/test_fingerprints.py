"""Defect 14: each parameter that a trial is asked, changed alone, changes the very weights or returns of the run."""

import hashlib
from typing import Any

import optuna
import pytest
from safetensors.numpy import load_file

from cappuccino_ml.policy import Arm, TrainingSettings
from cappuccino_ml.study import FitJob, RewardOptions, RiskOptions, SearchSpace, fit, read_returns

from .conftest import ENCODER, SPACE, MakeJob
from .test_search import another

# Values that bite within 512 steps on hourly bars; the options a study chooses from are for longer runs.
TIGHT = SPACE.model_copy(
    update={
        "steps": 512,
        "learning_rate": (1e-4, 0.02),
        "reward": RewardOptions(
            turnover_penalty=(0.0, 0.01), drawdown_penalty=(0.0, 1.0), concentration_penalty=(0.0, 0.01)
        ),
        "risk": RiskOptions(
            max_weight=(1.0, 0.05),
            min_cash=(0.0, 0.6),
            max_drawdown=(0.5, 0.003),
            stop_loss=(0.0, 0.002),
            trailing_stop=(0.0, 0.002),
            min_holding_bars=(0, 8),
            cooldown_bars=(0, 8),
        ),
    }
)
COMMON = {
    "net_dimension", "learning_rate", "batch_size", "epochs", "gamma", "gae_lambda", "clip", "entropy", "weight_decay",
    "lookback", *RewardOptions.model_fields, *RiskOptions.model_fields,
}  # fmt: skip
OWN: dict[Arm, set[str]] = {
    "mlp": set(),
    "ft_scratch": {"ft_d_token", "ft_n_blocks", "ft_n_heads"},
    "ft_pretrained": {"ft_freeze_encoder"},
}
# What both sides share reaches the same agent by the same way: it is run on the mlp arm, which is the fastest.
CASES: list[tuple[Arm, str]] = [
    *(("mlp", name) for name in sorted(COMMON)),
    *((arm, name) for arm in OWN for name in sorted(OWN[arm])),
    ("ft_scratch", "lookback"),
    ("ft_scratch", "learning_rate"),
    ("ft_pretrained", "learning_rate"),
]
# A cooldown follows a sale, as by a stop; a ratio must leave 1 before it can be clipped.
NEEDS = {"cooldown_bars": {"stop_loss": 0.002}, "clip": {"learning_rate": 0.02, "epochs": 5}}


def first_values(arm: Arm) -> tuple[dict[str, Any], dict[str, optuna.distributions.BaseDistribution]]:
    """The first choice, or the lower end, of everything that `arm` is asked."""
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3)).ask()
    TIGHT.sample(trial, arm, pretrained=ENCODER)
    values = {
        name: found.choices[0] if isinstance(found, optuna.distributions.CategoricalDistribution) else found.low
        for name, found in trial.distributions.items()
    }
    return values, trial.distributions


def settings_for(arm: Arm, values: dict[str, Any]) -> TrainingSettings:
    return TIGHT.sample(optuna.trial.FixedTrial(values), arm, pretrained=ENCODER)  # type: ignore[arg-type]


def fingerprint(job: FitJob) -> str:
    """Of the trained tensors and the measured returns, not of any configuration."""
    fit(job)
    sha = hashlib.sha256(read_returns(job.folder).tobytes())
    for name, tensor in sorted(load_file(job.folder / "agent" / "weights.safetensors").items()):
        sha.update(name.encode() + str(tensor.shape).encode() + tensor.tobytes())
    return sha.hexdigest()


@pytest.fixture(scope="session")
def seen() -> dict[str, str]:
    """Fingerprints of unchanged runs by arm and values: made once."""
    return {}


@pytest.mark.parametrize("arm", OWN)
def test_what_an_arm_is_asked_is_what_is_tested_here(arm: Arm) -> None:
    asked = set(first_values(arm)[0])
    fixed = {"lookback"} if arm == "ft_pretrained" else set()
    assert asked == (COMMON - fixed) | OWN[arm]
    assert {name for name in asked if name not in OWN[arm]} <= {name for case, name in CASES if case == "mlp"}


@pytest.mark.parametrize(("arm", "name"), CASES)
def test_defect_14_every_active_parameter_changes_the_trained_agent(
    arm: Arm, name: str, make_job: MakeJob, seen: dict[str, str]
) -> None:
    values, distributions = first_values(arm)
    values |= NEEDS.get(name, {})

    def run(asked: dict[str, Any]) -> str:
        return fingerprint(make_job(arm, training=settings_for(arm, asked)))

    before = f"{arm} {sorted(values.items())}"
    if before not in seen:
        seen[before] = run(values)
    assert run(values | {name: another(values[name], distributions[name])}) != seen[before]


def test_the_same_parameters_have_the_same_fingerprint(make_job: MakeJob, tmp_path: Any) -> None:
    training = settings_for("mlp", first_values("mlp")[0])
    first, again = (make_job("mlp", training=training, root=tmp_path / name) for name in ("a", "b"))
    assert fingerprint(first) == fingerprint(again)


def test_the_complete_space_asks_every_option_of_the_reward_and_the_risk() -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3)).ask()
    SearchSpace().sample(trial, "ft_scratch", pretrained=ENCODER)
    assert set(trial.params) == COMMON | OWN["ft_scratch"]
