"""A torch detector behind the runtime's `Detector`: training measures what serving will do.

What comes before the network (intensity, letterbox) and after it (suppression, mapping back) is the runtime's own code.

Legend: B batch, T frames of the window, h w network pixels, K detections.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from loddis_runtime.bundle import Bundle, GraphPrecision
from loddis_runtime.detector import Detector
from loddis_runtime.intensity import FullRange, Percentile
from loddis_runtime.manifest import Manifest
from loddis_trainer.checkpoint import load_detector
from loddis_trainer.choices import VariantName
from loddis_trainer.models import LoddisDetector

__all__ = ["TorchEngine", "detector_of_checkpoint", "wrap_detector"]

NMS_IOU_THRESHOLD = 0.5
NMS_CENTRE_DISTANCE_PX = 3.0


class TorchEngine:
    """The runtime's engine over a module in memory.

    Args:
        model: The detector; it is put into evaluation mode while it runs.
        autocast: Run the network in bfloat16, as training does; coordinates and scores stay float32.
    """

    name = "torch"
    precision: GraphPrecision = "fp32"

    def __init__(self, model: LoddisDetector, *, autocast: bool = False) -> None:
        self.model = model
        self.autocast = autocast
        self._device = next(model.parameters()).device

    @property
    def device(self) -> str:
        """Where the network runs."""
        return str(self._device)

    def infer(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network: ``(B, T, h, w)`` to ``(B, K, 6)``."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self.autocast):
                on_device = torch.from_numpy(frames).to(self._device).to(memory_format=torch.channels_last)
                return np.asarray(self.model(on_device).float().cpu().numpy(), dtype=np.float32)
        finally:
            self.model.train(was_training)

    def close(self) -> None:
        """Nothing to give back."""


def wrap_detector(
    model: LoddisDetector,
    *,
    variant: VariantName,
    classes: Sequence[str],
    window: int,
    register_window: bool = False,
    size_hw: tuple[int, int],
    intensity: FullRange | Percentile,
    score_threshold: float = 0.5,
    autocast: bool = False,
) -> Detector:
    """Give a torch detector as a runtime `Detector`.

    Args:
        model: The network.
        variant: Its size.
        classes: Names of its classes.
        window: Frames T.
        register_window: Whether past frames are shifted onto the last.
        size_hw: Network height and width, pixels.
        intensity: Grey levels to [0, 1].
        score_threshold: The operating point.
        autocast: Run the network in bfloat16.
    """
    manifest = Manifest.model_validate(
        {
            "name": "checkpoint",
            "version": "0",
            "classes": tuple(classes),
            "window": window,
            "register_window": register_window,
            "size_hw": size_hw,
            "stride": model.stride,
            "variant": variant,
            "intensity": intensity,
            "score_threshold": score_threshold,
            "nms_iou_threshold": NMS_IOU_THRESHOLD,
            "nms_centre_distance_px": NMS_CENTRE_DISTANCE_PX,
            "max_detections": model.keep,
            "files": {},
            "created": dt.datetime.now(dt.UTC),
        }
    )
    engine = TorchEngine(model, autocast=autocast)
    return Detector(Bundle(Path("checkpoint"), manifest), engine, threads=torch.get_num_threads())


def detector_of_checkpoint(folder: Path) -> Detector:
    """Load a checkpoint as a runtime `Detector`, on a GPU if there is one.

    Raises:
        CheckpointError: It is missing or half-written.
    """
    model, info = load_detector(folder)
    return wrap_detector(
        model.to("cuda" if torch.cuda.is_available() else "cpu"),
        variant=info.variant,
        classes=info.classes,
        window=info.window,
        register_window=info.register_window,
        size_hw=info.size_hw,
        intensity=info.intensity,
        score_threshold=0.5 if info.score_threshold is None else info.score_threshold,
    )
