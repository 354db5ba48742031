"""A bundle's weights back in the trainer, to go on from what was shipped.

The export folds normalisation into the convolutions, so that a graph holds kernels and biases alone. Here they are
unfolded: the kernel goes into the convolution, the bias into its normalisation, and the statistics that the
normalisation needs in training are measured on frames.

Legend: B batch, T frames of the window, H W network pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from loddis_runtime.bundle import Bundle
from loddis_runtime.errors import BundleError
from loddis_trainer.models import LoddisDetector, build_detector
from loddis_trainer.models.blocks import NORM_EPS
from loddis_trainer.models.window import FIRST_KERNEL, kernel_of_differences

__all__ = ["detector_of_bundle", "measure_norms", "read_bundle_weights"]

KERNEL, FOLDED_BIAS = "conv.weight", "conv.weight_bias"  # of a block in the graph


def read_bundle_weights(bundle: Bundle) -> dict[str, Tensor]:
    """Give the weights of a bundle's float32 graph by their names in `LoddisDetector`.

    Normalisations only add the folded bias: they pass means of zero and variances of one.

    Raises:
        BundleError: It has no float32 graph, or one that this project did not export.
    """
    graph = onnx.load(str(bundle.graph_path("fp32"))).graph
    values = {one.name: torch.from_numpy(np.array(numpy_helper.to_array(one))) for one in graph.initializer}
    weights = {name: value for name, value in values.items() if name.endswith((".weight", ".bias"))}
    for name in [name for name in weights if name.endswith(KERNEL)]:
        block = name.removesuffix(KERNEL)
        if block + FOLDED_BIAS not in values:
            raise BundleError(f"{bundle.path} has no '{block}{FOLDED_BIAS}': its graph was not exported by Loddis")
        bias = values[block + FOLDED_BIAS]
        weights |= {
            f"{block}norm.weight": torch.ones_like(bias),
            f"{block}norm.bias": bias,
            f"{block}norm.running_mean": torch.zeros_like(bias),
            f"{block}norm.running_var": torch.full_like(bias, 1 - NORM_EPS),
            f"{block}norm.num_batches_tracked": torch.tensor(0),
        }
    if bundle.manifest.window > 1 and FIRST_KERNEL in weights:
        weights[FIRST_KERNEL] = kernel_of_differences(weights[FIRST_KERNEL])
    return weights


def detector_of_bundle(bundle: Bundle) -> LoddisDetector:
    """Rebuild the detector that a bundle was exported from, in evaluation mode: it detects what the bundle detects.

    Raises:
        BundleError: The bundle has no float32 graph.
        RuntimeError: It is of an architecture that this release no longer builds.
    """
    manifest = bundle.manifest
    detector = build_detector(
        manifest.variant,
        num_classes=len(manifest.classes),
        window=manifest.window,
        stride=4 if manifest.stride == 4 else 8,
        keep=manifest.max_detections,
    )
    detector.load_state_dict(read_bundle_weights(bundle))
    return detector.eval()


@torch.no_grad()
def measure_norms(detector: LoddisDetector, frames: Iterable[Tensor], *, norms: Collection[nn.BatchNorm2d]) -> None:
    """Give normalisations the statistics of what passes them, without changing what the detector detects.

    Training normalises by the statistics of a batch. Weights that were unfolded know of none, and would become another
    detector at the first step.

    Args:
        detector: In evaluation mode.
        frames: Batches ``(B, T, H, W)`` in [0, 1], at least one.
        norms: Those of the detector's to measure.
    """
    sums: dict[nn.BatchNorm2d, Tensor] = {}

    def watch(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        found = torch.stack([term.sum(dim=(0, 2, 3)) for term in (torch.ones_like(x), x, x * x)])  # (3, channels)
        sums[norm] = sums[norm] + found if norm in sums else found

    hooks = [norm.register_forward_pre_hook(watch) for norm in norms]
    try:
        for batch in frames:
            detector.predict(detector.fuse(batch))
    finally:
        for hook in hooks:
            hook.remove()
    for norm, (count, total, squares) in sums.items():
        mean = total / count
        variance = (squares / count - mean * mean).clamp(min=0)
        _set_statistics(norm, mean, variance)


def _set_statistics(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Exchange a normalisation's statistics, and its scale and offset so that it computes what it did."""
    if norm.running_mean is None or norm.running_var is None:  # it has no statistics to exchange
        return
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    norm.bias.copy_(norm.bias.double() + gain * (mean - norm.running_mean.double()))
    norm.weight.copy_(gain * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
