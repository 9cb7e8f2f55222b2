"""What the trainings of an experiment have in common, and the jobs that differ in their seed alone."""

from pathlib import Path

from pydantic import Field

from cappuccino_ml.core import Settings, derive_seed
from cappuccino_ml.environment import Costs, Guards, Layout, Reward
from cappuccino_ml.policy import AgentSettings, PPOSettings, TrainingSettings
from cappuccino_ml.study.dataset import Dataset
from cappuccino_ml.study.fitting import FitJob
from cappuccino_ml.study.jobs import StoredEncoder, fit_job
from cappuccino_ml.study.splits import Fold


class EqualTrainings(Settings):
    """Equal for everything that is compared, so that only what is named differs."""

    seeds: int = Field(5, ge=1, description="trainings of everything that is compared")
    net_dimension: int = Field(256, ge=8)
    ppo: PPOSettings = Field(PPOSettings(learning_rate=7e-4), description="its `steps` are not used")
    layout: Layout = Layout(timestamps=8, environments=8, steps=64)
    guards: Guards = Guards()
    costs: Costs = Costs()
    reward: Reward = Reward()
    seed: int = 7


def seeded_jobs(
    dataset: Dataset,
    settings: EqualTrainings,
    *,
    experiment: str,
    agent: AgentSettings,
    steps: int,
    fold: Fold,
    encoder: StoredEncoder,
    root: Path,
) -> dict[int, FitJob]:
    """The trainings of one agent by seed (0, 1, ...), each measured on the fold's test rows.

    Seed k is the same for everything in an `experiment`: its agents meet the same start rows, books and exploration
    noise.
    """
    training = TrainingSettings(
        agent=agent,
        ppo=settings.ppo.model_copy(update={"steps": steps}),
        layout=settings.layout,
        guards=settings.guards,
        costs=settings.costs,
        reward=settings.reward,
    )
    return {
        seed: fit_job(
            dataset,
            training,
            train_rows=fold.train,
            test_rows=fold.test,
            seed=derive_seed(settings.seed, experiment, seed),
            encoder=encoder,
            root=root,
        )
        for seed in range(settings.seeds)
    }
