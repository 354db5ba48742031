"""How tracks are formed; `docs/tracking.md` says which of it to turn for what."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["TrackerSettings"]

Pixels = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Noise = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


class TrackerSettings(BaseModel):
    """Of one stream. The defaults suit targets of 1 to 20 px that move up to 12 px from frame to frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score_threshold: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="Score of the hits that confirm a track, where the caller gives none with the frame. Detections "
        "below it keep tracks alive, and form tentative ones.",
    )
    confirm_hits: int = Field(default=4, ge=1, le=64, description="M: hits that confirm a track, frames.")
    confirm_frames: int = Field(default=6, ge=1, le=64, description="N: newest frames among which these hits are.")
    coast_frames: int = Field(
        default=30, ge=0, le=10_000, description="How long a confirmed track goes on without a detection, frames."
    )
    near_buffer_px: Pixels = Field(
        default=4.0,
        description="By how much boxes are enlarged on each side before their overlap is taken: for confirmed tracks, "
        "whose place is known, pixels.",
    )
    far_buffer_px: Pixels = Field(
        default=10.0,
        description="The same for what is left over after that, and for tentative tracks, whose speed is not known, "
        "pixels.",
    )
    min_overlap: float = Field(
        default=0.05, ge=0, lt=1, description="Least intersection over union of the enlarged boxes."
    )
    gate_sigmas: float = Field(
        default=4.0,
        gt=0,
        allow_inf_nan=False,
        description="Farthest that a detection may be from where a track is expected, standard deviations.",
    )
    position_noise_px: Noise = Field(
        default=1.5, description="Error of a detection's place, sigma in each axis, pixels."
    )
    acceleration_px: Noise = Field(
        default=0.4, description="Change of speed from frame to frame, sigma in each axis, pixels per frame."
    )
    initial_speed_px: Noise = Field(
        default=5.0, description="Speed of a target not seen before, sigma in each axis, pixels per frame."
    )
    compensate_motion: bool = Field(
        default=True, description="Measure the motion of the camera, and move the tracks along with the scene."
    )

    @model_validator(mode="after")
    def _check_confirmation(self) -> Self:
        if self.confirm_hits > self.confirm_frames:
            raise ValueError(
                f"confirm_hits must not exceed confirm_frames, got {self.confirm_hits} of {self.confirm_frames}"
            )
        if self.near_buffer_px > self.far_buffer_px:
            raise ValueError(
                "near_buffer_px must not exceed far_buffer_px, "
                f"got {self.near_buffer_px:g} and {self.far_buffer_px:g} px"
            )
        return self
