"""How much work a budget buys: splits, encoders, trials and thresholds of one pass through the chain."""

from cappuccino_ml.core import Settings
from cappuccino_ml.encoder import BALANCED, SMALL, PretrainingSettings
from cappuccino_ml.study import (
    ComparisonSettings,
    CrossValidationSettings,
    EncoderPlan,
    SearchSpace,
    SplitSettings,
    StudySettings,
)
from cappuccino_ml.verdict import GateSettings


class Plan(Settings):
    """Everything the research half of the chain is configured by."""

    splits: SplitSettings = SplitSettings()
    encoder: EncoderPlan = EncoderPlan()
    study: StudySettings = StudySettings()
    gate: GateSettings = GateSettings()
    cross_validation: CrossValidationSettings = CrossValidationSettings()
    comparison: ComparisonSettings = ComparisonSettings()


def plan_for(budget: str, *, seed: int) -> Plan:
    """`small` fits the demo's five minutes on two cores; `full` takes the better part of an hour."""
    if budget == "small":
        return Plan(
            encoder=EncoderPlan(
                encoder=SMALL.model_copy(update={"lookback": 6}),
                pretraining=PretrainingSettings(epochs=8, batch_size=64, learning_rate=1e-2),
                seed=seed,
            ),
            study=StudySettings(trials_per_side=4, seed=seed),
            comparison=ComparisonSettings(steps=(20_000, 80_000), seeds=3, seed=seed),
        )
    return Plan(
        encoder=EncoderPlan(
            encoder=BALANCED,
            pretraining=PretrainingSettings(epochs=15, batch_size=64, learning_rate=3e-3),
            seed=seed,
        ),
        study=StudySettings(
            trials_per_side=12,
            seed=seed,
            space=SearchSpace(
                steps=200_000,
                net_dimension=(256, 1024),
                ft_d_token=(16, 32, 64),
                ft_n_blocks=(1, 2),
                ft_n_heads=(2, 4),
                ft_encoding_dim=512,
            ),
        ),
        cross_validation=CrossValidationSettings(seeds=2),
        comparison=ComparisonSettings(seed=seed),
    )
