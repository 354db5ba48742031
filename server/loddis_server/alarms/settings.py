"""What an operator sets of a stream's false alarms."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["FalseAlarmSettings"]


class FalseAlarmSettings(BaseModel):
    """Of one stream."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wanted_per_hour: float = Field(
        default=1.0, ge=0.01, le=3600, allow_inf_nan=False, description="False alarms that are put up with, per hour."
    )
    score_floor: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="The threshold never falls below. Detections must be made down to here: what is known of clutter "
        "is known from them.",
    )
    score_ceiling: float = Field(default=0.95, gt=0, lt=1, description="The threshold never rises above.")
    presumed_real_hits: int = Field(
        default=60,
        ge=2,
        le=100_000,
        description="A track with so many detections is presumed to be a real target, whatever its score, frames.",
    )
    confidence: float = Field(
        default=0.7,
        ge=0.5,
        lt=1,
        description="Probability with which the rate is to be no more than wanted, as far as the model is right; 0.5 "
        "aims at the rate itself.",
    )
    memory_alarms: float = Field(
        default=5.0,
        ge=1,
        le=100,
        description="Clutter is remembered for the time in which so many false alarms are wanted, alarms.",
    )
    min_memory_s: float = Field(default=1800.0, ge=60, le=86_400, description="Shortest memory, seconds.")
    max_memory_s: float = Field(default=86_400.0, ge=60, le=2_592_000, description="Longest memory, seconds.")
    loosen_time_s: float = Field(
        default=900.0,
        gt=0,
        le=86_400,
        description="Time in which a threshold that is too high falls by 63 % of the way, in logits, seconds; one that "
        "is too low rises at once.",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.score_floor >= self.score_ceiling:
            raise ValueError(
                f"score_floor must be below score_ceiling, got {self.score_floor:g} and {self.score_ceiling:g}"
            )
        if self.min_memory_s > self.max_memory_s:
            raise ValueError(
                f"min_memory_s must not exceed max_memory_s, got {self.min_memory_s:g} and {self.max_memory_s:g}"
            )
        return self

    @property
    def memory_s(self) -> float:
        """How long clutter is remembered, seconds."""
        return min(max(3600 * self.memory_alarms / self.wanted_per_hour, self.min_memory_s), self.max_memory_s)
