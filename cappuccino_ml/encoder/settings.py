"""What an encoder is: its shape, how it cuts a window into tokens, and how it is run."""

from typing import Literal

from pydantic import Field, model_validator

from cappuccino_ml.core import Settings

Tokenization = Literal["series", "ticker", "scalar"]
Fusion = Literal["late", "joint"]


class EncoderSettings(Settings):
    """Shape of an encoder. The spec's presets are `SMALL`, `BALANCED` and `LARGE` below.

    The last three change memory and time, never the weights: a checkpoint made with them fits one without.
    """

    lookback: int = Field(10, ge=1, description="bars in a window")
    tokenization: Tokenization = Field(
        "ticker", description="one token per ticker and feature, per ticker, or per scalar entry of the window"
    )
    fusion: Fusion = Field(
        "late", description="joint: the book's entries are tokens too, as in the paper; scalar tokens only"
    )
    d_token: int = Field(64, ge=1)
    n_blocks: int = Field(2, ge=1)
    n_heads: int = Field(4, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1, description="on residual branches, in pre-training only")
    encoding_dim: int = Field(512, ge=1)
    checkpointing: bool = Field(False, description="recompute blocks in the backward pass: less memory, more time")
    bf16: bool = Field(False, description="autocast to bfloat16: for GPUs; slower on most CPUs")
    compile: bool = Field(False, description="torch.compile the blocks: about half a minute once per process")

    @model_validator(mode="after")
    def _fits(self) -> "EncoderSettings":
        if self.d_token % self.n_heads:
            raise ValueError(f"d_token {self.d_token} is not a multiple of n_heads {self.n_heads}; choose one that is")
        if self.fusion == "joint" and self.tokenization != "scalar":
            raise ValueError(f"joint fusion needs scalar tokens, not {self.tokenization}; choose late fusion")
        return self


SMALL = EncoderSettings(d_token=32, n_blocks=1, n_heads=2, dropout=0.05, encoding_dim=256)
BALANCED = EncoderSettings()
LARGE = EncoderSettings(d_token=128, n_blocks=3, n_heads=8, dropout=0.15, encoding_dim=1024)
