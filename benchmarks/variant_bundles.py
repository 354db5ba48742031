"""Bundles of untrained detectors: as fast as trained ones of the same variant and size, and as large."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from loddis_export.graph import write_graph
from loddis_export.half import convert_to_half
from loddis_export.quantise import layers_for_float, quantise_graph
from loddis_runtime.bundle import GraphPrecision, graph_name
from loddis_runtime.intensity import Percentile
from loddis_runtime.manifest import MANIFEST_NAME, Manifest
from loddis_trainer.choices import Stride, VariantName
from loddis_trainer.models import build_detector

__all__ = ["write_variant_bundle"]

KEEP = 100
STRIDE: Stride = 8
CALIBRATION_FRAMES = 4


def write_variant_bundle(
    root: Path, variant: VariantName, *, size_hw: tuple[int, int], precisions: Sequence[GraphPrecision]
) -> Path:
    """Write the bundle of an untrained detector with the graphs that were asked for; gives its folder.

    Args:
        root: The bundle becomes `root/VARIANT/1`.
        variant: Of the detector.
        size_hw: Of the network, pixels.
        precisions: Graphs to write; fp32 is always there.
    """
    folder = root / variant / "1"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    keep = min(KEEP, (size_hw[0] // STRIDE) * (size_hw[1] // STRIDE))
    detector = build_detector(variant, stride=STRIDE, keep=keep).eval()
    with torch.no_grad():  # no two constants alike, as after a training: the exporter would fold or share them
        for name, value in (*detector.named_parameters(), *detector.named_buffers()):
            if name.endswith(("bias", "running_mean")):
                value.add_(torch.randn_like(value), alpha=0.1)
    write_graph(detector, folder / graph_name("fp32"), window=1, size_hw=size_hw)
    written: list[GraphPrecision] = ["fp32"]
    if "int8" in precisions:
        generator = np.random.default_rng(0)
        frames = [generator.random((1, *size_hw), dtype=np.float32) for _ in range(CALIBRATION_FRAMES)]
        source = folder / graph_name("fp32")
        quantise_graph(source, folder / graph_name("int8"), frames, keep_float=layers_for_float(source))
        written.append("int8")
    if "fp16" in precisions:
        half = convert_to_half(onnx.load(str(folder / graph_name("fp32"))))
        onnx.save_model(half, str(folder / graph_name("fp16")), save_as_external_data=False)
        written.append("fp16")
    Manifest(
        name=variant,
        version="1",
        classes=("target",),
        window=1,
        size_hw=size_hw,
        stride=detector.stride,
        variant=variant,
        intensity=Percentile(),
        score_threshold=0.5,
        nms_iou_threshold=0.5,
        nms_centre_distance_px=3.0,
        max_detections=keep,
        files={name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in map(graph_name, written)},
        created=dt.datetime.now(dt.UTC),
    ).save(folder / MANIFEST_NAME)
    return folder
