"""What an agent may be told, and what is refused."""

import pytest
from pydantic import ValidationError

from cappuccino_ml.core import derive_seed
from cappuccino_ml.encoder import SMALL
from cappuccino_ml.policy.settings import AgentSettings, PPOSettings, TrainingSettings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arm": "ft_scratch"}, "arm ft_scratch needs encoder settings"),
        ({"arm": "ft_pretrained"}, "arm ft_pretrained needs encoder settings"),
        ({"arm": "mlp", "encoder": SMALL}, "the mlp arm has no encoder"),
        ({"arm": "mlp", "freeze_encoder": True}, "the mlp arm has no encoder"),
        ({"arm": "ft_scratch", "encoder": SMALL, "lookback": 7}, "lookback 7 differs from the encoder's 10"),
        ({"arm": "transformer"}, "arm"),
        ({"use_ft_encoder": True}, "use_ft_encoder"),
    ],
)
def test_defect_19_an_arm_that_would_silently_be_another_is_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        AgentSettings(**options)


def test_settings_are_frozen_and_survive_json():
    settings = TrainingSettings(agent=AgentSettings(arm="ft_scratch", encoder=SMALL, lookback=10))
    assert TrainingSettings.model_validate_json(settings.model_dump_json()) == settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.ppo.steps = 3


@pytest.mark.parametrize("wrong", [{"gamma": 1.1}, {"learning_rate": 0}, {"epochs": 0}, {"break_step": 1}])
def test_values_outside_their_limits_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        PPOSettings(**wrong)


def test_defect_20_every_trial_has_its_own_seed():
    names = [(study, "trial", trial, "fold", fold) for study in (0, 1) for trial in range(100) for fold in range(5)]
    seeds = {derive_seed(*name) for name in names}
    assert len(seeds) == len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(0, "trial", 3) == derive_seed(0, "trial", 3)
    assert derive_seed(1, 23) != derive_seed(12, 3)
