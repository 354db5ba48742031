"""What the scenes of a model's training domains are like, measured for its manifest.

Legend: N frames, M measures.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loddis_export.errors import ExportError
from loddis_export.settings import ScenesSettings
from loddis_runtime.bundle import Bundle
from loddis_runtime.errors import FrameError
from loddis_runtime.manifest import MANIFEST_NAME, Manifest
from loddis_runtime.preparation import PreparedFrame, still_window
from loddis_runtime.scene_measures import MEASURES, measure_scene
from loddis_runtime.scene_statistics import DomainStatistics, SceneStatistics
from loddis_trainer.data import DataError, DomainDataset

__all__ = ["add_scenes", "measure_domain", "scenes_of_training_domains"]

log = logging.getLogger(__name__)


def add_scenes(path: Path, settings: ScenesSettings, *, progress: bool = True) -> SceneStatistics:
    """Measure training domains and write their statistics into the manifest of a bundle; its files stay as they are.

    Args:
        path: Folder of the bundle.
        settings: Which domains, and how many frames.
        progress: Show bars while frames are decoded.

    Returns:
        What was written.

    Raises:
        BundleError, ChecksumError: The bundle cannot be read, or is damaged; it is left as it was.
        DataError: The frames of a domain cannot be read.
        ExportError: No domain, one that the bundle was not trained on, or one with too few sequences.
    """
    manifest = Bundle.open(path).manifest
    trained_on = [domain.name for domain in manifest.training_domains]
    wanted = settings.domain or trained_on
    if not wanted:
        raise ExportError(f"{path} names no training domains, and none is given")
    strangers = sorted({Path(name).name for name in wanted} - {Path(name).name for name in trained_on})
    if strangers:
        raise ExportError(f"{path} was not trained on {', '.join(strangers)}, but on {', '.join(trained_on) or 'none'}")
    scenes = _measure(wanted, manifest, settings, progress=progress)
    manifest.model_copy(update={"scenes": scenes}).save(path / MANIFEST_NAME)
    return scenes


def scenes_of_training_domains(
    manifest: Manifest, settings: ScenesSettings, *, progress: bool
) -> SceneStatistics | None:
    """Measure the training domains of a new bundle, all of them or none.

    Where one cannot be read or described, a scene of that domain would be told to be unlike the others: then the bundle
    goes without, and the log says why.
    """
    names = [domain.name for domain in manifest.training_domains]
    try:
        return _measure(names, manifest, settings, progress=progress) if names else None
    except (DataError, ExportError) as error:
        log.warning("the bundle cannot tell scenes that are unlike those it was trained on: %s", error)
        return None


def measure_domain(dataset: DomainDataset, manifest: Manifest, *, frames: int) -> DomainStatistics:
    """Measure evenly spaced frames of a domain, prepared as the network gets them.

    Args:
        dataset: Its train split.
        manifest: Of the model: size and intensity policy count.
        frames: At most so many.

    Raises:
        ExportError: Fewer than ten sequences, or frames that are too small to be measured or do not suit the model.
    """
    numbers = dataset.evenly_spaced(frames)
    order = {name: place for place, name in enumerate(dataset.sequences)}
    rows = []
    for number in numbers:
        frame = dataset.frame(number)
        try:
            row = measure_scene(PreparedFrame.of(frame, still_window(frame, manifest)))
        except FrameError as error:
            raise ExportError(f"frame {number} of domain '{dataset.name}': {error}") from error
        if row is None:
            raise ExportError(f"frames of domain '{dataset.name}' are too small to be measured: {frame.shape}")
        rows.append(row)
    try:
        return DomainStatistics.fit(
            dataset.name, np.stack(rows), [order[dataset.sequence_of(number)] for number in numbers]
        )
    except ValueError as error:
        raise ExportError(str(error)) from error


def _measure(names: Sequence[str], manifest: Manifest, settings: ScenesSettings, *, progress: bool) -> SceneStatistics:
    opened = (
        DomainDataset.open(
            name,
            "train",
            data_root=settings.data_root,
            cache_dir=settings.cache_dir,
            progress=progress,
        )
        for name in names
    )
    return SceneStatistics(
        measures=MEASURES,
        domains=tuple(measure_domain(dataset, manifest, frames=settings.scene_frames) for dataset in opened),
    )
