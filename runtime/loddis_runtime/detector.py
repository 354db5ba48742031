"""Frames in, detections out: a bundle, an engine, and what comes before and after the network.

Legend: B batch, T frames of the window, H W pixels of the frame, h w network pixels, K candidates, N detections.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loddis_runtime.boxes import clip_boxes
from loddis_runtime.bundle import Bundle, GraphPrecision
from loddis_runtime.detections import Detections
from loddis_runtime.engines import Engine
from loddis_runtime.engines.choice import Device, Precision, choose_engine
from loddis_runtime.engines.threads import available_cores, check_threads
from loddis_runtime.errors import ConfigError, EngineError, FrameError, ModelNotFoundError
from loddis_runtime.frames import Frame, as_frame
from loddis_runtime.intensity import normalise
from loddis_runtime.letterbox import LetterboxTransform, letterbox
from loddis_runtime.manifest import MANIFEST_NAME, Manifest
from loddis_runtime.photometry import measure_targets
from loddis_runtime.registration import register
from loddis_runtime.repository import ModelRepository, shipped_repository
from loddis_runtime.suppression import average_boxes, suppress

__all__ = ["Detector", "Device", "Precision", "PreparedFrame", "load"]

MAX_BATCH = 32  # frames that `detect_batch` hands to the network at once; bounds its memory
NAME = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)(:(?P<version>[0-9]+))?")


@dataclass(frozen=True, slots=True, eq=False)
class PreparedFrame:
    """A frame, ready for the network.

    Attributes:
        frame: ``(H, W)`` as `as_frame` gives it.
        tensor: ``(T, h, w)`` float32 in [0, 1]; read only where T > 1.
        transform: From frame to network pixels.
    """

    frame: Frame
    tensor: NDArray[np.float32]
    transform: LetterboxTransform


class Detector:
    """Finds targets in frames. Any number of threads may call one detector at once.

    `detect` is `prepare`, `infer` and `finish` in turn; a server runs the three on threads of their own.

    Args:
        bundle: The model.
        engine: What runs its graph.
        threads: Cores that the engine uses for one call.
    """

    def __init__(self, bundle: Bundle, engine: Engine, *, threads: int) -> None:
        self.bundle = bundle
        self.engine = engine
        self.threads = threads

    @property
    def manifest(self) -> Manifest:
        """What the model says about itself."""
        return self.bundle.manifest

    @property
    def device(self) -> str:
        """Where the network runs."""
        return self.engine.device

    @property
    def precision(self) -> GraphPrecision:
        """Of the network's arithmetic."""
        return self.engine.precision

    def detect(
        self, frame: ArrayLike, *, score_threshold: float | None = None, max_detections: int | None = None
    ) -> Detections:
        """Find the targets in a frame.

        Args:
            frame: ``(H, W)`` uint8, uint16 or float32, or what `as_frame` makes one of. A model with a window sees it
                T times, as a scene that stands still.
            score_threshold: Report scores from here on, in [0, 1]; the manifest's if none.
            max_detections: Report no more than this many, the best; the manifest's if none.

        Returns:
            Detections, best first, in pixels of the frame.

        Raises:
            FrameError: The frame cannot be used.
            ConfigError: A threshold that is no number in [0, 1], or a count that is no whole number from 1.
            EngineError: The network failed, or the detector is closed.
        """
        return self.detect_batch([frame], score_threshold=score_threshold, max_detections=max_detections)[0]

    def detect_batch(
        self,
        frames: Iterable[ArrayLike],
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> list[Detections]:
        """Find the targets in several frames, each for itself, in fewer runs of the network.

        Args:
            frames: As `detect` takes them; they may differ in size and dtype. None gives an empty list. A generator is
                read to its end first.
            score_threshold: As `detect`.
            max_detections: As `detect`.

        Returns:
            Detections of each frame, in order.

        Raises:
            FrameError: A frame cannot be used; the message names which. Nothing is detected then.
            ConfigError: As `detect`.
            EngineError: As `detect`.
        """
        threshold, limit = self._options(score_threshold, max_detections)
        frames = list(frames)
        results: list[Detections] = []
        for start in range(0, len(frames), MAX_BATCH):
            prepared = []
            for index, frame in enumerate(frames[start : start + MAX_BATCH], start=start):
                try:
                    prepared.append(self.prepare(frame))
                except FrameError as error:
                    raise error if len(frames) == 1 else FrameError(f"frame {index}: {error}") from None
            raw = self.infer(prepared)
            results += [
                self.finish(one, candidates, score_threshold=threshold, max_detections=limit)
                for one, candidates in zip(prepared, raw, strict=True)
            ]
        return results

    def prepare(self, frame: ArrayLike) -> PreparedFrame:
        """First stage: check a frame, normalise its grey levels, fit it into the network's size.

        Raises:
            FrameError: The frame cannot be used.
        """
        checked = as_frame(frame)
        levels = normalise(checked, self.manifest.intensity)  # (H, W)
        size_hw = self.manifest.size_hw
        key = levels if levels.shape == size_hw else letterbox(levels, size_hw)  # (h, w)
        window = np.broadcast_to(key, (self.manifest.window, *size_hw))  # (T, h, w)
        return PreparedFrame(checked, window, LetterboxTransform.fit((checked.shape[0], checked.shape[1]), size_hw))

    def prepare_window(self, frames: Sequence[ArrayLike]) -> PreparedFrame:
        """First stage, of a frame with those before it: what `prepare` does, and registration if the model wants it.

        Args:
            frames: At least one, oldest first; the last is detected on. The model's window takes the newest T; where
                there are fewer, the scene is taken to have stood still before.

        Raises:
            FrameError: No frame, one that cannot be used, or frames of several sizes.
        """
        length, size_hw = self.manifest.window, self.manifest.size_hw
        checked = [as_frame(frame) for frame in frames[-length:]]
        if not checked:
            raise FrameError("a window needs at least one frame")
        if len({frame.shape for frame in checked}) > 1:
            sizes = ", ".join(f"{frame.shape[1]} x {frame.shape[0]}" for frame in checked)
            raise FrameError(f"the frames of a window must be of one size, got {sizes}")
        levels = [normalise(frame, self.manifest.intensity) for frame in checked]
        if self.manifest.register_window:
            levels = register(levels)
        tensor = np.empty((length, *size_hw), dtype=np.float32)
        missing = length - len(levels)
        for row, level in zip(tensor[missing:], levels, strict=True):
            letterbox(level, size_hw, out=row)
        tensor[:missing] = tensor[missing]
        key = checked[-1]
        return PreparedFrame(key, tensor, LetterboxTransform.fit((key.shape[0], key.shape[1]), size_hw))

    def infer(self, prepared: Sequence[PreparedFrame]) -> NDArray[np.float32]:
        """Second stage: run the network on frames, all at once.

        Returns:
            ``(B, K, 6)`` float32: x1, y1, x2, y2 network pixels, score, class.

        Raises:
            EngineError: The network failed, or the detector is closed.
        """
        if not prepared:
            return np.empty((0, self.manifest.max_detections, 6), dtype=np.float32)
        return self.engine.infer(np.stack([one.tensor for one in prepared]))

    def finish(
        self,
        prepared: PreparedFrame,
        raw: NDArray[np.float32],
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        measure: bool = True,
    ) -> Detections:
        """Third stage: choose among a frame's candidates, map them to the frame, measure the targets there.

        Args:
            prepared: What `prepare` gave.
            raw: Its row ``(K, 6)`` of what `infer` gave. Rows that are not finite count as no candidates.
            score_threshold: As `detect`.
            max_detections: As `detect`.
            measure: Measure centroid and SNR of each target; if not, they are the box's centre and NaN, at no cost.

        Raises:
            ConfigError: As `detect`.
            EngineError: The network named a class that the manifest does not have.
        """
        threshold, limit = self._options(score_threshold, max_detections)
        manifest = self.manifest
        finite = raw[np.isfinite(raw).all(axis=1)]
        candidates = finite[finite[:, 4] >= threshold]  # (N, 6)
        seen = self._within(prepared, candidates[:, :4])[1]  # the rest lies in the letterbox's padding
        candidates = candidates[seen]
        class_ids = candidates[:, 5].astype(np.int32)
        if len(class_ids) and not 0 <= class_ids.min() <= class_ids.max() < len(manifest.classes):
            raise EngineError(
                f"the network gives class ids up to {class_ids.max()}, "
                f"the manifest of {manifest.name} has {len(manifest.classes)} classes"
            )
        kept = suppress(
            candidates[:, :4],
            candidates[:, 4],
            class_ids,
            iou_threshold=manifest.nms_iou_threshold,
            centre_distance_px=manifest.nms_centre_distance_px,
            max_detections=limit,
        )
        if not len(kept):
            return Detections.empty(manifest.classes)
        network_boxes = candidates[kept, :4]
        if manifest.box_averaging_iou is not None:  # over those below the threshold too: it must not move boxes
            network_boxes = average_boxes(
                network_boxes,
                class_ids[kept],
                finite[:, :4],
                finite[:, 4],
                finite[:, 5],
                iou_threshold=manifest.box_averaging_iou,
            )
        boxes_xyxy = self._within(prepared, network_boxes)[0].astype(np.float32)
        if measure:
            centroids, snr = measure_targets(prepared.frame, boxes_xyxy)
        else:
            centroids = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) * np.float32(0.5)
            snr = np.full(len(kept), np.nan, dtype=np.float32)
        return Detections(
            boxes_xyxy=boxes_xyxy,
            scores=np.clip(candidates[kept, 4], 0.0, 1.0),
            class_ids=class_ids[kept],
            centroids=centroids,
            snr=snr,
            class_names=manifest.classes,
        )

    def with_manifest(self, manifest: Manifest) -> Detector:
        """Give a detector over the same engine that treats the network's output as another manifest says.

        Args:
            manifest: Of the same network: thresholds and suppression may differ, sizes and classes may not.
        """
        return Detector(replace(self.bundle, manifest=manifest), self.engine, threads=self.threads)

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Run the network on grey frames, so that the first real one does not wait for memory and kernels.

        Args:
            batch_sizes: Each is run once.
        """
        for size in batch_sizes:
            shape = (size, self.manifest.window, *self.manifest.size_hw)
            self.engine.infer(np.full(shape, 0.5, dtype=np.float32))

    def close(self) -> None:
        """Give back what the engine holds; `detect` raises `EngineError` from then on."""
        self.engine.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Detector {self.manifest.name}:{self.manifest.version} {self.precision} on {self.device}>"

    @staticmethod
    def _within(
        prepared: PreparedFrame, boxes_xyxy: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Map boxes ``(N, 4)`` of network pixels to the frame and cut them there; say which of them have area left."""
        height, width = prepared.frame.shape
        boxes = clip_boxes(prepared.transform.to_frame(boxes_xyxy), (height, width))
        return boxes, (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])

    def _options(self, score_threshold: float | None, max_detections: int | None) -> tuple[float, int]:
        """Check what the caller asks for, and fill in what the manifest says."""
        threshold = self.manifest.score_threshold if score_threshold is None else score_threshold
        limit = self.manifest.max_detections if max_detections is None else max_detections
        if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise ConfigError(f"score_threshold must be in [0, 1], got {threshold!r}")
        if not isinstance(limit, Integral) or limit < 1:
            raise ConfigError(f"max_detections must be a whole number from 1, got {limit!r}")
        return float(threshold), int(limit)


def load(
    name_or_path: str | Path,
    *,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    repository: ModelRepository | str | Path | None = None,
) -> Detector:
    """Load a model and make it ready to run.

    Args:
        name_or_path: The name of a model, its newest version or, as ``name:version``, that one; or the folder of a
            bundle: a `Path`, or a string with a separator in it such as ``./my-bundle``.
        device: Where to run; ``auto`` takes the fastest that works and says so in the log: a TensorRT engine of the
            bundle that fits this machine, ONNX Runtime on CUDA, the CPU. The others do not fall back; ``tensorrt``
            builds an engine if none fits, which may take minutes.
        precision: Of the network; ``auto`` takes the fastest there is on a GPU, fp32 on a CPU.
        threads: Cores for one run of the network; as many as this process may use if none.
        repository: Where names are looked up; the models that come with this package if none.

    Raises:
        BundleError: The bundle cannot be used, or has no graph of that precision.
        ChecksumError: A file of the bundle was changed.
        ConfigError: An unknown device or precision, or threads that are no whole number or out of range.
        EngineError: The device cannot be used; the message says what was found and what to install.
        ModelNotFoundError: No model of that name; the message lists what there is.
    """
    if device not in get_args(Device):
        raise ConfigError(f"device must be one of {', '.join(get_args(Device))}, got {device!r}")
    if precision not in get_args(Precision):
        raise ConfigError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
    bundle = _open_bundle(name_or_path, repository)
    cores = available_cores() if threads is None else check_threads(threads)
    engine = choose_engine(bundle, device=device, precision=precision, threads=cores)
    return Detector(bundle, engine, threads=cores)


def _open_bundle(name_or_path: str | Path, repository: ModelRepository | str | Path | None) -> Bundle:
    """Tell names from paths, and open the bundle."""
    if isinstance(name_or_path, Path) or os.sep in name_or_path or not (match := NAME.fullmatch(name_or_path)):
        return Bundle.open(Path(name_or_path))
    if repository is None:
        repository = shipped_repository()
    elif not isinstance(repository, ModelRepository):
        repository = ModelRepository(Path(repository))
    try:
        return repository.open(match["name"], match["version"])
    except ModelNotFoundError as error:
        if (Path(name_or_path) / MANIFEST_NAME).is_file():
            raise ModelNotFoundError(f"{error}; for the folder of that name, write ./{name_or_path}") from None
        raise
