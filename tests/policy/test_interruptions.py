"""A PPO run that is killed, even with kill -9, ends with the same bytes as one that was left alone."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from cappuccino_ml.core import CheckpointError
from cappuccino_ml.environment import Guards, Layout
from cappuccino_ml.policy.ppo import train
from cappuccino_ml.policy.settings import PPOSettings

SETTINGS = PPOSettings(steps=6 * 96, learning_rate=1e-2, batch_size=32, epochs=2)
GUARDS = Guards(max_drawdown=0.02, stop_loss=0.01, trailing_stop=0.01, cooldown_bars=2)  # so that books remember things
ARMS = [("mlp", {}), ("ft_scratch", {}), ("ft_pretrained", {"freeze_encoder": True, "share_encoder": False})]


class KilledError(Exception):
    """Stands for a kill between two iterations."""


def run(planted, agent, *, seed=0, settings=SETTINGS, **options):
    env = planted.env(seed=seed, guards=GUARDS)
    history = train(agent, market=planted.features, env=env, settings=settings, seed=seed, **options)
    return save({name: value.detach().clone() for name, value in agent.named_parameters()}), history


def stop_after(iterations, how):
    seen = []

    def on_iteration(line):
        seen.append(line)
        if len(seen) == iterations:
            how()

    return on_iteration


def raise_killed():
    raise KilledError


@pytest.fixture
def halfway(make_planted, make_agent, tmp_path: Path) -> Path:
    with pytest.raises(KilledError):
        run(
            make_planted(),
            make_agent(),
            resume=tmp_path / "state",
            resume_every=1,
            on_iteration=stop_after(3, raise_killed),
        )
    return tmp_path / "state"


@pytest.mark.parametrize(("arm", "options"), ARMS, ids=["mlp", "fine-tuned", "frozen"])
def test_kill_minus_9_and_resume_give_the_bytes_of_an_undisturbed_run(make_planted, make_agent, tmp_path, arm, options):
    planted, folder = make_planted(), tmp_path / "state"
    child = os.fork()
    if child == 0:
        try:  # the fifth iteration is lost: the state is saved every second one
            killer = stop_after(5, lambda: os.kill(os.getpid(), signal.SIGKILL))
            run(planted, make_agent(arm, **options), resume=folder, resume_every=2, on_iteration=killer)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert sorted(path.name for path in folder.iterdir()) == ["progress-004.safetensors", "resume.json"]
    torch.manual_seed(99)
    told = []
    resumed = run(planted, make_agent(arm, **options), resume=folder, on_iteration=told.append)
    assert [line.steps for line in told] == [5 * 96, 6 * 96]
    assert resumed == run(planted, make_agent(arm, **options))
    assert not folder.exists()


def test_a_run_with_a_folder_for_its_state_gives_the_bytes_of_one_without(make_planted, make_agent, tmp_path):
    planted = make_planted()
    assert run(planted, make_agent(), resume=tmp_path / "state") == run(planted, make_agent())
    assert not (tmp_path / "state").exists()


def test_the_state_is_one_safetensors_file_and_json(halfway: Path):
    assert sorted(path.name for path in halfway.iterdir()) == ["progress-003.safetensors", "resume.json"]
    assert len(json.loads((halfway / "resume.json").read_text())["history"]) == 3


@pytest.mark.parametrize("what", ["seed", "ppo", "environment", "features", "first_weights", "agent", "first_books"])
def test_the_state_of_another_run_is_refused_by_name(make_planted, make_agent, halfway, what):
    planted, agent, env_seed, seed, settings = make_planted(), make_agent(), 0, 0, SETTINGS
    layout = None
    if what == "seed":
        seed = 1
    elif what == "ppo":
        settings = SETTINGS.model_copy(update={"learning_rate": 0.5})
    elif what == "environment":
        layout = Layout(timestamps=4, environments=3, steps=8, episode_bars=16)
    elif what == "features":
        planted.features[100] += 1
    elif what == "first_weights":
        agent = make_agent(seed=5)
    elif what == "agent":
        agent = make_agent("ft_scratch")
    else:
        env_seed = 3
    env = planted.env(seed=env_seed, guards=GUARDS, layout=layout)
    with pytest.raises(CheckpointError, match=f"holds a training with {what} = "):
        train(agent, market=planted.features, env=env, settings=settings, seed=seed, resume=halfway)


def test_an_altered_state_is_refused(make_planted, make_agent, halfway):
    path = halfway / "progress-003.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match="absent or was altered"):
        run(make_planted(), make_agent(), resume=halfway)


def test_books_put_back_from_their_state_go_on_like_the_originals(make_planted):
    planted = make_planted()
    one, other = planted.env(seed=1, guards=GUARDS), planted.env(seed=2, guards=GUARDS)
    actions = torch.randn(40, one.layout.books, 2, generator=torch.Generator().manual_seed(0))

    def play(env, steps):
        seen = []
        for step in steps:
            if step % env.layout.steps == 0:
                env.begin_rollout()
            seen += [env.entries(), env.step(actions[step]).reward]
        return seen

    play(one, range(24))
    other.restore(one.state())
    assert all(torch.equal(a, b) for a, b in zip(play(one, range(24, 40)), play(other, range(24, 40)), strict=True))
    assert one.book.units.stride() == other.book.units.stride()
