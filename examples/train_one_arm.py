"""Policy: PPO on the last fold, with a pre-trained encoder.  python -m examples.train_one_arm [FOLDER]"""

from pathlib import Path

from cappuccino_ml.core import code_version
from cappuccino_ml.environment import Guards, Layout
from cappuccino_ml.policy import AGENT_ROOMS, AgentSettings, PPOSettings, TrainingSettings
from cappuccino_ml.study import FitJob, fit, read_learning_curve
from examples import folder
from examples.look_at_features import frozen
from examples.pretrain_encoder import ENCODER, last_fold

TRAINING = TrainingSettings(
    agent=AgentSettings(arm="ft_pretrained", lookback=2, net_dimension=32, encoder=ENCODER),  # or mlp, ft_scratch
    ppo=PPOSettings(steps=16384, batch_size=512, learning_rate=1e-3),  # at 3e-4 it would not trade yet
    layout=Layout(timestamps=8, environments=8, steps=32, episode_bars=64),
    guards=Guards(dead_band=0.0),  # so little training leads to small actions only
)


def job_of(place: Path) -> FitJob:
    """What to train, on which rows, from which seed: its key names the result."""
    dataset, encoder = frozen(place), last_fold(place)
    fold = dataset.splits.folds[-1]
    return FitJob(
        dataset_folder=dataset.folder,
        dataset_key=dataset.key,
        train_rows=fold.train,
        test_rows=fold.test,
        training=TRAINING,
        seed=7,
        encoder_folder=encoder.folder,
        encoder_key=encoder.key,
        code=code_version(*AGENT_ROOMS),
        root=place / "trials",
    )


def main(place: Path) -> None:
    """Train, measure on the fold's test rows, show."""
    job = job_of(place)
    result = fit(job)
    curve = read_learning_curve(job.folder)
    print(f"{result.steps:,} steps, {result.parameters:,} parameters, {len(curve)} iterations")
    print(f"net Sharpe on {result.bars} later bars {result.sharpe:+.2f}, turnover {result.turnover_per_day:.2f} a day")


if __name__ == "__main__":
    main(folder())
