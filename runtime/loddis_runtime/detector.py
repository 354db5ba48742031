"""Frames in, detections out: a bundle, an engine, and what comes before and after the network.

Legend: B batch, T frames of the window, H W pixels of the frame, h w network pixels, K candidates, N detections.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loddis_runtime.boxes import box_centres
from loddis_runtime.bundle import Bundle, GraphPrecision
from loddis_runtime.detections import Detections
from loddis_runtime.engines import Engine
from loddis_runtime.engines.choice import Device, Precision, choose_engine
from loddis_runtime.engines.threads import available_cores, check_threads
from loddis_runtime.errors import ConfigError, FrameError
from loddis_runtime.frames import Frame, as_frame, own_frame
from loddis_runtime.manifest import Manifest
from loddis_runtime.photometry import measure_batch
from loddis_runtime.preparation import PreparedFrame, stack_window, still_window, window_frame
from loddis_runtime.repository import ModelRepository, open_bundle
from loddis_runtime.selection import select
from loddis_runtime.stream import Stream

__all__ = ["Detector", "Device", "Precision", "PreparedFrame", "load"]

logger = logging.getLogger(__name__)

MAX_BATCH = 32  # frames that `detect_batch` hands to the network at once; bounds its memory


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
        self._told_of_shortage = False

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
        threshold, limit = self.check_options(score_threshold, max_detections)
        frames = list(frames)
        results: list[Detections] = []
        for start in range(0, len(frames), MAX_BATCH):
            prepared = []
            for index, frame in enumerate(frames[start : start + MAX_BATCH], start=start):
                try:
                    prepared.append(self._prepare(as_frame(frame)))
                except FrameError as error:
                    raise error if len(frames) == 1 else FrameError(f"frame {index}: {error}") from None
            raw = self.infer(prepared)
            results += self.finish_batch(prepared, raw, score_threshold=threshold, max_detections=limit)
        return results

    def prepare(self, frame: ArrayLike) -> PreparedFrame:
        """First stage: check a frame, normalise its grey levels, fit it into the network's size.

        What is returned has a copy of the frame, in which `finish` measures: a camera may write its next frame into the
        same memory meanwhile.

        Raises:
            FrameError: The frame cannot be used.
        """
        return self._prepare(own_frame(frame))

    def prepare_window(self, frames: Sequence[ArrayLike]) -> PreparedFrame:
        """First stage, of a frame with those before it: what `prepare` does, and registration if the model wants it.

        Args:
            frames: At least one, oldest first; the last is detected on. The model's window takes the newest T; where
                there are fewer, the scene is taken to have stood still before.

        Raises:
            FrameError: No frame, one that cannot be used, or frames of several sizes.
        """
        newest = frames[-self.manifest.window :]
        if len(newest) == 0:
            raise FrameError("a window needs at least one frame")
        checked = [*map(as_frame, newest[:-1]), own_frame(newest[-1])]
        if len({frame.shape for frame in checked}) > 1:
            sizes = ", ".join(f"{frame.shape[1]} x {frame.shape[0]}" for frame in checked)
            raise FrameError(f"the frames of a window must be of one size, got {sizes}")
        window = [window_frame(frame, self.manifest) for frame in checked]
        return PreparedFrame.of(checked[-1], stack_window(window, self.manifest))

    def stream(self, *, max_gap: int = 0, max_gap_s: float | None = None) -> Stream:
        """Open a session that takes the frames of one camera one at a time, and keeps the window that the model sees.

        Args:
            max_gap: Frames that may be missing between neighbours in a window. By default none: the network takes
                what moved between two frames for the motion of one.
            max_gap_s: Longest time between neighbours in a window, seconds; any if none. For frames with timestamps.

        Returns:
            A session; `Stream` says how it answers gaps, late frames and changes of size.

        Raises:
            ConfigError: A limit that is no whole number from 0, or no time above 0.
        """
        return Stream(self, max_gap=max_gap, max_gap_s=max_gap_s)

    def infer(self, prepared: Sequence[PreparedFrame]) -> NDArray[np.float32]:
        """Second stage: run the network on frames, all at once.

        Returns:
            ``(B, K, 6)`` float32: x1, y1, x2, y2 network pixels, score, class.

        Raises:
            EngineError: The network failed, or the detector is closed.
        """
        if not prepared:
            return np.empty((0, self.manifest.max_detections, 6), dtype=np.float32)
        if len(prepared) == 1:
            return self.engine.infer(np.ascontiguousarray(prepared[0].tensor)[None])  # a window of one is not copied
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
        (detections,) = self.finish_batch(
            [prepared], raw[None], score_threshold=score_threshold, max_detections=max_detections, measure=measure
        )
        return detections

    def finish_batch(
        self,
        prepared: Sequence[PreparedFrame],
        raw: NDArray[np.float32],
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        measure: bool = True,
    ) -> list[Detections]:
        """Third stage of several frames: what `finish` gives for each, its targets measured all at once.

        Args:
            prepared: As given to `infer`.
            raw: ``(B, K, 6)``, what `infer` gave.
            score_threshold: As `detect`.
            max_detections: As `detect`, for each frame.
            measure: As `finish`.

        Raises:
            ConfigError: As `detect`.
            EngineError: As `finish`.
        """
        threshold, limit = self.check_options(score_threshold, max_detections)
        self._tell_of_shortage(raw, threshold)
        selections = [
            select(one, rows, self.manifest, score_threshold=threshold, max_detections=limit)
            for one, rows in zip(prepared, raw, strict=True)
        ]
        boxes = [selection.boxes_xyxy for selection in selections]
        if measure:
            measured = measure_batch([one.frame for one in prepared], boxes)
        else:
            measured = [
                (box_centres(found).astype(np.float32), np.full(len(found), np.nan, dtype=np.float32))
                for found in boxes
            ]
        return [
            Detections(
                boxes_xyxy=selection.boxes_xyxy,
                scores=selection.scores,
                class_ids=selection.class_ids,
                centroids=centroids,
                snr=snr,
                class_names=self.manifest.classes,
            )
            for selection, (centroids, snr) in zip(selections, measured, strict=True)
        ]

    def check_options(self, score_threshold: float | None, max_detections: int | None) -> tuple[float, int]:
        """Check the options of `detect`, and fill in what the manifest says.

        Raises:
            ConfigError: As `detect`.
        """
        threshold = self.manifest.score_threshold if score_threshold is None else score_threshold
        limit = self.manifest.max_detections if max_detections is None else max_detections
        if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise ConfigError(f"score_threshold must be in [0, 1], got {threshold!r}")
        if not isinstance(limit, Integral) or limit < 1:
            raise ConfigError(f"max_detections must be a whole number from 1, got {limit!r}")
        return float(threshold), int(limit)

    def _prepare(self, frame: Frame) -> PreparedFrame:
        return PreparedFrame.of(frame, still_window(frame, self.manifest))

    def _tell_of_shortage(self, raw: NDArray[np.float32], threshold: float) -> None:
        """Log, the first time, that a frame had more candidates ``(B, K, 6)`` worth reporting than the network gives.

        Lower thresholds than the manifest's do not count: who measures goes down to scores that nobody reports.
        """
        manifest = self.manifest
        points = manifest.size_hw[0] // manifest.stride * (manifest.size_hw[1] // manifest.stride)
        threshold = max(threshold, manifest.score_threshold)
        if self._told_of_shortage or raw.shape[1] >= points or not (raw[:, -1:, 4] >= threshold).any():
            return
        self._told_of_shortage = True
        logger.warning(
            "%s:%s ran out of candidates: all %d of a frame reach a score of %.2f, so that targets may be missing; "
            "loddis-export candidates makes a bundle with more",
            *(manifest.name, manifest.version, raw.shape[1], threshold),
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
        precision: Of the network; ``auto`` takes the fastest that the bundle has a graph of.
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
    bundle = open_bundle(name_or_path, repository)
    cores = available_cores() if threads is None else check_threads(threads)
    engine = choose_engine(bundle, device=device, precision=precision, threads=cores)
    return Detector(bundle, engine, threads=cores)
