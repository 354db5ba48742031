"""What training may change of its frames, and how far; `loddis_trainer.data` does it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AugmentConfig"]

Probability = Annotated[float, Field(ge=0, le=1)]


class AugmentConfig(BaseModel):
    """What to change, and how far; all of it off by default, as in the paper's protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    flip: Probability = Field(default=0.0, description="Probability of a mirror image, left to right.")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Largest relative change of size, made in half of the frames: 0.25 gives 0.75 to 1.25."
    )
    aspect: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Largest relative change of width against height, in the frames that change size: 0.5 gives 2/3 to "
        "3/2.",
    )
    shift: Probability = Field(
        default=0.0, description="Largest shift, as a share of the frame's sides; by whole pixels."
    )
    gain: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Largest relative change of contrast about the frame's mean level."
    )
    offset: Probability = Field(default=0.0, description="Largest change of level, of the full range.")
    noise: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Largest sigma of added temporal noise, of the full range; most frames get far less of it.",
    )
    noise_ramp: Probability = Field(
        default=0.5,
        description="Share of the training over which noise grows, slowly first, from none to all of it; 0: all of it "
        "is there at once, and may hide dim targets of a pixel or two from a detector that has not seen one yet.",
    )
    paste: Probability = Field(
        default=0.0, description="Probability of one more target, cut out of another frame of the domain, and dimmed."
    )
    synthetic: Probability = Field(
        default=0.0, description="Probability of one more target, a synthetic one of SNR 2 to 20."
    )
    contrail: Probability = Field(
        default=0.0,
        description="Probability of one more target in frames of a task domain, a dim aircraft with its contrail.",
    )
    single: Probability = Field(
        default=0.0,
        description="Probability that a window repeats its last frame, as a frame that is sent alone is seen.",
    )

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return any(value > 0 for value in self.model_dump(exclude={"noise_ramp"}).values())

    def at(self, progress: float) -> AugmentConfig:
        """Give what to change when so much of the training, in [0, 1], is done."""
        if progress >= self.noise_ramp:
            return self
        return self.model_copy(update={"noise": self.noise * (progress / self.noise_ramp) ** 2})
