"""A clip of infrared frames and the exact truth about its targets.

Legend: H W pixels of the frame, N targets in a frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.photometry import RING_PX
from loddis_runtime.scenes.backgrounds import Canvas, Window, build_background, choose_horizon
from loddis_runtime.scenes.camera import camera_path
from loddis_runtime.scenes.chance import Chance
from loddis_runtime.scenes.config import SceneConfig, TargetConfig
from loddis_runtime.scenes.fields import Field32
from loddis_runtime.scenes.optics import Blur
from loddis_runtime.scenes.readout import Processing
from loddis_runtime.scenes.sensor import Sensor
from loddis_runtime.scenes.shapes import shape_of
from loddis_runtime.scenes.tracks import Skyline, Track, draw_track

__all__ = ["Scene", "SceneFrame", "render"]

SKYLINE_GAP_PX = 8  # targets whose place is drawn keep this far above it


@dataclass(frozen=True, slots=True, eq=False)
class SceneFrame:
    """One frame and its truth. Only targets that are visible enough are listed.

    Attributes:
        index: Of the frame, from 0.
        image: ``(H, W)`` uint8 or uint16.
        boxes_xyxy: ``(N, 4)`` float32, pixels, within the frame; around two sigmas of each target behind the optics.
        centres: ``(N, 2)`` float32, x, y of what the targets send, pixels; origin at the corner of the first pixel.
        snr: ``(N,)`` float32; what was added to the brightest pixel over noise, as `SceneConfig` defines it.
        visibility: ``(N,)`` float32; share of what the target sends that reaches the frame.
        target_ids: ``(N,)`` int32; index into `SceneConfig.targets`.
        camera_xy: ``(2,)`` float64; place of the frame's corner in the pixels of frame 0.
    """

    index: int
    image: NDArray[np.uint8] | NDArray[np.uint16]
    boxes_xyxy: NDArray[np.float32]
    centres: NDArray[np.float32]
    snr: NDArray[np.float32]
    visibility: NDArray[np.float32]
    target_ids: NDArray[np.int32]
    camera_xy: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What one target came to in one frame."""

    rows: slice
    columns: slice
    added_k: Field32
    box_xyxy: NDArray[np.float64]
    centre_xy: NDArray[np.float64]
    snr: float
    visibility: float


class Scene:
    """A clip that can be asked for any of its frames, in any order, from any thread.

    >>> from loddis_runtime.scenes import Scene, SceneConfig, TargetConfig
    >>> scene = Scene(SceneConfig(frames=30, targets=(TargetConfig(snr=12, start_xy=(40, 50), heading_deg=0),), seed=4))
    >>> frame = scene.frame(20)
    >>> frame.image.dtype, frame.image.shape, frame.centres.tolist()
    (dtype('uint16'), (256, 320), [[50.0, 50.0]])

    Building one draws the whole background once; see `SceneConfig` for what is drawn.

    Args:
        config: What to show.
    """

    def __init__(self, config: SceneConfig) -> None:
        self.config = config
        chance = Chance(config.seed)
        self._blur = Blur(config.optics.psf_fwhm_px)
        self.camera_path_xy = camera_path(config.camera, frames=config.frames, chance=chance)
        """``(frames, 2)`` places of the frames' corners, pixels of frame 0."""
        self._canvas = Canvas.around(
            self.camera_path_xy,
            frame_size_hw=config.size_hw,
            margin_px=self._blur.margin_px,
            horizon=choose_horizon(config, chance),
            pixel_rad=config.optics.pixel_mrad / 1000,
        )
        self._background = build_background(self._canvas, config, chance)
        self._sensor = Sensor(
            config.noise,
            config.readout,
            size_hw=config.size_hw,
            reference_k=config.weather.air_temperature_k,
            chance=chance,
        )
        self._processing = Processing(
            config.processing,
            bit_depth=config.bit_depth,
            reference_counts=self._sensor.expose(self._background_k(0), index=0),
            noise_counts=self._sensor.noise_k * self._sensor.counts_per_kelvin,
        )
        self._tracks = self._settle_tracks(chance)

    @property
    def noise_k(self) -> float:
        """Noise of a pixel as `SceneConfig` defines it, sigma, K."""
        return self._processing.noise_k(self._sensor.noise_k, self._sensor.counts_per_kelvin)

    @property
    def levels_per_kelvin(self) -> float:
        """Grey levels of the frames that a small target of 1 K adds to a pixel."""
        return self._sensor.counts_per_kelvin * self._processing.levels_per_count

    def __len__(self) -> int:
        return self.config.frames

    def __getitem__(self, index: int) -> SceneFrame:
        return self.frame(index)

    def __iter__(self) -> Iterator[SceneFrame]:
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int) -> SceneFrame:
        """Render a frame; the same, bit by bit, whenever it is asked for.

        Args:
            index: From 0, or from the end if negative.

        Raises:
            IndexError: The clip has no such frame.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be from {-len(self)} to {len(self) - 1}, got {index}")
        index %= len(self)
        scene_k = self._background_k(index)
        background_k = scene_k.copy() if self._tracks else scene_k
        listed: dict[int, _Seen] = {}
        for target_id, (target, track) in enumerate(zip(self.config.targets, self._tracks, strict=True)):
            seen = self._see(target, track, background_k, index)
            if seen is None:
                continue
            scene_k[seen.rows, seen.columns] += seen.added_k
            in_frame = (seen.box_xyxy[:2] < seen.box_xyxy[2:]).all()
            if in_frame and 0 < seen.visibility >= self.config.min_visibility:
                listed[target_id] = seen
        return SceneFrame(
            index=index,
            image=self._processing.apply(self._sensor.expose(scene_k, index=index)),
            boxes_xyxy=np.array([one.box_xyxy for one in listed.values()], dtype=np.float32).reshape(-1, 4),
            centres=np.array([one.centre_xy for one in listed.values()], dtype=np.float32).reshape(-1, 2),
            snr=np.array([one.snr for one in listed.values()], dtype=np.float32),
            visibility=np.array([one.visibility for one in listed.values()], dtype=np.float32),
            target_ids=np.array(list(listed), dtype=np.int32),
            camera_xy=self.camera_path_xy[index].copy(),
        )

    def _background_k(self, index: int) -> Field32:
        """Give what the optics make of the scene without targets, ``(H, W)`` K."""
        window, shift_xy = self._window(index)
        return self._blur.apply(
            self._background.temperature(window, time_s=index / self.config.frame_rate_hz), shift_xy=shift_xy
        )

    def _window(self, index: int) -> tuple[Window, tuple[float, float]]:
        x, y = self.camera_path_xy[index].tolist()
        return self._canvas.window((x, y))

    def _settle_tracks(self, chance: Chance) -> list[Track]:
        """Draw the paths that the configuration leaves open, one target after the other."""
        tracks: list[Track] = []
        for target_id, target in enumerate(self.config.targets):
            tracks.append(
                draw_track(
                    target,
                    camera_path_xy=self.camera_path_xy,
                    frame_size_hw=self.config.size_hw,
                    skyline=self._skyline(),
                    others=tracks,
                    rng=chance.stream("target", target_id),
                )
            )
        return tracks

    def _skyline(self) -> Skyline:
        """Give where what hides targets begins."""
        origin_x, origin_y = self._canvas.origin_xy
        hiding = self._background.hiding
        if hiding is None:
            return Skyline(np.full(self._canvas.size_hw[1], np.inf), -origin_x)
        hidden = hiding > 0
        first = np.where(hidden.any(axis=0), hidden.argmax(axis=0), np.inf)  # (W,) canvas rows
        return Skyline(first - origin_y - SKYLINE_GAP_PX, -origin_x)

    def _see(self, target: TargetConfig, track: Track, background_k: Field32, index: int) -> _Seen | None:
        """Give what a target comes to in a frame; None if nothing of it gets there."""
        frames = np.array([float(index)])
        centre_xy = track.places(frames)[0] - self.camera_path_xy[index]
        shape = shape_of(
            target.kind,
            size_px=target.size_px,
            lens_sigma_px=self._blur.sigma_px,
            heading_rad=float(track.heading(frames)[0]),
            phase=float(index),
        )
        patch = shape.draw(centre_xy)
        height, width = background_k.shape
        rows = slice(max(patch.top, 0), min(patch.top + patch.values.shape[0], height))
        columns = slice(max(patch.left, 0), min(patch.left + patch.values.shape[1], width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        values = patch.values[
            rows.start - patch.top : rows.stop - patch.top, columns.start - patch.left : columns.stop - patch.left
        ]
        hiding = self._background.hiding
        if hiding is not None:
            values = values * self._open_share(hiding, index, rows, columns)
        box_xyxy = shape.box_xyxy(centre_xy, margin_px=0.0)
        noise_k = self.noise_k
        if self.config.snr_reference == "local":
            noise_k = math.hypot(noise_k, _clutter_k(background_k, box_xyxy))
        height_k = target.snr * noise_k
        unit = shape.peak()
        return _Seen(
            rows=rows,
            columns=columns,
            added_k=values * np.float32(height_k / unit * (1 if target.polarity == "hot" else -1)),
            box_xyxy=_clip(shape.box_xyxy(centre_xy, margin_px=self.config.box_margin_px), background_k.shape),
            centre_xy=centre_xy,
            snr=target.snr * float(values.max()) / unit,
            visibility=min(float(values.sum()), 1.0),
        )

    def _open_share(self, hiding: Field32, index: int, rows: slice, columns: slice) -> Field32:
        """Give how much of what is behind the foreground comes through, ``(h, w)`` of a piece of the frame, 0 to 1."""
        window, shift_xy = self._window(index)
        margin = 2 * self._blur.margin_px
        piece = hiding[
            window.top + rows.start : window.top + rows.stop + margin,
            window.left + columns.start : window.left + columns.stop + margin,
        ]
        return 1 - self._blur.apply(piece, shift_xy=shift_xy)


def render(config: SceneConfig) -> Iterator[SceneFrame]:
    """Render a clip, frame by frame."""
    yield from Scene(config)


def _clutter_k(background_k: Field32, box_xyxy: NDArray[np.float64]) -> float:
    """Give the deviation of the background in the ring around a box, K; 0 where the frame has none of it.

    Of all of it, unlike the noise that photometry measures: an edge that crosses the ring is what hides a target.
    """
    height, width = background_k.shape
    gap, reach = RING_PX
    centres_x, centres_y = np.arange(width) + 0.5, np.arange(height) + 0.5

    def within(margin: int) -> NDArray[np.bool_]:
        x1, y1, x2, y2 = box_xyxy + np.array([-margin, -margin, margin, margin])
        down, across = (centres_y >= y1) & (centres_y <= y2), (centres_x >= x1) & (centres_x <= x2)
        inside: NDArray[np.bool_] = np.logical_and.outer(down, across)
        return inside

    ring = background_k[within(reach) & ~within(gap)]
    return float(ring.std()) if ring.size else 0.0


def _clip(box_xyxy: NDArray[np.float64], size_hw: tuple[int, ...]) -> NDArray[np.float64]:
    height, width = size_hw
    return np.asarray(np.clip(box_xyxy, 0, np.array([width, height, width, height])), dtype=np.float64)
