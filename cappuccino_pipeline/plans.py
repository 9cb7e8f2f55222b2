"""How much work a budget buys: splits, encoders, trials and thresholds of one pass through the chain."""

from pydantic import Field

from cappuccino_ml.core import Settings
from cappuccino_ml.encoder import BALANCED, SMALL, PretrainingSettings
from cappuccino_ml.environment import Layout
from cappuccino_ml.policy import PPOSettings
from cappuccino_ml.study import (
    AblationSettings,
    ComparisonSettings,
    CrossValidationSettings,
    EncoderPlan,
    RewardOptions,
    RiskOptions,
    Search,
    SearchSpace,
    SplitSettings,
    StudySettings,
    TransferSettings,
    preset,
)
from cappuccino_ml.trading.decision import GoSettings
from cappuccino_ml.trading.session import WEEK_BARS
from cappuccino_ml.verdict import GateSettings, RegimeRule

# Within the small budget's few steps the usual pace leaves a policy below its dead band: it never trades at all.
_FEW = 32_768
_HASTE = PPOSettings(learning_rate=2e-3, batch_size=512)
_SHORT = Layout(timestamps=8, environments=8, steps=32)


class Plan(Settings):
    """Everything the research half of the chain is configured by."""

    splits: SplitSettings = SplitSettings()
    encoder: EncoderPlan = EncoderPlan()
    study: StudySettings = StudySettings()
    gate: GateSettings = GateSettings()
    cross_validation: CrossValidationSettings = CrossValidationSettings()
    comparison: ComparisonSettings = ComparisonSettings()
    ablation: AblationSettings = AblationSettings()
    transfer: TransferSettings = TransferSettings()
    regimes: RegimeRule = RegimeRule()
    rehearsal_bars: int = Field(WEEK_BARS, ge=24, description="newest bars replayed before a model may trade")
    go: GoSettings = GoSettings()


# Narrow enough for eight trials of 80,000 steps: slower learning, or options the policy must first adapt to, need more.
SMALL_SPACE = SearchSpace(
    learning_rate=(5e-4, 1e-3),
    net_dimension=(256, 320),
    batch_size=(1024, 2048),
    gamma=(0.9, 0.97),
    gae_lambda=(0.9, 0.99),
    clip=(0.15, 0.3),
    entropy=(1e-4, 2e-3),
    weight_decay=(0.5, 5.0),
    epochs=(3, 5),
    lookback=(1, 8),
    reward=RewardOptions(turnover_penalty=(), drawdown_penalty=(), concentration_penalty=()),
    risk=RiskOptions.none(),
    ft_d_token=(16, 32),
    ft_n_blocks=(1, 1),
    ft_n_heads=(2, 4),
)
FULL_SPACE = SMALL_SPACE.model_copy(
    update={
        "steps": 100_000,
        "net_dimension": (256, 1024),
        "ft_d_token": (16, 32, 64),
        "ft_n_blocks": (1, 2),
        "ft_encoding_dim": 512,
    }
)


def plan_for(budget: str, *, seed: int, search: Search = "budget") -> Plan:
    """`small` fits the demo's five minutes on two cores; `full` took 49 minutes on two shared cores with
    2.7 years of real hourly bars.

    `search` chooses the ranges: the budget's own, or a preset of the complete ones, which want a larger budget.
    """
    if budget == "small":
        return Plan(
            encoder=EncoderPlan(
                encoder=SMALL.model_copy(update={"lookback": 6}),
                pretraining=PretrainingSettings(epochs=8, batch_size=64, learning_rate=1e-2),
                seed=seed,
            ),
            study=StudySettings(trials_per_side=4, seed=seed, search=search, space=preset(SMALL_SPACE, search)),
            comparison=ComparisonSettings(steps=(20_000, 80_000), seeds=3, seed=seed),
            # Scalar tokens at lookback 1 only: at 3 their pre-training and joint fusion alone would take ten minutes.
            ablation=AblationSettings(
                steps=_FEW, seeds=3, lookbacks=(3, 10), short_lookback=1, ppo=_HASTE, layout=_SHORT, seed=seed
            ),
            transfer=TransferSettings(steps=_FEW, seeds=3, fine_days=45, ppo=_HASTE, layout=_SHORT, seed=seed),
        )
    return Plan(
        encoder=EncoderPlan(
            encoder=BALANCED,
            pretraining=PretrainingSettings(epochs=15, batch_size=64, learning_rate=3e-3),
            seed=seed,
        ),
        study=StudySettings(trials_per_side=10, seed=seed, search=search, space=preset(FULL_SPACE, search)),
        cross_validation=CrossValidationSettings(seeds=2),
        comparison=ComparisonSettings(seed=seed),
        ablation=AblationSettings(seed=seed),
        transfer=TransferSettings(seed=seed),
    )
