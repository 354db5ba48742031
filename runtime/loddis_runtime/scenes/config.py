"""What a scene is asked to be. Levels are apparent temperatures in kelvin, places are pixels of the frame.

Legend: pixels have their origin at the top-left corner of the top-left pixel; x grows to the right, y downwards.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "BackgroundKind",
    "CameraMotion",
    "Optics",
    "Polarity",
    "Readout",
    "SceneConfig",
    "SensorNoise",
    "TargetConfig",
    "TargetKind",
    "Weather",
]

BackgroundKind = Literal["sky", "sea", "ground", "city"]
TargetKind = Literal["point", "blob", "aircraft", "contrail", "drone", "bird"]
Polarity = Literal["hot", "cold"]

MAX_TRAVEL_PX = 2048.0  # of the camera over a clip: the whole ground that it sees is drawn beforehand
MAX_FRAME_PX = 4096
MAX_START_PX = 1e6  # of a target from the frame: hours away
MAX_TARGET_PX = 512  # all of it is drawn, 16 times a pixel, wherever the frame ends

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Place = Annotated[float, Field(ge=-MAX_START_PX, le=MAX_START_PX)]
Side = Annotated[int, Field(ge=32, le=MAX_FRAME_PX)]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TargetConfig(_Config):
    """One moving target.

    Its path is a straight line, or a circle at a constant rate of turn, passed at a constant speed over the scene; what
    the frame shows is that less the motion of the camera.
    """

    snr: Positive = Field(description="Signal to noise ratio, as `SceneConfig.snr_reference` says.")
    kind: TargetKind = Field(default="point", description="Shape; a point is as large as the optics make it.")
    size_px: NotNegative = Field(
        default=0.0,
        le=MAX_TARGET_PX,
        description="Largest extent before optics (of a blob: its width at half height), pixels; point: 0.",
    )
    speed_px_per_frame: NotNegative = Field(
        default=0.5, le=MAX_FRAME_PX, description="Speed over the scene, pixels per frame."
    )
    heading_deg: Finite | None = Field(
        default=None, description="Direction at frame 0, degrees from +x towards +y (down); none: drawn by the seed."
    )
    turn_deg_per_frame: Finite = Field(default=0.0, description="Rate of turn, degrees per frame.")
    start_xy: tuple[Place, Place] | None = Field(
        default=None, description="Centre in frame 0, pixels; none: drawn by the seed, so that the target is in view."
    )
    polarity: Polarity = Field(default="hot", description="Warmer or colder than what is behind it.")

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if (self.kind == "point") != (self.size_px == 0):
            wanted = "0" if self.kind == "point" else "above 0"
            raise ValueError(f"size_px of a target of kind {self.kind!r} must be {wanted}, got {self.size_px:g}")
        return self


class Optics(_Config):
    """Lens and detector pitch."""

    psf_fwhm_px: float = Field(
        default=1.6,
        ge=1.2,
        le=8.0,
        description="Width at half height of the Gaussian that the lens makes of a point, before a pixel integrates "
        "over its area, pixels. Below 1.2 frames alias.",
    )
    pixel_mrad: float = Field(
        default=1.3, ge=0.01, le=20.0, description="Angle that one pixel sees, mrad: 1.3 is 320 pixels over 24 degrees."
    )


class SensorNoise(_Config):
    """Where a pixel's value differs from what the optics bring it; defaults are a good uncooled camera's."""

    temporal_mk: NotNegative = Field(default=50.0, description="White noise of each pixel and frame (NETD), sigma, mK.")
    row_flicker_mk: NotNegative = Field(default=8.0, description="Offset of each row, new in each frame, sigma, mK.")
    column_stripe_mk: NotNegative = Field(default=15.0, description="Fixed offset of each column, sigma, mK.")
    row_stripe_mk: NotNegative = Field(default=8.0, description="Fixed offset of each row, sigma, mK.")
    pixel_pattern_mk: NotNegative = Field(default=20.0, description="Fixed offset of each pixel, sigma, mK.")
    shading_mk: NotNegative = Field(
        default=150.0, description="Fixed offset that varies over tens of pixels: lens and housing, sigma, mK."
    )
    bad_pixel_share: Share = Field(default=0.0, description="Pixels stuck at a low or high level, share of all.")
    blinking_pixel_share: Share = Field(
        default=0.0, description="Pixels that jump at random between two levels, share of all."
    )

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.bad_pixel_share + self.blinking_pixel_share > 1:
            raise ValueError(
                "bad_pixel_share and blinking_pixel_share must not exceed 1 together, "
                f"got {self.bad_pixel_share:g} and {self.blinking_pixel_share:g}"
            )
        return self


class Readout(_Config):
    """From detector to file: the converter, and what the camera does to its counts before it hands them out.

    - ``raw``: the converter's counts, 14 of the 16 bits in use.
    - ``linear``: two levels, held through the clip, are stretched to the whole range of the file.
    - ``enhanced``: what lies within tens of pixels is amplified, what varies over more is nearly taken away. So do most
      cameras with a picture for people: level skies, dark seams above warm tree lines.
    """

    processing: Literal["auto", "raw", "linear", "enhanced"] = Field(
        default="auto", description="Of the counts; auto: raw in 16 bit, enhanced in 8 bit."
    )
    converter_bits: int = Field(default=14, ge=8, le=16, description="Resolution of the converter, bits.")
    counts_per_kelvin: float = Field(default=30.0, gt=0, le=10_000, description="Gain of the detector, counts per K.")


class CameraMotion(_Config):
    """How the line of sight moves. The parts add up; without any the camera stands still. Frame 0 is at (0, 0)."""

    pan_px_per_frame: tuple[Finite, Finite] = Field(
        default=(0.0, 0.0), description="Steady motion over the scene, x and y, pixels per frame."
    )
    jitter_px: NotNegative = Field(
        default=0.0, le=32, description="Shake, independent from frame to frame, sigma in each axis, pixels."
    )
    drift_px: NotNegative = Field(default=0.0, le=256, description="Slow wander, sigma in each axis, pixels.")
    drift_period_frames: float = Field(default=100.0, ge=4, le=100_000, description="Time scale of the wander, frames.")


class Weather(_Config):
    """Air, sky and water."""

    air_temperature_k: float = Field(default=283.0, ge=220, le=330, description="Of the air near the ground, K.")
    zenith_opacity: float = Field(
        default=0.08,
        ge=0.02,
        le=3,
        description="Optical depth of the clear air straight up, 8-14 um: 0.05 dry and cold, 0.5 humid.",
    )
    cloud_cover: Share | None = Field(default=None, description="Share of the sky; none: drawn by the seed.")
    wind_m_s: float = Field(default=6.0, ge=0.5, le=25, description="Raises the waves and moves the clouds, m/s.")
    glint_k: NotNegative = Field(default=5.0, description="Brightest glint of the sun on the sea, K; 0: no sun.")


class SceneConfig(_Config):
    """A clip of infrared frames with known targets. Equal configurations give equal clips, bit by bit.

    The *noise* of a scene is what remains of a pixel's value when the scene is even: temporal noise, row flicker, fixed
    offsets of columns, rows and pixels, and the rounding of converter and file, as a root of the sum of squares.
    Shading and bad pixels take no part.

    The *signal to noise ratio* of a target in a frame is the largest of what it adds to a pixel, optics and pixel area
    included, over the noise. It changes as the target moves over the pixel grid: how bright it is is held, so that the
    ratio is exactly the stated one where its centre is that of a pixel and nothing hides it.
    """

    size_hw: tuple[Side, Side] = Field(default=(256, 320), description="Height and width of the frame, pixels.")
    frames: int = Field(default=100, ge=1, le=100_000, description="Length of the clip, frames.")
    frame_rate_hz: float = Field(default=30.0, gt=0, le=10_000, description="Frames per second.")
    background: BackgroundKind = Field(default="sky", description="What is behind the targets.")
    horizon: Finite | None = Field(
        default=None,
        ge=-1.0,
        le=2.0,
        description="Row of the horizon in frame 0 as a share of the height, 0 the top; none: drawn by the seed.",
    )
    contrast: NotNegative = Field(
        default=1.0, le=10, description="Factor on the differences of temperature within ground, buildings and sea."
    )
    weather: Weather = Field(default=Weather(), description="Air, sky and water.")
    optics: Optics = Field(default=Optics(), description="Lens and detector pitch.")
    noise: SensorNoise = Field(default=SensorNoise(), description="Of the sensor.")
    readout: Readout = Field(default=Readout(), description="Converter, and processing in the camera.")
    bit_depth: Literal[8, 16] = Field(default=16, description="Of the frames: uint8 or uint16.")
    camera: CameraMotion = Field(default=CameraMotion(), description="How the line of sight moves.")
    targets: tuple[TargetConfig, ...] = Field(default=(), description="What is to be found.")
    snr_reference: Literal["noise", "local"] = Field(
        default="noise",
        description="What the targets' snr refers to. noise: the scene's noise; a target sends the same in each frame. "
        "local: noise and the clutter around the target together, in each frame anew, so that targets are equally hard "
        "to see wherever they are.",
    )
    box_margin_px: NotNegative = Field(
        default=0.0, description="Added to each side of the boxes, pixels: labels made by hand are loose."
    )
    min_visibility: Share = Field(
        default=0.25, description="Targets that send less than this share of theirs to the camera are not in the truth."
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1, description="Of everything drawn by chance.")

    @model_validator(mode="after")
    def _check_readout(self) -> Self:
        if self.bit_depth == 8 and self.readout.processing == "raw":
            raise ValueError("bit_depth 8 must go with readout.processing linear, enhanced or auto, got raw")
        return self

    @model_validator(mode="after")
    def _check_travel(self) -> Self:
        travel_px = math.hypot(*self.camera.pan_px_per_frame) * (self.frames - 1)
        if travel_px > MAX_TRAVEL_PX:
            raise ValueError(
                f"camera.pan_px_per_frame must not lead farther than {MAX_TRAVEL_PX:g} px in a clip, got {travel_px:g} "
                f"px in {self.frames} frames"
            )
        return self

    @property
    def processing(self) -> Literal["raw", "linear", "enhanced"]:
        """What the camera does to its counts, `auto` resolved."""
        if self.readout.processing == "auto":
            return "raw" if self.bit_depth == 16 else "enhanced"
        return self.readout.processing
