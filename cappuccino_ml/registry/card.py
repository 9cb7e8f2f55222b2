"""The model card: where a model comes from and why it may, or may not, trade."""

import json
from typing import Literal

from pydantic import Field, FiniteFloat, JsonValue

from cappuccino_ml.core import Settings

Outcome = Literal["win", "inconclusive", "reject", "not judged"]


class ModelCard(Settings):
    """Origin and evidence of one registered model. The key names the model; the rest explains it."""

    key: str = Field(min_length=1, description="digest of configuration, inputs, code and seed")
    arm: str = Field(description="mlp, ft_scratch or ft_pretrained")
    study_key: str
    outcome: Outcome = Field(description="what the verdict said")
    verdict: dict[str, JsonValue] = Field(
        default_factory=dict, description="the verdict's numbers and reasons, in short"
    )
    schema_hash: str = Field(description="hash of the feature schema the model was trained with")
    data_manifest: str = Field(description="manifest hash of the training dataset")
    dagster_run_id: str = ""
    source_label: str = Field(description="where the bars come from; simulated bars say so here")
    metrics: dict[str, FiniteFloat] = Field(default_factory=dict)
    params: dict[str, JsonValue] = Field(default_factory=dict, description="hyper-parameters of the winning trial")
    created_by: str = "pipeline"

    def to_markdown(self) -> str:
        """The card as a page for people: origin, verdict, metrics, hyper-parameters."""
        lines = [
            f"# Model {self.key[:12]} ({self.arm})",
            "",
            f"**Verdict: {self.outcome}.** Bars: {self.source_label}. Paper trading only; no live money.",
            "",
            "| origin | |",
            "|---|---|",
            f"| key | `{self.key}` |",
            f"| study | `{self.study_key}` |",
            f"| feature schema | `{self.schema_hash}` |",
            f"| training data | `{self.data_manifest}` |",
            f"| Dagster run | `{self.dagster_run_id or 'none'}` |",
            f"| created by | {self.created_by} |",
        ]
        lines += _table("verdict", {name.replace("_", " "): value for name, value in self.verdict.items()})
        lines += _table("metric", {name.replace("_", " "): round(value, 3) for name, value in self.metrics.items()})
        lines += _table("hyper-parameter", self.params)
        return "\n".join(lines) + "\n"


def _table(title: str, values: dict[str, JsonValue]) -> list[str]:
    if not values:
        return []
    return [
        "",
        f"| {title} | value |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in values.items()),
    ]


def _cell(value: JsonValue) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")
