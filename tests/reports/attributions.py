"""An invented attribution, made with the real constructor."""

from typing import Any

import numpy as np

from cappuccino_ml.reports.attribution import Attribution


def make_attribution(**changes: Any) -> Attribution:
    """Of six series; feature c of ETH has most of what moves BTC."""
    sizes = np.full((2, 2, 3), 0.01)
    sizes[0, 1, 2] = 0.3
    given = {
        "agent_key": "k",
        "arm": "ft_scratch",
        "tickers": ("BTC", "ETH"),
        "features": ("a", "b", "c"),
        "rows": (10, 90),
        "moments": 50,
        "seed": 1,
        "steps": 32,
        "completeness_error": 0.001,
        "change": (0.2, 0.1),
        "sizes": sizes.tolist(),
        "rollout": ((0.1, 0.1, 0.1), (0.1, 0.1, 0.2)),
    }
    return Attribution.model_validate({**given, **changes})
