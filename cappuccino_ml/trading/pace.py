"""When the trading service looks at what, in seconds."""

from pydantic import Field

from cappuccino_ml.core import Settings


class Pace(Settings):
    """When the service looks, in seconds. A replay waits for nothing but the next close."""

    settle_s: float = Field(5.0, ge=0, description="after a close, before its bars are asked for")
    patience_s: float = Field(
        60.0, ge=0, description="after a close, so long bars that are still missing are waited for"
    )
    ask_again_s: float = Field(10.0, gt=0, description="between two questions for them")
    retry_s: float = Field(60.0, gt=0, description="after a refused tick or a failed start; doubled each time, to 16 x")
    heartbeat_s: float = Field(15.0, gt=0, description="between two looks at the deployment, and two heartbeats")
    nap_s: float = Field(0.5, gt=0, description="a request to stop is seen within this")


AT_ONCE = Pace(settle_s=0, patience_s=0, heartbeat_s=float("inf"), nap_s=float("inf"))
