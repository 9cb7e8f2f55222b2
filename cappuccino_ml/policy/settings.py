"""What an agent is and how it is trained. The arm is configuration; there is one agent."""

from typing import Literal

from pydantic import Field, model_validator

from cappuccino_ml.core import Settings
from cappuccino_ml.encoder import EncoderSettings
from cappuccino_ml.environment import Costs, Guards, Layout, Reward

Arm = Literal["mlp", "ft_scratch", "ft_pretrained"]


class AgentSettings(Settings):
    """Architecture of actor and critic."""

    arm: Arm = "mlp"
    lookback: int = Field(3, ge=1, description="bars the agent looks at")
    net_dimension: int = Field(256, ge=8)
    encoder: EncoderSettings | None = Field(None, description="shape of the FT-Transformer; the FT arms only")
    freeze_encoder: bool = Field(False, description="keep the encoder's weights as loaded; the FT arms only")
    share_encoder: bool = Field(True, description="actor and critic read one encoder")
    initial_log_std: float = Field(-1.2, description="of the Gaussian policy, in units of max_step")

    @model_validator(mode="after")
    def _arm_has_its_encoder(self) -> "AgentSettings":
        if self.arm == "mlp":
            if self.encoder is not None or self.freeze_encoder:
                raise ValueError("the mlp arm has no encoder to set or freeze; choose arm ft_scratch or ft_pretrained")
        elif self.encoder is None:
            raise ValueError(f"arm {self.arm} needs encoder settings; give them or choose arm mlp")
        elif self.encoder.lookback != self.lookback:
            raise ValueError(
                f"lookback {self.lookback} differs from the encoder's {self.encoder.lookback}; make them equal"
            )
        return self


class PPOSettings(Settings):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347)."""

    steps: int = Field(200_000, ge=1, description="environment steps, over all books")
    learning_rate: float = Field(3e-4, gt=0)
    encoder_learning_rate_ratio: float = Field(1.0, gt=0, description="of learning_rate, for a fine-tuned encoder")
    batch_size: int = Field(1024, ge=1, description="samples per minibatch: whole moments with all their books")
    epochs: int = Field(4, ge=1)
    gamma: float = Field(0.95, ge=0, le=1)
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip: float = Field(0.2, gt=0)
    entropy: float = Field(1e-3, ge=0)
    value_weight: float = Field(0.1, ge=0, description="small, because actor and critic may share an encoder")
    max_grad_norm: float = Field(0.5, gt=0)
    max_kl: float = Field(0.05, gt=0, description="an update's epochs stop once approx_kl passes this")
    moment_baseline: bool = Field(
        True, description="subtract the mean advantage of the books that share a moment: they share its luck"
    )
    exogenous_baseline: bool = Field(
        True, description="subtract what the holdings at hand go on to earn anyway: the market does not care what we do"
    )
    weight_decay: float = Field(1.0, ge=0, description="decoupled; never on an FT-Transformer")


class TrainingSettings(Settings):
    """One training run, whole: two runs with equal settings, data, code and seed give the same bytes."""

    agent: AgentSettings = AgentSettings()
    ppo: PPOSettings = PPOSettings()
    layout: Layout = Layout()
    guards: Guards = Guards()
    costs: Costs = Costs()
    reward: Reward = Reward()
