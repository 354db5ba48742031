"""Aircraft with their contrails, drawn into training frames: few are labelled, and a detector that has not learned
them marks the aircraft at the head of the trail, beside the middle of a label that takes the trail in.

Legend: T frames of the window, oldest first; H W pixels of the frame; M ground truths.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes import inject_target
from loddis_runtime.scenes.optics import FWHM_PER_SIGMA
from loddis_runtime.scenes.shapes import shape_of
from loddis_trainer.data.pasting import PLACES_TRIED, Window, is_free

__all__ = ["add_contrail"]

LENGTH_PX = (14.0, 56.0)
SNR = (1.5, 6.0)  # of the brightest pixel, drawn evenly in its logarithm
GLOW_SNR = (0.1, 6.0)  # of the aircraft beyond that: from one as bright as its trail to one that outshines it
BOX_MARGIN_PX = (0.0, 3.0)  # those who label leave some room
SPEED_PX = 2.0  # a frame, at most
LENS_SIGMA_PX = (0.5, 1.2)


def add_contrail(
    frames: Window,
    boxes_xyxy: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    box_offset_px: tuple[float, float],
    generator: np.random.Generator,
) -> tuple[Window, NDArray[np.float32], NDArray[np.int64]]:
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
    height, width = frames[-1].shape
    lens_px = float(generator.uniform(*LENS_SIGMA_PX))
    snr, glow = float(np.exp(generator.uniform(*np.log(SNR)))), float(generator.uniform(*GLOW_SNR))
    margin_px, speed_px = float(generator.uniform(*BOX_MARGIN_PX)), float(generator.uniform(0, SPEED_PX))
    for _ in range(PLACES_TRIED):
        heading = float(generator.uniform(0, 2 * np.pi))
        length = float(np.exp(generator.uniform(*np.log(LENGTH_PX))))
        shape = shape_of("contrail", size_px=length, lens_sigma_px=lens_px, heading_rad=heading)
        centre = generator.uniform((0.0, 0.0), (width, height))
        box = shape.box_xyxy(centre, margin_px=margin_px) + np.tile(box_offset_px, 2)
        if (box[:2] >= 0).all() and (box[2:] <= (width, height)).all() and is_free(box, boxes_xyxy):
            break
    else:
        return frames, boxes_xyxy, labels
    step = speed_px * np.array([math.cos(heading), math.sin(heading)])
    fwhm_px = lens_px * FWHM_PER_SIGMA
    result = []
    for back, frame in zip(range(len(frames) - 1, -1, -1), frames, strict=True):
        x, y = np.clip(centre - back * step, 0, (width, height))
        trail = inject_target(
            frame,
            centre_xy=(x, y),
            snr=snr,
            kind="contrail",
            size_px=length,
            psf_fwhm_px=fwhm_px,
            heading_deg=math.degrees(heading),
        )
        head_x, head_y = np.clip((x, y) + shape.places[0], 0, (width, height))
        both = inject_target(trail.frame, centre_xy=(head_x, head_y), snr=glow, psf_fwhm_px=fwhm_px)
        result.append(np.asarray(both.frame, dtype=np.float32))
    if trail.snr < SNR[0] / 2:  # of the last frame
        return frames, boxes_xyxy, labels
    label = labels[generator.integers(len(labels))] if len(labels) else 0
    return result, np.vstack((boxes_xyxy, box)).astype(np.float32), np.append(labels, label)
