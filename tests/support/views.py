"""COCO domains made frame by frame, for what is wrong with them to be planted: views, spots, and boxes as one likes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Shot", "clear_sky", "clouds", "noisy", "recompressed", "spot_box", "with_spot", "write_shots"]

SIZE_HW = (128, 160)
BOX_PX = 9.0


@dataclass(frozen=True)
class Shot:
    """One image of a domain.

    Attributes:
        name: Of its file.
        pixels: ``(H, W)``.
        boxes_xywh: Its annotations.
        video: Name of its clip, if it is of one.
        frame_id: In that clip.
        stated_hw: Size that the annotation states; the image's own if none.
        label: Category of its targets.
    """

    name: str
    pixels: NDArray[Any]
    boxes_xywh: Sequence[Sequence[float]] = ()
    video: str | None = None
    frame_id: int = 0
    stated_hw: tuple[int, int] | None = None
    label: str = "target"


def clouds(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.float64]:
    """Draw a cloudy view: smooth noise of several sizes, 60 to 140 levels."""
    generator = np.random.default_rng(seed)
    view = np.zeros(size_hw)
    for sigma in (4, 10, 25):
        layer = cv2.GaussianBlur(generator.normal(size=size_hw), (0, 0), sigma)
        view += layer / layer.std()
    return 100 + 40 * view / np.abs(view).max()


def clear_sky(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.float64]:
    """Draw an empty sky as a cheap sensor gives it: gradient, bright horizon, fixed stripes, fresh noise."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    stripes = np.random.default_rng(0).normal(0, 2.0, size_hw[1])[None]
    horizon = 120 / (1 + np.exp(-(rows - 0.9 * size_hw[0]) / 2.0))
    generator = np.random.default_rng(seed)
    return 40 + 20 * rows / size_hw[0] + horizon + stripes + generator.normal(0, 2.5, size_hw) + 0 * columns


def with_spot(
    view: NDArray[np.float64],
    centre_xy: tuple[float, float],
    *,
    height: float = 90.0,
    sigma: float = 1.6,
    noise: int = 0,
) -> NDArray[np.uint8]:
    """Put a Gaussian spot into a view, and noise of 2 levels over it; `noise` seeds it."""
    rows, columns = np.mgrid[: view.shape[0], : view.shape[1]] + 0.5
    spot = height * np.exp(-((columns - centre_xy[0]) ** 2 + (rows - centre_xy[1]) ** 2) / (2 * sigma**2))
    grain = np.random.default_rng((noise, 99)).normal(0, 2.0, view.shape)
    return np.clip(np.round(view + spot + grain), 0, 255).astype(np.uint8)


def noisy(pixels: NDArray[np.uint8], sigma: float = 4.0) -> NDArray[np.uint8]:
    """Add noise."""
    grain = np.random.default_rng(7).normal(0, sigma, pixels.shape)
    return np.clip(np.round(pixels + grain), 0, 255).astype(np.uint8)


def recompressed(pixels: NDArray[np.uint8], quality: int = 40) -> NDArray[np.uint8]:
    """Give what JPEG leaves of an image."""
    encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def spot_box(centre_xy: tuple[float, float], side: float = BOX_PX) -> list[float]:
    """Give the box around a spot as left, top, width, height."""
    return [centre_xy[0] - side / 2, centre_xy[1] - side / 2, side, side]


def write_shots(root: Path, splits: Mapping[str, Sequence[Shot]]) -> Path:
    """Write a domain of these images."""
    labels = sorted({shot.label for shots in splits.values() for shot in shots})
    for split, shots in splits.items():
        videos = {name: i for i, name in enumerate(dict.fromkeys(s.video for s in shots if s.video))}
        images: list[dict[str, object]] = []
        annotations: list[dict[str, object]] = []
        for shot in shots:
            path = root / "images" / shot.name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), shot.pixels)
            height, width = shot.stated_hw or shot.pixels.shape
            image = {"id": len(images), "file_name": shot.name, "height": height, "width": width}
            if shot.video:
                image |= {"video_id": videos[shot.video], "frame_id": shot.frame_id}
            for box in shot.boxes_xywh:
                annotations.append(
                    {
                        "id": len(annotations),
                        "image_id": len(images),
                        "category_id": labels.index(shot.label),
                        "bbox": list(box),
                    }
                )
            images.append(image)
        document = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": i, "name": name} for i, name in enumerate(labels)],
            "videos": [{"id": i, "name": name} for name, i in videos.items()],
        }
        root.mkdir(parents=True, exist_ok=True)
        (root / f"instances_{split}.json").write_text(json.dumps(document))
    return root
