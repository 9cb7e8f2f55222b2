"""Actor and critic, PPO, checkpoints, and the actor that trades."""

from cappuccino_ml.policy.actor import Actor
from cappuccino_ml.policy.checkpoint import AgentConfig, identify, load_agent, save_agent
from cappuccino_ml.policy.networks import ActorCritic, build_agent
from cappuccino_ml.policy.ppo import Iteration, train
from cappuccino_ml.policy.resume import AGENT_ROOMS
from cappuccino_ml.policy.settings import AgentSettings, Arm, PPOSettings, TrainingSettings

__all__ = [
    "AGENT_ROOMS",
    "Actor",
    "ActorCritic",
    "AgentConfig",
    "AgentSettings",
    "Arm",
    "Iteration",
    "PPOSettings",
    "TrainingSettings",
    "build_agent",
    "identify",
    "load_agent",
    "save_agent",
    "train",
]
