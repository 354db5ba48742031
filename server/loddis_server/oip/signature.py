"""Which tensors a model takes and gives, said three ways: as metadata, as configuration, and as the check of a request.

A request has one input, and that decides what comes back:

    frames   FP32 (B, T, h, w)                    → detections   the network as it is, nothing before or after it
    image    UINT8, UINT16, FP32 (B, H, W), (H, W) → counts, boxes, scores, class_ids, centroids, snr

Frames of a batch have different numbers of detections: `counts` says how many rows of a frame are its own, best first;
the rest, up to the frame that has most, are zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.detections import Detections
from loddis_runtime.manifest import Manifest
from loddis_server.models import ServedModel
from loddis_server.oip.tensors import DTYPES, InputTensor, read_array
from loddis_server.problems import BAD_TENSOR, FRAME_TOO_LARGE, ProblemError

__all__ = ["FRAMES", "IMAGE", "configuration", "metadata", "pad", "read_input"]

FRAMES, IMAGE = "frames", "image"
IMAGE_TYPES = ("UINT8", "UINT16", "FP32")
PLATFORM = "loddis"


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor as metadata describe it; -1 in a shape is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    description: str


def _inputs(manifest: Manifest) -> list[_Tensor]:
    return [
        _Tensor(
            FRAMES,
            "FP32",
            (-1, manifest.window, *manifest.size_hw),
            "The network's own input, in [0, 1]: gives detections.",
        ),
        _Tensor(
            IMAGE,
            "UINT16",
            (-1, -1, -1),
            "Infrared frames (B, H, W), or one (H, W), of UINT8, UINT16 or FP32: gives all outputs but detections.",
        ),
    ]


def _outputs(manifest: Manifest) -> list[_Tensor]:
    return [
        _Tensor(
            "detections",
            "FP32",
            (-1, manifest.max_detections, 6),
            "For frames: x1, y1, x2, y2 network pixels, score, class of every candidate, best first.",
        ),
        _Tensor("counts", "INT32", (-1,), "For image: detections of each frame; rows beyond are zeros."),
        _Tensor("boxes", "FP32", (-1, -1, 4), "For image: x1, y1, x2, y2 pixels of the frame, best first."),
        _Tensor("scores", "FP32", (-1, -1), "For image: in [0, 1], falling."),
        _Tensor("class_ids", "INT32", (-1, -1), f"For image: index into {', '.join(manifest.classes)}."),
        _Tensor("centroids", "FP32", (-1, -1, 2), "For image: sub-pixel centres of the targets; x, y pixels."),
        _Tensor("snr", "FP32", (-1, -1), "For image: local signal to noise ratio."),
    ]


def metadata(model: ServedModel, versions: Sequence[str]) -> dict[str, Any]:
    """Describe a model as the protocol does.

    Args:
        model: That is described.
        versions: Of that name that are served.
    """
    manifest = model.detector.manifest

    def describe(tensor: _Tensor) -> dict[str, Any]:
        return {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": {"description": tensor.description},
        }

    return {
        "name": model.name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [describe(tensor) for tensor in _inputs(manifest)],
        "outputs": [describe(tensor) for tensor in _outputs(manifest)],
    }


def configuration(model: ServedModel, *, max_frames: int) -> dict[str, Any]:
    """Describe a model as Triton's extension for configurations does: sizes without the batch.

    Args:
        model: That is described.
        max_frames: Of a request.
    """
    manifest = model.detector.manifest

    def describe(tensor: _Tensor, **more: Any) -> dict[str, Any]:
        return {
            "name": tensor.name,
            "data_type": f"TYPE_{tensor.datatype}",
            "dims": list(tensor.shape[1:]) or [1],
            **more,
        }

    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "version_policy": {"specific": {"versions": [int(model.version)]}},
        "max_batch_size": max_frames,
        "input": [describe(tensor, optional=True) for tensor in _inputs(manifest)],
        "output": [describe(tensor) for tensor in _outputs(manifest)],
    }


def read_input(
    tensor: InputTensor, binary: memoryview, manifest: Manifest, *, max_frames: int, max_pixels: int
) -> NDArray[Any]:
    """Check the input of a request against a model, and give its array.

    Args:
        tensor: Of the request.
        binary: Its bytes, where it is not in JSON.
        manifest: Of the model.
        max_frames: Of a request.
        max_pixels: Largest frame.

    Returns:
        ``(B, T, h, w)`` for `frames`, ``(B, H, W)`` for `image`.

    Raises:
        ProblemError: Its name, type, shape or values do not fit.
    """
    if tensor.name not in (FRAMES, IMAGE):
        raise ProblemError(BAD_TENSOR, f"no input {tensor.name!r}; there is: {FRAMES}, {IMAGE}")
    types = ("FP32",) if tensor.name == FRAMES else IMAGE_TYPES
    if tensor.datatype not in types:
        raise ProblemError(BAD_TENSOR, f"{tensor.name} must be {' or '.join(types)}, got {tensor.datatype!r}")
    shape = tensor.shape
    if tensor.name == IMAGE and len(shape) == 2:
        shape = (1, *shape)
    expected = (manifest.window, *manifest.size_hw) if tensor.name == FRAMES else ("H", "W")
    fits = len(shape) == 1 + len(expected) and all(side >= 1 for side in shape)
    if not fits or (tensor.name == FRAMES and shape[1:] != expected):
        wanted = ", ".join(str(side) for side in ("B", *expected))
        raise ProblemError(BAD_TENSOR, f"{tensor.name} must be ({wanted}), got {list(tensor.shape)}")
    if shape[0] > max_frames:
        raise ProblemError(BAD_TENSOR, f"a request may have {max_frames} frames, got {shape[0]}")
    if math.prod(shape[-2:]) > max_pixels:
        raise ProblemError(
            FRAME_TOO_LARGE, f"this server takes frames of up to {max_pixels} pixels, got {shape[-1]} x {shape[-2]}"
        )
    array = read_array(tensor, binary, dtype=DTYPES[tensor.datatype]).reshape(shape)
    if tensor.name == FRAMES and not 0 <= float(array.min()) <= float(array.max()) <= 1:
        raise ProblemError(BAD_TENSOR, f"{FRAMES} must be in [0, 1], without NaN")
    return array


def pad(found: Sequence[Detections]) -> dict[str, NDArray[Any]]:
    """Give the detections of several frames as tensors, rows of zeros where a frame has fewer than another.

    Args:
        found: Of each of B frames.
    """
    counts = np.array([len(one) for one in found], dtype=np.int32)
    rows = int(counts.max())

    def stack(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        padded = np.zeros((len(arrays), rows, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
        for row, array in zip(padded, arrays, strict=True):
            row[: len(array)] = array
        return padded

    return {
        "counts": counts,
        "boxes": stack([one.boxes_xyxy for one in found]),
        "scores": stack([one.scores for one in found]),
        "class_ids": stack([one.class_ids for one in found]),
        "centroids": stack([one.centroids for one in found]),
        "snr": stack([one.snr for one in found]),
    }
