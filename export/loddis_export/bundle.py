"""Checkpoint in, bundle out: strip, convert, prove parity, measure, describe. What fails leaves no bundle behind."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from loddis_export.averaging import choose_box_averaging
from loddis_export.errors import ExportError, ParityError
from loddis_export.graph import write_graph
from loddis_export.model_card import model_card
from loddis_export.parity import ParityReport, Reference
from loddis_export.precisions import calibration_frames, figures_of_precision, write_fp16, write_int8
from loddis_export.settings import Credit, ExportSettings
from loddis_export.strip import StrippedCheckpoint, strip_checkpoint
from loddis_export.strip_proof import measure_stripping
from loddis_runtime import Detector, load
from loddis_runtime.bundle import graph_name, sha256_file
from loddis_runtime.manifest import MANIFEST_NAME, Manifest, TrainingDomain
from loddis_trainer.data import DomainDataset
from loddis_trainer.evaluate import evaluate
from loddis_trainer.metrics import Metrics
from loddis_trainer.software import software_versions

__all__ = ["ExportedBundle", "export_bundle"]

PARITY, CARD = "parity.json", "MODEL_CARD.md"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportedBundle:
    """What an export came to.

    Attributes:
        path: Folder of the bundle.
        manifest: Of the bundle.
        parity: Of its graphs, and of those that strayed too far to be in it.
        metrics: `DOMAIN:SPLIT` to what was measured there.
    """

    path: Path
    manifest: Manifest
    parity: ParityReport
    metrics: Mapping[str, Metrics]


def export_bundle(checkpoint: Path, out: Path, settings: ExportSettings, *, progress: bool = True) -> ExportedBundle:
    """Make a bundle of a checkpoint.

    Args:
        checkpoint: Folder, `best/` or `last/` of a run.
        out: Folder of the bundle; by convention `REPO/NAME/VERSION`. Must not exist.
        settings: Everything else.
        progress: Show bars.

    Raises:
        CheckpointError: The checkpoint is missing or half-written.
        DataError: The frames for parity or evaluation cannot be read.
        ExportError: `out` exists, or the name does not suit.
        ParityError: The float32 graph strays from the checkpoint; nothing was written.
    """
    if out.exists():
        raise ExportError(f"{out} exists already; a bundle is never overwritten: choose another version")
    stripped = strip_checkpoint(checkpoint)
    manifest = _describe(stripped, out, settings)  # first: what is wrong with it costs no conversion
    chosen_on = settings.threshold_on or _default_split(stripped)
    splits = {
        name: _open(name, stripped, settings, progress=progress)
        for name in dict.fromkeys([chosen_on, *settings.evaluate])
    }
    building = out.with_name(f".{out.name}.building")
    parent_was_there = out.parent.is_dir()
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        result = _build(stripped, manifest, splits, building, out, settings, progress=progress)
        building.rename(out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        if not parent_was_there:
            with contextlib.suppress(OSError):  # someone else put something there
                out.parent.rmdir()
        raise
    return result


def _build(
    stripped: StrippedCheckpoint,
    manifest: Manifest,
    splits: Mapping[str, DomainDataset],
    building: Path,
    out: Path,
    settings: ExportSettings,
    *,
    progress: bool,
) -> ExportedBundle:
    """Make the bundle in `building`. `splits` are those that are asked for, the one to choose on first."""
    info = stripped.info
    write_graph(stripped.detector, building / graph_name("fp32"), window=info.window, size_hw=info.size_hw)
    manifest = _save(manifest, building, [graph_name("fp32")])

    chosen_on, held_out = next(iter(splits.items()))
    with load(building, device="cpu", precision="fp32", threads=settings.threads) as opened:
        averaging_iou = choose_box_averaging(opened, held_out, settings.average_boxes, progress=progress)
        manifest = manifest.model_copy(update={"box_averaging_iou": averaging_iou})
        detector = opened.with_manifest(manifest)
        reference = Reference.of(
            stripped.detector,
            detector,
            held_out,
            held_out.evenly_spaced(settings.parity_frames),
            centre_distance_px=settings.centre_distance_px,
            false_alarms_per_frame=settings.max_false_alarms,
        )
        parities = [reference.compare(detector, limits=settings.parity.fp32)]
        if parities[0].faults:
            raise ParityError(f"no bundle was written: {'; '.join(parities[0].faults)}")
        threshold = settings.score_threshold
        if threshold is None:
            on_held_out = _evaluate(detector, held_out, settings, score_threshold=0.5, progress=progress)
            threshold = on_held_out.threshold_at(settings.max_false_alarms)
        threshold = round(threshold, 4)  # before anything is measured at it: what is written is what was used
        metrics = {
            name: _evaluate(detector, splits[name], settings, score_threshold=threshold, progress=progress)
            for name in settings.evaluate
        }
    figures = {name: m.headline() for name, m in metrics.items()}

    if "fp16" in settings.precisions:
        parities.append(
            write_fp16(building, manifest, reference, limits=settings.parity.fp16, threads=detector.threads)
        )
    if "int8" in settings.precisions:
        frames = calibration_frames(detector, _calibration_split(stripped, settings, progress=progress), settings)
        parities.append(
            write_int8(building, manifest, reference, frames, limits=settings.parity.int8, threads=detector.threads)
        )
    written = [graph_name(one.precision) for one in parities if not one.faults]
    manifest = _save(manifest, building, written)
    for one in parities[1:]:
        if one.faults:
            log.warning("the bundle has no %s graph: %s", one.precision, "; ".join(one.faults))
            continue
        with load(building, device="cpu", precision=one.precision, threads=settings.threads) as compressed:
            for name in settings.evaluate:
                measured = _evaluate(
                    compressed, splits[name], settings, score_threshold=threshold, measure=False, progress=progress
                )
                figures[name] |= figures_of_precision(measured, one.precision)

    report = reference.report(parities, measure_stripping(stripped))
    manifest = manifest.model_copy(
        update={
            "score_threshold": threshold,
            "metrics": {name.replace(":", "/"): values for name, values in figures.items()},
        }
    )
    (building / PARITY).write_text(report.model_dump_json(indent=2) + "\n")
    (building / CARD).write_text(
        model_card(
            manifest,
            stripped,
            report,
            metrics,
            centre_distance_px=settings.centre_distance_px,
            chosen_on=chosen_on if settings.score_threshold is None else "the command line",
        )
    )
    manifest = _save(manifest, building, [*written, PARITY, CARD])
    load(building, device="cpu", threads=settings.threads).close()  # what is shipped must open
    return ExportedBundle(out, manifest, report, metrics)


def _save(manifest: Manifest, building: Path, names: Sequence[str]) -> Manifest:
    """Write the manifest of these files, and give it."""
    complete = manifest.model_copy(update={"files": {name: sha256_file(building / name) for name in names}})
    complete.save(building / MANIFEST_NAME)
    return complete


def _describe(stripped: StrippedCheckpoint, out: Path, settings: ExportSettings) -> Manifest:
    """Describe what is known before anything was measured."""
    info = stripped.info
    credit_of = {credit.domain: credit for credit in settings.credit}
    unknown = sorted(credit_of.keys() - {domain.name for domain in info.domains})
    if unknown:
        raise ExportError(f"credit for {', '.join(unknown)}, but the checkpoint was not trained on it")
    domains = tuple(
        TrainingDomain(
            name=domain.name,
            role=domain.role,
            fraction=domain.fraction,
            licence=credit_of.get(domain.name, Credit.missing(domain.name)).licence,
            source=credit_of.get(domain.name, Credit.missing(domain.name)).source,
        )
        for domain in info.domains
    )
    cells = (info.size_hw[0] // info.stride) * (info.size_hw[1] // info.stride)
    try:
        return Manifest(
            name=settings.name or out.parent.name,
            version=settings.version or out.name,
            classes=info.classes,
            window=info.window,
            register_window=info.register_window,
            size_hw=info.size_hw,
            stride=info.stride,
            variant=info.variant,
            intensity=info.intensity,
            score_threshold=settings.score_threshold or 0.5,
            nms_iou_threshold=settings.nms_iou_threshold,
            nms_centre_distance_px=settings.nms_centre_distance_px,
            max_detections=min(info.keep, cells),
            training_domains=domains,
            files={},
            software=info.software | software_versions("onnx", "onnxruntime", "onnxscript"),
            created=dt.datetime.now(dt.UTC),
        )
    except ValidationError as error:
        faults = [f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors(include_url=False)]
        raise ExportError(f"the bundle cannot be described: {'; '.join(faults)}") from error


def _default_split(stripped: StrippedCheckpoint) -> str:
    task = next((domain.name for domain in stripped.info.domains if domain.role == "task"), None)
    if task is None:
        raise ExportError(
            "the checkpoint names no task domain; say which frames to use with --threshold-on DOMAIN:SPLIT"
        )
    return f"{task}:val"


def _calibration_split(stripped: StrippedCheckpoint, settings: ExportSettings, *, progress: bool) -> DomainDataset:
    """Open the frames that the scales of int8 are measured on."""
    if settings.calibrate_on:
        return _open(settings.calibrate_on, stripped, settings, progress=progress)
    held_out = _default_split(stripped)
    return _open(f"{held_out.rpartition(':')[0]}:train", stripped, settings, progress=progress)


def _open(name: str, stripped: StrippedCheckpoint, settings: ExportSettings, *, progress: bool) -> DomainDataset:
    domain, _, split = name.rpartition(":")
    return DomainDataset.open(
        domain,
        split,
        data_root=settings.data_root,
        cache_dir=settings.cache_dir,
        classes=stripped.info.classes,
        progress=progress,
    )


def _evaluate(
    detector: Detector,
    dataset: DomainDataset,
    settings: ExportSettings,
    *,
    score_threshold: float,
    measure: bool = True,
    progress: bool,
) -> Metrics:
    return evaluate(
        detector,
        dataset,
        score_threshold=score_threshold,
        centre_distance_px=settings.centre_distance_px,
        measure=measure,
        progress=progress,
    )
