"""Everything the final page shows, gathered by the caller; the reports room only lays it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cappuccino_ml.encoder.skill import Skill
from cappuccino_ml.study import DatasetConfig, StudyResult
from cappuccino_ml.trading.paper import PaperReport
from cappuccino_ml.trading.session import SessionReport
from cappuccino_ml.verdict import ValidationReport

STUDY_PICTURES = (
    "study_history",
    "study_pruning",
    "study_arms",
    "study_importances",
    "study_parallel",
    "study_ranges",
    "learning_curves",
)
PICTURES = (
    "coverage",
    "feature_distributions",
    "feature_correlation",
    "pretraining",
    "feature_skill",
    "attention",
    *STUDY_PICTURES,
    "drivers",
    "equity",
    "intervals",
    "cross_validation",
    "session",
    "session_trades",
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A study and its verdict: what the page of the verdict shows.

    Raises:
        ValueError: a picture has a name that no section shows, or the verdict is on another data set or study.
    """

    market: str  # such as "simulated-usd-1h"
    budget: str  # "small" or "full"
    dataset: DatasetConfig  # label, dates, schema, splits
    study: StudyResult
    validation: ValidationReport
    pictures: Mapping[str, Path]  # by name, see PICTURES; absent ones are not shown

    def __post_init__(self) -> None:
        unknown = sorted(set(self.pictures) - set(PICTURES))
        if unknown:
            raise ValueError(f"no section shows a picture named {', '.join(unknown)}; known: {', '.join(PICTURES)}")
        verdict = (self.validation.dataset_key, self.validation.study_key)
        if verdict != (self.dataset.key, self.study.key):
            raise ValueError(f"the verdict is on (data set, study) {verdict}, not {(self.dataset.key, self.study.key)}")

    @property
    def label(self) -> str:
        """Where the bars come from, such as "simulated"."""
        return self.dataset.label


@dataclass(frozen=True, kw_only=True)
class Findings(Judged):
    """Results of one way through the pipeline."""

    skills: Mapping[str, Skill]  # by encoder: "fold-0", ..., "deployment"
    model_name: str  # of the registered model
    version: str | None  # in the registry
    aliases: Mapping[str, str | None]  # alias -> version
    mlflow_url: str | None  # page of the registered model's run
    sensor: str  # what the deployment sensor said
    paper: PaperReport
    page: Path  # where the HTML page is, or will be
    lake_folder: Path
    state_folder: Path
    wall_seconds: float | None = None  # printed in the terminal only: the page has the same bytes every time

    @property
    def session(self) -> SessionReport:
        """The paper session."""
        return self.paper.session


def drawn_in(folder: Path, names: Sequence[str] = PICTURES) -> dict[str, Path]:
    """Those of the named pictures that an asset has drawn into `folder`."""
    return {name: path for name in names if (path := folder / f"{name}.png").is_file()}
