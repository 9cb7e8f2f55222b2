"""The launch form of `training_dataset`: which days a study sees and how much it may train, chosen where it begins."""

from datetime import UTC, datetime, timedelta
from enum import Enum

import dagster as dg
from pydantic import Field, field_validator, model_validator


class Budget(Enum):
    """How much the stages after the data set train."""

    configured = "configured"
    small = "small"
    full = "full"


class DatasetForm(dg.Config):
    """With nothing filled in: every stored bar, and the budget of CAPPUCCINO_BUDGET."""

    first: str = Field(default="", description="first day used, such as 2024-06-01; empty: the first that is stored")
    last: str = Field(default="", description="last day used, included; empty: the newest that is stored")
    budget: Budget = Field(
        default=Budget.configured,
        description="for encoders and studies of this data set: small, full, or configured (CAPPUCCINO_BUDGET)",
    )

    @field_validator("first", "last")
    @classmethod
    def _day(cls, text: str) -> str:
        if text:
            try:
                datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007 - a day has no hour
            except ValueError as error:
                raise ValueError(f"{text!r} is not a day such as 2024-06-01; correct it or leave it empty") from error
        return text

    @model_validator(mode="after")
    def _in_order(self) -> "DatasetForm":
        if self.first and self.last and self.first > self.last:
            raise ValueError(f"the last day {self.last} lies before the first one {self.first}; swap them")
        return self

    def span(self) -> tuple[datetime | None, datetime | None]:
        """[start, end) in UTC; None where all stored bars are meant."""
        start, last = (
            datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) if text else None
            for text in (self.first, self.last)
        )
        return start, last + timedelta(days=1) if last else None
