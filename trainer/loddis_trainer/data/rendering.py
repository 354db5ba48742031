"""Rendered targets in training frames: of the usual shapes, boxed as the domain boxes its own, and contrails.

Few contrails are labelled, and a detector that has not learned them marks the aircraft at the head of the trail, beside
the middle of a label that takes the trail in.

Legend: T frames of the window, oldest first; H W pixels of the frame; M ground truths.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_runtime.scenes import Injection, inject_target
from loddis_runtime.scenes.config import TargetKind
from loddis_runtime.scenes.optics import FWHM_PER_SIGMA
from loddis_runtime.scenes.shapes import Shape, shape_of
from loddis_trainer.data.placing import LEAST_SNR, Labelled, Window, find_place, with_target

__all__ = ["add_contrail", "add_synthetic_target"]

SNR = (LEAST_SNR, 20.0)  # of synthetic targets, drawn evenly in their logarithm
SIZES_PX = (2.0, 8.0)  # of those with a shape
SPEED_PX = 4.0  # a frame, at most
KINDS: tuple[TargetKind, ...] = ("point", "blob", "aircraft", "drone", "bird")

TRAIL_LENGTH_PX = (14.0, 56.0)
TRAIL_SNR = (1.5, 6.0)  # of the brightest pixel, drawn evenly in its logarithm
GLOW_SNR = (0.1, 6.0)  # of the aircraft beyond that: from one as bright as its trail to one that outshines it
BOX_MARGIN_PX = (0.0, 3.0)  # those who label leave some room
TRAIL_SPEED_PX = 2.0  # a frame, at most
LENS_SIGMA_PX = (0.5, 1.2)

Inject = Callable[[Frame, tuple[float, float]], tuple[Frame, Injection]]


def add_synthetic_target(
    frames: Window,
    boxes_xyxy: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    box_size_px: tuple[float, float],
    box_offset_px: tuple[float, float],
    generator: np.random.Generator,
) -> Labelled:
    """Put a point, blob, aircraft, drone or bird of SNR 2 to 20 into a window, on a straight course through it.

    Args:
        frames: T arrays ``(H, W)`` float32 in [0, 1]; left as they are.
        boxes_xyxy: ``(M, 4)`` of the last of them.
        labels: ``(M,)`` class ids; the new one's is that of a target there, else 0.
        box_size_px: Width and height of its box: how large the domain would draw it.
        box_offset_px: How far right of and below its target the domain's boxes lie.
        generator: Where chance comes from.

    Returns:
        Frames, boxes and labels with the target; as they came where eight random places were all taken, or where
        the range ends before the target shows.
    """
    size_hw = (height, width) = frames[-1].shape
    half = np.array(box_size_px) / 2

    def somewhere() -> tuple[NDArray[np.float64], NDArray[np.floating]]:
        centre = generator.uniform((0.0, 0.0), (width, height))
        return centre, np.concatenate((centre - half, centre + half)) + np.tile(box_offset_px, 2)

    found = find_place(somewhere, boxes_xyxy, size_hw)
    if found is None:
        return frames, boxes_xyxy, labels
    centre, box = found
    kind, largest = KINDS[generator.integers(len(KINDS))], min(SIZES_PX[1], *box_size_px)
    if largest < SIZES_PX[0]:  # the box of a point
        kind = "point"
    size = 0.0 if kind == "point" else float(generator.uniform(SIZES_PX[0], largest))
    snr = _evenly_in_logarithm(SNR, generator)
    heading = float(generator.uniform(0, 2 * np.pi))
    speed_px = float(generator.uniform(0, SPEED_PX))

    def inject(frame: Frame, place_xy: tuple[float, float]) -> tuple[Frame, Injection]:
        injection = inject_target(
            frame, centre_xy=place_xy, snr=snr, kind=kind, size_px=size, heading_deg=math.degrees(heading)
        )
        return injection.frame, injection

    changed, injection = _along_course(frames, centre, heading, speed_px, inject)
    if injection.snr < SNR[0]:
        return frames, boxes_xyxy, labels
    return with_target(changed, boxes_xyxy, labels, box, _label_of_some(labels, generator))


def add_contrail(
    frames: Window,
    boxes_xyxy: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    box_offset_px: tuple[float, float],
    generator: np.random.Generator,
) -> Labelled:
    """Put an aircraft with a contrail of 14 to 56 px into a window, boxed as a whole.

    Args:
        frames: T arrays ``(H, W)`` float32 in [0, 1]; left as they are.
        boxes_xyxy: ``(M, 4)`` of the last of them.
        labels: ``(M,)`` class ids; the new one's is that of a target there, else 0.
        box_offset_px: How far right of and below its target the domain's boxes lie.
        generator: Where chance comes from.

    Returns:
        Frames, boxes and labels with the target; as they came where eight random places were all taken, or where
        the range ends before the target shows.
    """
    size_hw = (height, width) = frames[-1].shape
    lens_px = float(generator.uniform(*LENS_SIGMA_PX))
    snr, glow = _evenly_in_logarithm(TRAIL_SNR, generator), float(generator.uniform(*GLOW_SNR))
    margin_px, speed_px = float(generator.uniform(*BOX_MARGIN_PX)), float(generator.uniform(0, TRAIL_SPEED_PX))

    def somewhere() -> tuple[tuple[Shape, float, float, NDArray[np.float64]], NDArray[np.floating]]:
        heading = float(generator.uniform(0, 2 * np.pi))
        length = _evenly_in_logarithm(TRAIL_LENGTH_PX, generator)
        shape = shape_of("contrail", size_px=length, lens_sigma_px=lens_px, heading_rad=heading)
        centre = generator.uniform((0.0, 0.0), (width, height))
        return (shape, heading, length, centre), shape.box_xyxy(centre, margin_px=margin_px) + np.tile(box_offset_px, 2)

    found = find_place(somewhere, boxes_xyxy, size_hw)
    if found is None:
        return frames, boxes_xyxy, labels
    (shape, heading, length, centre), box = found
    fwhm_px = lens_px * FWHM_PER_SIGMA

    def inject(frame: Frame, place_xy: tuple[float, float]) -> tuple[Frame, Injection]:
        trail = inject_target(
            frame,
            centre_xy=place_xy,
            snr=snr,
            kind="contrail",
            size_px=length,
            psf_fwhm_px=fwhm_px,
            heading_deg=math.degrees(heading),
        )
        head_x, head_y = np.clip(place_xy + shape.places[0], 0, (width, height))
        return inject_target(trail.frame, centre_xy=(head_x, head_y), snr=glow, psf_fwhm_px=fwhm_px).frame, trail

    changed, trail = _along_course(frames, centre, heading, speed_px, inject)
    if trail.snr < TRAIL_SNR[0] / 2:
        return frames, boxes_xyxy, labels
    return with_target(changed, boxes_xyxy, labels, box, _label_of_some(labels, generator))


def _along_course(
    frames: Window, centre: NDArray[np.float64], heading_rad: float, speed_px: float, inject: Inject
) -> tuple[Window, Injection]:
    """Inject a target that is at `centre` in the last frame into all of them; gives the last injection too."""
    height, width = frames[-1].shape
    step = speed_px * np.array([math.cos(heading_rad), math.sin(heading_rad)])
    result = []
    for back, frame in zip(range(len(frames) - 1, -1, -1), frames, strict=True):
        x, y = np.clip(centre - back * step, 0, (width, height))
        changed, injection = inject(frame, (x, y))
        result.append(np.asarray(changed, dtype=np.float32))
    return result, injection


def _evenly_in_logarithm(limits: tuple[float, float], generator: np.random.Generator) -> float:
    return float(np.exp(generator.uniform(*np.log(limits))))


def _label_of_some(labels: NDArray[np.int64], generator: np.random.Generator) -> int:
    """Give the class of a target that is there, else 0."""
    return int(labels[generator.integers(len(labels))]) if len(labels) else 0
