"""Detect moving small targets in infrared frames: a model bundle and how to run it. No torch.

>>> import numpy as np
>>> import loddis_runtime
>>> rows, columns = np.mgrid[:240, :320] + 0.5
>>> spot = np.exp(-((columns - 100.3) ** 2 + (rows - 60.7) ** 2) / (2 * 1.5**2))
>>> frame = (6000 + 9000 * spot).astype(np.uint16)  # 16 bit stay 16 bit
>>> with loddis_runtime.load("sky-nano") as detector:
...     detections = detector.detect(frame)
>>> detections.centroids.round(1)
array([[100.3,  60.7]], dtype=float32)

`load` takes the name of a model that comes with the package, or the folder of a bundle of your own. `Detector.detect`
takes one frame, `Detector.detect_batch` several, `Detector.stream` those of a camera as they come; `draw_detections`
shows what was found. Everything that is raised on purpose is a `LoddisError`.
"""

from loddis_runtime.bundle import Bundle
from loddis_runtime.detections import Detections
from loddis_runtime.detector import Detector, PreparedFrame, load
from loddis_runtime.drawing import draw_detections
from loddis_runtime.errors import (
    BundleError,
    ChecksumError,
    ConfigError,
    DuplicateFrameError,
    EngineError,
    FrameError,
    JpegError,
    LateFrameError,
    LoddisError,
    ModelNotFoundError,
    StreamError,
    TruncatedJpegError,
)
from loddis_runtime.manifest import Manifest
from loddis_runtime.repository import ModelRepository, shipped_repository
from loddis_runtime.stream import Stream, StreamDetections, StreamWindow

__all__ = [
    "Bundle",
    "BundleError",
    "ChecksumError",
    "ConfigError",
    "Detections",
    "Detector",
    "DuplicateFrameError",
    "EngineError",
    "FrameError",
    "JpegError",
    "LateFrameError",
    "LoddisError",
    "Manifest",
    "ModelNotFoundError",
    "ModelRepository",
    "PreparedFrame",
    "Stream",
    "StreamDetections",
    "StreamError",
    "StreamWindow",
    "TruncatedJpegError",
    "draw_detections",
    "load",
    "shipped_repository",
]
