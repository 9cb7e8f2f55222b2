"""Actor and critic, PPO, checkpoints, and the actor that trades."""

from cappuccino_ml.policy.actor import Actor
from cappuccino_ml.policy.checkpoint import AgentConfig, agent_code, identify, load_agent, save_agent
from cappuccino_ml.policy.networks import ActorCritic, build_agent
from cappuccino_ml.policy.ppo import Iteration, train
from cappuccino_ml.policy.settings import AgentSettings, Arm, PPOSettings, TrainingSettings

__all__ = [
    "Actor",
    "ActorCritic",
    "AgentConfig",
    "AgentSettings",
    "Arm",
    "Iteration",
    "PPOSettings",
    "TrainingSettings",
    "agent_code",
    "build_agent",
    "identify",
    "load_agent",
    "save_agent",
    "train",
]
