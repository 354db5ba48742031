"""Small annotated domains on disk, in the formats that the trainer reads: bright moving spots before noise."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from support.recordings import write_video

__all__ = ["SIZE_HW", "spot_frame", "write_coco_domain", "write_drone_csv_domain"]

SIZE_HW = (64, 96)
BOX_PX = 9.0


def spot_frame(
    centre_xy: tuple[float, float], *, seed: int, level: float = 60.0, size_hw: tuple[int, int] = SIZE_HW
) -> NDArray[np.uint8]:
    """Draw a Gaussian spot (sigma 1.6 px) at a place, before a noisy background."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    spot = 150 * np.exp(-((columns - centre_xy[0]) ** 2 + (rows - centre_xy[1]) ** 2) / (2 * 1.6**2))
    noise = np.random.default_rng(seed).normal(level, 4.0, size_hw)
    return np.clip(noise + spot, 0, 255).astype(np.uint8)


def track(seed: int, length: int, size_hw: tuple[int, int] = SIZE_HW) -> list[tuple[float, float]]:
    """Give the places of a target that crosses the frame on a line."""
    generator = np.random.default_rng((seed, 7))
    height, width = size_hw
    start = generator.uniform((10, 10), (width - 10, height - 10))
    end = generator.uniform((10, 10), (width - 10, height - 10))
    return [tuple((start + (end - start) * i / max(1, length - 1)).tolist()) for i in range(length)]


def box_xywh(centre_xy: tuple[float, float]) -> list[float]:
    """Give the box of a target as left, top, width, height."""
    return [centre_xy[0] - BOX_PX / 2, centre_xy[1] - BOX_PX / 2, BOX_PX, BOX_PX]


def write_drone_csv_domain(
    root: Path, *, splits: Mapping[str, int] | None = None, frames: int = 6, level: float = 60.0, label: str = "DRONE"
) -> Path:
    """Write a domain of videos with CSV labels.

    Args:
        root: Its folder.
        splits: Sequences of each split.
        frames: Of each sequence.
        level: Grey level of the background: what tells domains apart.
        label: Category of every target.
    """
    (root / "videos").mkdir(parents=True)
    (root / "labels").mkdir()
    names: dict[str, list[str]] = {}
    seed = 0
    for split, count in (splits or {"train": 4, "val": 2, "test": 1}).items():
        names[split] = [f"{split.upper()}_{number:03d}" for number in range(count)]
        for name in names[split]:
            seed += 1
            places = track(seed, frames)
            pictures = [spot_frame(place, seed=seed * 1000 + i, level=level) for i, place in enumerate(places)]
            # H.264, nearly without loss
            write_video(
                root / "videos" / f"{name}.mp4",
                pictures,
                codec="libx264",
                array_format="gray",
                pix_fmt="yuv420p",
                options={"crf": "4"},
            )
            with (root / "labels" / f"{name}.csv").open("w", newline="") as handle:
                writer = csv.writer(handle)
                writer.writerow(["frame", "label", "x", "y", "width", "height"])
                for index, place in enumerate(places):
                    writer.writerow([index, label, *(f"{value:.2f}" for value in box_xywh(place))])
    (root / "splits.json").write_text(json.dumps(names))
    return root


def write_coco_domain(
    root: Path,
    *,
    splits: Mapping[str, int] | None = None,
    clips: bool = False,
    frames_per_clip: int = 4,
    level: float = 110.0,
    category: str = "person",
    bits: int = 8,
) -> Path:
    """Write a COCO domain of single images, or of clips.

    Args:
        root: Its folder.
        splits: Images of each split, or clips.
        clips: Whether images come in videos.
        frames_per_clip: Of each video.
        level: Grey level of the background.
        category: Of every target.
        bits: Of the images: 8, or 16.
    """
    seed = 500
    for split, count in (splits or {"train": 8, "val": 3, "test": 2}).items():
        document: dict[str, list[dict[str, object]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": category}],
        }
        if clips:
            document["videos"] = []
        for number in range(count):
            seed += 1
            length = frames_per_clip if clips else 1
            if clips:
                document["videos"].append({"id": number, "name": f"{split}_{number}"})
            for index, place in enumerate(track(seed, length)):
                name = f"{split}_{number}/{index:04d}.png" if clips else f"{split}_{number:04d}.png"
                path = root / "images" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = spot_frame(place, seed=seed * 1000 + index, level=level)
                wide = picture.astype(np.uint16) * 257 if bits == 16 else picture
                cv2.imwrite(str(path), wide)
                image_id = len(document["images"]) + 1
                image: dict[str, object] = {
                    "id": image_id,
                    "file_name": name,
                    "height": SIZE_HW[0],
                    "width": SIZE_HW[1],
                }
                if clips:
                    image |= {"video_id": number, "frame_id": index}
                document["images"].append(image)
                document["annotations"].append(
                    {"id": image_id, "image_id": image_id, "category_id": 1, "iscrowd": 0, "bbox": box_xywh(place)}
                )
        (root / f"instances_{split}.json").write_text(json.dumps(document))
    return root
