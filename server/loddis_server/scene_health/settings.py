"""What a sensor's health is judged by, with units."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["CONDITIONS", "HealthCondition", "HealthSettings", "Limits"]

HealthCondition = Literal["frozen", "shutter", "saturated", "dead_pixels", "stripes", "defocused", "moving"]
CONDITIONS: tuple[HealthCondition, ...] = get_args(HealthCondition)

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Settings):
    """When a condition begins and when it ends. What it is a limit of, and the unit, the field that has it says."""

    begin: NotNegative = Field(description="The condition begins once the measure is at least this.")
    end: NotNegative = Field(description="It ends once the measure is below this.")
    begin_after: Count = Field(default=1, description="Measurements in a row that it takes to begin.")
    end_after: Count = Field(default=1, description="Measurements in a row that it takes to end.")

    @model_validator(mode="after")
    def _end_is_lower(self) -> Self:
        if self.end > self.begin:
            raise ValueError(f"end must not be above begin, got {self.end:g} and {self.begin:g}")
        return self


class HealthSettings(_Settings):
    """Limits of each condition. Defaults are for 25 to 60 frames per second."""

    measure_every: int = Field(
        default=8, ge=1, le=1000, description="Frames from one to the next measurement of what changes slowly."
    )

    frozen_frames: Count = Field(
        default=5, description="Unchanged frames in a row after which a stream that has noise is frozen."
    )
    frozen_quiet_frames: Count = Field(
        default=300,
        description="The same for a stream that has no noise, or whose noise is not known yet: compressed video of a "
        "still scene repeats frames by itself.",
    )
    unchanged_share: Share = Field(
        default=0.05,
        description="A frame is unchanged if its mean difference from the one before is at most this share of what is "
        "usual in the stream: it is the same, or its noise has gone.",
    )

    shutter_contrast: Share = Field(
        default=0.25, description="A flag is before the sensor once contrast has fallen to this share of what is usual."
    )
    shutter_open: Share = Field(default=0.5, description="It is gone once contrast is back at this share.")
    shutter_flatness: NotNegative = Field(
        default=4.0, description="Contrast that a flag has at most, over the noise of a pixel."
    )
    shutter_jump: NotNegative = Field(
        default=3.0,
        description="Jump of the level after a short freeze that tells a correction of the sensor, over the noise of a "
        "pixel.",
    )
    shutter_frames: Count = Field(
        default=90, description="Longest shutter event, frames; what lasts longer is another scene, or a frozen stream."
    )
    hold_back_frames: int = Field(
        default=15, ge=0, le=100_000, description="Frames after a shutter event in which alarms are still held back."
    )

    bit_depth: Literal[8, 10, 12, 14, 16] | None = Field(
        default=None, description="Of a sensor in 16-bit frames; none: the least that holds all that was seen."
    )
    float_range: tuple[float, float] | None = Field(
        default=None,
        description="Lowest and highest level of float frames; none: 0 and 1, and unknown if levels leave them.",
    )
    saturated: Limits = Field(
        default=Limits(begin=0.05, end=0.03, begin_after=2, end_after=2),
        description="Share of pixels at either end of the sensor's range.",
    )
    dead_pixels: Limits = Field(
        default=Limits(begin=2e-4, end=1e-4), description="Share of pixels that are stuck beside their neighbours."
    )
    dead_deviation: NotNegative = Field(
        default=8.0, description="How far a dead pixel stands beyond all its neighbours, over the noise of a pixel."
    )
    dead_isolation: Share = Field(
        default=0.8,
        description="How far it does so as a share of how far it stands beyond their median: optics spread a target.",
    )
    dead_measurements: int = Field(
        default=16, ge=4, le=10_000, description="Measurements that tell a dead pixel from a target that passes."
    )
    stripes: Limits = Field(
        default=Limits(begin=1.0, end=0.75, begin_after=2, end_after=2),
        description="Deviation of the offsets of columns, or of rows, over the noise of a pixel.",
    )
    defocused: Limits = Field(
        default=Limits(begin=0.5, end=0.3, begin_after=4, end_after=4),
        description="Loss of sharpness against what is usual in the stream, as a share of it.",
    )
    defocused_sharpness: NotNegative = Field(
        default=0.25,
        description="Sharpness of a frame out of focus at most: curvature at half its size over that at an eighth.",
    )
    history: int = Field(
        default=32,
        ge=8,
        le=100_000,
        description="Measurements that make what is usual in a stream; a quarter is enough to begin.",
    )
    moving: Limits = Field(
        default=Limits(begin=0.5, end=0.25),
        description="Shift of the scene from frame to frame, smoothed over some five frames, pixels.",
    )
