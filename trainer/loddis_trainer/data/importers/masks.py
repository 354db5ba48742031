"""Binary masks, one an image; every 8-connected component of a mask is a target, and its bounding box the box.

    images/NAME.png     masks/NAME.png                  NUDT-SIRST, and most others
    images/NAME.png     masks/NAME_pixels0.png          SIRST (NUAA)
    IRSTD1k_Img/…       IRSTD1k_Label/…                 IRSTD-1k
    Sequence1/images/…  Sequence1/masks/…               NUDT-MIRSDT
    images/SEQ/…        masks/SEQ/…                     TSIRMT

A pixel belongs to a target if it is over half of the mask's brightest. An empty mask is an empty frame.

Legend: H W pixels of the frame, M components.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.engines.threads import available_cores
from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers.assembling import LabelledImage, build_set
from loddis_trainer.data.importers.files import IMAGE_FOLDERS, SourceFiles, image_sizes, progress_bar
from loddis_trainer.data.importers.records import BoxXywh, ImportedSet, ReadOptions
from loddis_trainer.data.readers.images import read_image

__all__ = ["boxes_of_mask", "read_masks", "recognise_masks"]

MASK_FOLDERS = ("masks", "mask", "irstd1k_label", "binarymask", "groundtruth", "gt", "label", "labels")
MASK_SUFFIXES = ("", "_pixels0", "_mask")
CATEGORY = "target"


def recognise_masks(files: SourceFiles) -> str | None:
    """Say which folder looks like this format."""
    pairs, _ = _pairs(files, None, None)
    return f"{pairs[0][1].parent} holds masks of {pairs[0][0].parent}" if pairs else None


def read_masks(source: Path, options: ReadOptions) -> ImportedSet:
    """Read all masks and their images.

    Raises:
        DataError: No masks, a mask without image, or one that cannot be read or is of another size; names it.
    """
    files = SourceFiles(source)
    pairs, orphans = _pairs(files, options.mask_folder, options.mask_suffix)
    if orphans:
        raise DataError(f"{source / orphans[0]} is the mask of an image that is missing")
    if not pairs:
        wanted = options.mask_folder or ", ".join(MASK_FOLDERS)
        raise DataError(f"{source} has no folder of masks ({wanted}) with images beside; there are: {files.describe()}")
    sizes = image_sizes(source, (image for image, _ in pairs), progress=options.progress)
    with progress_bar(shown=options.progress) as bar, ThreadPoolExecutor(available_cores()) as pool:
        found = pool.map(lambda pair: _read(source, pair[1], sizes[pair[0]], options.min_pixels), pairs)
        components = list(bar.track(found, total=len(pairs), description="reading masks"))
    images = [
        LabelledImage(image, boxes, (CATEGORY,) * len(boxes), str(source / mask))
        for (image, mask), (boxes, _) in zip(pairs, components, strict=True)
    ]
    return build_set(
        source, images, sizes_hw=sizes, warnings=_left_out(files, pairs, components, options), progress=options.progress
    )


def boxes_of_mask(mask: NDArray[np.bool_], *, min_pixels: int = 1) -> tuple[list[BoxXywh], int]:
    """Give the bounding boxes of the 8-connected components of a mask, in the order of their first rows.

    Args:
        mask: ``(H, W)``.
        min_pixels: Smallest component that counts.

    Returns:
        M boxes; how many components were smaller.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    components = stats[1:]  # the first is the background
    kept = components[components[:, cv2.CC_STAT_AREA] >= min_pixels]
    boxes = [(float(x), float(y), float(width), float(height)) for x, y, width, height, _ in kept]
    return boxes, len(components) - len(kept)


def _pairs(
    files: SourceFiles, folder: str | None, suffix: str | None
) -> tuple[list[tuple[PurePosixPath, PurePosixPath]], list[PurePosixPath]]:
    """Give images with their masks, and masks without image."""
    folders = (folder.lower(),) if folder else MASK_FOLDERS
    suffixes = MASK_SUFFIXES if suffix is None else (suffix,)
    by_place = {path.with_suffix(""): path for path in files.images}
    beside: dict[tuple[str, ...], set[str]] = {}
    for path in files.images:
        for at, part in enumerate(path.parts[:-1]):
            if part.lower() not in folders and not part.lower().startswith("mask"):
                beside.setdefault(path.parts[:at], set()).add(part)
    pairs: list[tuple[PurePosixPath, PurePosixPath]] = []
    orphans: list[PurePosixPath] = []
    for path in files.images:
        marked = [i for i, part in enumerate(path.parts[:-1]) if part.lower() in folders]
        if not marked:
            continue
        at = marked[0]
        usual_first = sorted(
            beside.get(path.parts[:at], ()), key=lambda name: (name.lower() not in IMAGE_FOLDERS, name)
        )
        places = (
            PurePosixPath(*path.parts[:at], sibling, *path.parts[at + 1 : -1], path.stem.removesuffix(end))
            for end in suffixes
            if path.stem.endswith(end)
            for sibling in usual_first
        )
        image = next((by_place[place] for place in places if place in by_place), None)
        if image is None:
            orphans.append(path)
        else:
            pairs.append((image, path))
    return pairs, orphans


def _read(source: Path, mask: PurePosixPath, size_hw: tuple[int, int], min_pixels: int) -> tuple[list[BoxXywh], int]:
    path = source / mask
    pixels: NDArray[Any] = read_image(path)
    if pixels.ndim == 3:  # colours, and perhaps opacity: (H, W, 3 or 4)
        pixels = pixels[..., :3].max(axis=2)
    if pixels.shape[:2] != size_hw:
        came = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise DataError(f"{path} is {came}, but its image is {size_hw[1]} x {size_hw[0]}")
    brightest = float(pixels.max())
    return boxes_of_mask(np.asarray(pixels > brightest / 2), min_pixels=min_pixels) if brightest else ([], 0)


def _left_out(
    files: SourceFiles,
    pairs: Sequence[tuple[PurePosixPath, PurePosixPath]],
    components: Sequence[tuple[list[BoxXywh], int]],
    options: ReadOptions,
) -> list[str]:
    """Say what was left out: components too small, and images beside the masked ones that have no mask."""
    folders = {image.parent for image, _ in pairs}
    masked = {image for image, _ in pairs}
    bare = [path for path in files.images if path.parent in folders and path not in masked]
    small = sum(count for _, count in components)
    warnings = [f"{small} components of fewer than {options.min_pixels} pixels were left out"] if small else []
    if bare:
        warnings.append(f"{len(bare)} images have no mask and were left out, the first of them {bare[0]}")
    return warnings
