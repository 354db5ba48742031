"""The weights of a bundle back in torch: what latency figures are compared against."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from loddis_runtime.manifest import Manifest
from loddis_trainer.models import LoddisDetector, build_detector

__all__ = ["detector_of_graph"]


def detector_of_graph(graph_path: str, manifest: Manifest) -> LoddisDetector:
    """Rebuild the detector that a graph was exported from.

    The export folds normalisation into the convolutions: here the folded kernel goes into the convolution and the
    folded bias into a normalisation that does nothing else, so that the module does the work that it does in training.
    """
    weights = {
        t.name: torch.from_numpy(np.array(numpy_helper.to_array(t))) for t in onnx.load(graph_path).graph.initializer
    }
    detector = build_detector(
        manifest.variant,
        num_classes=len(manifest.classes),
        window=manifest.window,
        stride=4 if manifest.stride == 4 else 8,
        keep=manifest.max_detections,
    )
    state = detector.state_dict()
    for name, value in state.items():
        if name in weights:
            value.copy_(weights[name])
        elif name.endswith("norm.weight"):
            value.fill_(1.0)
        elif name.endswith("norm.bias"):
            value.copy_(weights[name.replace("norm.bias", "conv.weight_bias")])
        elif name.endswith("running_mean"):
            value.zero_()
        elif name.endswith("running_var"):
            value.fill_(1.0 - 1e-3)  # the normalisation adds its eps of 1e-3
        elif not name.endswith("num_batches_tracked"):
            raise KeyError(f"{graph_path} has no weight '{name}'")
    return detector.eval()
