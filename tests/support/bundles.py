"""A real bundle without trained weights: an analytic detector of small spots, as an ONNX graph of a few nodes.

Legend: B batch, T frames, h w network pixels, C classes, K candidates.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from loddis_runtime.intensity import FullRange, Percentile
from loddis_runtime.manifest import MANIFEST_NAME, Manifest, TrainingDomain

__all__ = ["SPOT_BOX_PX", "manifest_of", "seal", "spot_graph", "write_spot_bundle"]

SPOT_BOX_PX = 7  # side of every box, network pixels
RING_PX = 5  # radius at which a spot must have ended, network pixels
HALF_CONTRAST = 0.1  # contrast, of [0, 1], that scores 0.5


def write_spot_bundle(
    root: Path,
    *,
    name: str = "spot",
    version: str = "1",
    size_hw: tuple[int, int] = (64, 96),
    window: int = 1,
    classes: tuple[str, ...] = ("target",),
    intensity: FullRange | Percentile | None = None,
    score_threshold: float = 0.3,
    max_detections: int = 50,
    precisions: tuple[str, ...] = ("fp32",),
) -> Path:
    """Write the bundle `root/name/version`, so that `root` is a model repository.

    The first class is bright spots, the second, if there is one, dark spots; more are never found. A spot is a peak
    that stands out over everything 5 network pixels around it, so up to about 6 px across; edges are none.
    Its score is c / (c + 0.1) for a contrast c of the full scale.

    Args:
        root: Where models live.
        name: Of the model.
        version: Of the model.
        size_hw: h, w of the network.
        window: T; the graph looks at the key frame only.
        classes: Names.
        intensity: Policy; full range if none.
        score_threshold: Of the manifest.
        max_detections: K.
        precisions: Graphs to write, of fp32 and fp16.

    Returns:
        The folder of the bundle.
    """
    path = root / name / version
    path.mkdir(parents=True)
    for precision in precisions:
        graph = spot_graph(
            size_hw=size_hw,
            window=window,
            class_count=len(classes),
            max_detections=max_detections,
            half=precision == "fp16",
        )
        onnx.save(graph, path / f"model.{precision}.onnx")
    (path / "MODEL_CARD.md").write_text(f"# {name} {version}\n\nAn analytic detector of spots, for tests.\n")
    seal(
        path,
        name=name,
        version=version,
        size_hw=size_hw,
        window=window,
        classes=classes,
        intensity=intensity or FullRange(),
        score_threshold=score_threshold,
        max_detections=max_detections,
    )
    return path


def seal(path: Path, **fields: Any) -> Manifest:
    """Write the manifest of a bundle folder over the files that are there; `fields` replace the defaults."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != MANIFEST_NAME)
    digests = {file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    manifest = manifest_of(**{"files": digests, **fields})
    manifest.save(path / MANIFEST_NAME)
    return manifest


def manifest_of(**fields: Any) -> Manifest:
    """Give a valid manifest; `fields` replace the defaults."""
    defaults: dict[str, Any] = {
        "name": "spot",
        "version": "1",
        "classes": ("target",),
        "window": 1,
        "size_hw": (64, 96),
        "stride": 8,
        "variant": "nano",
        "intensity": FullRange(),
        "score_threshold": 0.3,
        "nms_iou_threshold": 0.5,
        "nms_centre_distance_px": 4.0,
        "max_detections": 50,
        "training_domains": (
            TrainingDomain(name="none", role="task", fraction=1.0, licence="CC0-1.0", source="nothing was learnt"),
        ),
        "metrics": {"synthetic/test": {"map50": 1.0}},
        "files": {},
        "software": {"onnx": onnx.__version__},
        "created": datetime(2025, 1, 1, tzinfo=UTC),
    }
    return Manifest(**{**defaults, **fields})


def spot_graph(
    *, size_hw: tuple[int, int], window: int = 1, class_count: int = 1, max_detections: int = 50, half: bool = False
) -> onnx.ModelProto:
    """Give the graph: input `frames` (B, T, h, w), output `detections` (B, K, 6), float32, or float16 if `half`."""
    height, width = size_hw
    found = min(class_count, 2)
    dtype = np.dtype(np.float16 if half else np.float32)
    onnx_dtype = helper.np_dtype_to_tensor_dtype(dtype)
    kernels = _kernels(window)
    margin = kernels.shape[-1] // 2
    constants: dict[str, NDArray[Any]] = {
        "kernels": kernels.astype(dtype),
        "pads": np.array([0, 0, margin, margin, 0, 0, margin, margin], dtype=np.int64),
        "sizes": np.array([1, 8], dtype=np.int64),
        "channels": np.array([1], dtype=np.int64),
        "zero": np.array(0, dtype=dtype),
        "half_contrast": np.array(HALF_CONTRAST, dtype=dtype),
        "flat": np.array([0, -1], dtype=np.int64),
        "k": np.array([max_detections], dtype=np.int64),
        "width": np.array(width, dtype=np.int64),
        "area": np.array(height * width, dtype=np.int64),
        "last": np.array([2], dtype=np.int64),
        "low": np.array(0.5 - SPOT_BOX_PX / 2, dtype=dtype),
        "high": np.array(0.5 + SPOT_BOX_PX / 2, dtype=dtype),
    }
    node = helper.make_node
    nodes = [
        node("Pad", ["frames", "pads"], ["padded"], mode="edge"),
        node("Conv", ["padded", "kernels"], ["smooth"]),  # (B, 1 + 8, h, w): the pixel, and eight around it
        node("Split", ["smooth", "sizes"], ["centre", "ring"], axis=1),
        node("ReduceMax", ["ring", "channels"], ["ring_high"], keepdims=1),
        node("ReduceMin", ["ring", "channels"], ["ring_low"], keepdims=1),
        node("Sub", ["centre", "ring_high"], ["bright"]),
        node("Sub", ["ring_low", "centre"], ["dark"]),
        node("Concat", ["bright", "dark"][:found], ["signed"], axis=1),  # (B, C, h, w)
        node("Max", ["signed", "zero"], ["contrast"]),
        node("MaxPool", ["contrast"], ["highest"], kernel_shape=[5, 5], pads=[2, 2, 2, 2]),
        node("Equal", ["contrast", "highest"], ["is_peak"]),
        node("Where", ["is_peak", "contrast", "zero"], ["peaks"]),
        node("Add", ["peaks", "half_contrast"], ["denominator"]),
        node("Div", ["peaks", "denominator"], ["score_map"]),
        node("Reshape", ["score_map", "flat"], ["flat_scores"]),  # (B, C h w)
        node("TopK", ["flat_scores", "k"], ["scores", "indices"], axis=1),  # (B, K)
        node("Div", ["indices", "area"], ["class_ids"]),
        node("Mod", ["indices", "area"], ["cells"]),
        node("Mod", ["cells", "width"], ["columns"]),
        node("Div", ["cells", "width"], ["rows"]),
    ]
    for source, target in (("columns", "x"), ("rows", "y"), ("class_ids", "class")):
        nodes.append(node("Cast", [source], [target], to=onnx_dtype))
    for source, limit, target in (("x", "low", "x1"), ("y", "low", "y1"), ("x", "high", "x2"), ("y", "high", "y2")):
        nodes.append(node("Add", [source, limit], [target]))
    columns = ("x1", "y1", "x2", "y2", "scores", "class")
    nodes += [node("Unsqueeze", [column, "last"], [f"{column}_column"]) for column in columns]
    nodes.append(node("Concat", [f"{column}_column" for column in columns], ["detections"], axis=2))
    graph = helper.make_graph(
        nodes,
        "spot",
        [helper.make_tensor_value_info("frames", onnx_dtype, ["batch", window, height, width])],
        [helper.make_tensor_value_info("detections", onnx_dtype, ["batch", max_detections, 6])],
        [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def _kernels(window: int) -> NDArray[np.float64]:
    """Give ``(9, T, k, k)``: a small Gaussian at the centre, and the same at eight places around it."""
    margin = RING_PX + 2
    axis = np.arange(-margin, margin + 1)
    diagonal = round(RING_PX / 2**0.5)
    places = [(0, 0)] + [
        (RING_PX * dy if not dx else diagonal * dy, RING_PX * dx if not dy else diagonal * dx)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        if (dy, dx) != (0, 0)
    ]
    kernels = np.zeros((len(places), window, axis.size, axis.size))
    for channel, (dy, dx) in enumerate(places):
        blob = np.exp(-((axis[:, None] - dy) ** 2 + (axis[None, :] - dx) ** 2) / (2 * 0.8**2))
        kernels[channel, -1] = blob / blob.sum()
    return kernels
