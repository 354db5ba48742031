"""Checkpoint in, bundle out: strip, convert, prove parity, measure, describe. What fails leaves no bundle behind."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from loddis_export.averaging import choose_box_averaging
from loddis_export.box_scale import choose_box_scale, scale_boxes
from loddis_export.bundle_folder import check_is_new, name_and_version, new_bundle, not_describable, save_manifest
from loddis_export.errors import ExportError, ParityError
from loddis_export.graph import set_parameter, write_graph
from loddis_export.model_card import CARD, model_card
from loddis_export.operating_point import choose_threshold
from loddis_export.parity import Reference
from loddis_export.parity_report import ParityReport, PrecisionParity
from loddis_export.precisions import (
    calibration_numbers,
    compare_signed_int8,
    figures_of_precision,
    write_fp16,
    write_int8,
)
from loddis_export.scenes import scenes_of_training_domains
from loddis_export.settings import Credit, ExportSettings, ScenesSettings
from loddis_export.strip import StrippedCheckpoint, strip_checkpoint
from loddis_export.strip_proof import measure_stripping
from loddis_runtime import Detector, load
from loddis_runtime.bundle import graph_name
from loddis_runtime.engines.refusals import PARITY_NAME
from loddis_runtime.manifest import Manifest, TrainingDomain
from loddis_trainer.data import DomainDataset, LabelledFrames, join
from loddis_trainer.evaluate import collect_results
from loddis_trainer.metrics import ImageResult, Metrics, evaluate_images
from loddis_trainer.software import software_versions

__all__ = ["ExportedBundle", "describe", "export_bundle"]

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
        ExportError: `out` exists, the name does not suit, or held-out frames have no target that the model finds.
        ParityError: The float32 graph strays from the checkpoint; nothing was written.
    """
    check_is_new(out)
    stripped = strip_checkpoint(checkpoint, candidates=settings.candidates)
    manifest = describe(stripped, out, settings)  # first: what is wrong with it costs no conversion
    chosen_on = settings.threshold_on or _splits_of_tasks(stripped, "val", "--threshold-on")
    calibrate_on: Sequence[str] = ()
    if "int8" in settings.precisions:
        calibrate_on = settings.calibrate_on or _splits_of_tasks(stripped, "train", "--calibrate-on")
    names = dict.fromkeys([*chosen_on, *settings.evaluate, *calibrate_on])
    splits = {name: _open(name, stripped, settings, progress=progress) for name in names}
    each = max(1, settings.calibration_frames // max(1, len(calibrate_on)))
    calibration = [
        (splits[name], number) for name in calibrate_on for number in calibration_numbers(splits[name], each)
    ]
    work = _Work(stripped, splits, tuple(chosen_on), calibration, settings, progress)
    if not any(len(work.held_out.boxes(number)) for number in range(len(work.held_out))):
        raise ExportError(f"{work.held_out.label} has no targets to judge a bundle by: name others with --threshold-on")
    with new_bundle(out) as building:
        return _build(work, manifest, building, out)


@dataclass(frozen=True, slots=True)
class _Work:
    """What an export goes by.

    Attributes:
        stripped: The checkpoint.
        splits: All that are needed, `DOMAIN:SPLIT` to frames.
        chosen_on: Which of them choices are made on.
        calibration: Splits and numbers of the frames that int8 is calibrated on, if it is written.
        settings: Everything else.
        progress: Show bars.
    """

    stripped: StrippedCheckpoint
    splits: Mapping[str, DomainDataset]
    chosen_on: tuple[str, ...]
    calibration: Sequence[tuple[DomainDataset, int]]
    settings: ExportSettings
    progress: bool

    @property
    def held_out(self) -> LabelledFrames:
        """What choices are made on, as one."""
        return join([self.splits[name] for name in self.chosen_on])

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Which of the splits the card is to tell of: those that choices are made on, where none was named."""
        return tuple(dict.fromkeys(self.settings.evaluate)) or self.chosen_on

    def detect(self, detector: Detector, name: str, *, measure: bool) -> list[ImageResult]:
        """Run a detector over one of the splits; with the SNR of targets if asked to `measure`."""
        return collect_results(detector, self.splits[name], measure=measure, progress=self.progress)

    def judge(self, results: Sequence[ImageResult], *, score_threshold: float) -> Metrics:
        """Give the figures of what a detector found."""
        return evaluate_images(
            results,
            score_threshold=score_threshold,
            centre_distance_px=self.settings.centre_distance_px,
            class_names=self.stripped.info.classes,
        )


def _build(work: _Work, manifest: Manifest, building: Path, out: Path) -> ExportedBundle:
    """Make the bundle in `building`."""
    settings = work.settings
    manifest, box_scale_wh = _settle_boxes(work, manifest, building)

    with load(building, device="cpu", precision="fp32", threads=settings.threads) as detector:
        threshold = settings.score_threshold
        found: dict[str, list[ImageResult]] = {}
        if threshold is None:
            found = {name: work.detect(detector, name, measure=name in work.evaluated) for name in work.chosen_on}
            curves = {name: work.judge(results, score_threshold=0.5).roc for name, results in found.items()}
            threshold = choose_threshold(curves, settings.max_false_alarms)
        manifest = manifest.model_copy(update={"score_threshold": threshold})
        report = _compare_graphs(work, manifest, building, detector.with_manifest(manifest), box_scale_wh=box_scale_wh)
        for name in work.evaluated:
            if name not in found:
                found[name] = work.detect(detector, name, measure=True)
    metrics = {name: work.judge(found[name], score_threshold=threshold) for name in work.evaluated}
    figures = {name: m.headline() for name, m in metrics.items()}

    written = [graph_name(one.precision) for one in report.precisions if not one.faults]
    manifest = save_manifest(manifest, building, written)
    if graph_name("int8") in written:  # float16 is no arithmetic of this CPU
        with load(building, device="cpu", precision="int8", threads=settings.threads) as compressed:
            for name in work.evaluated:
                measured = work.judge(work.detect(compressed, name, measure=False), score_threshold=threshold)
                figures[name] |= figures_of_precision(measured, "int8")
    manifest = manifest.model_copy(
        update={
            "scenes": scenes_of_training_domains(
                manifest,
                ScenesSettings(
                    data_root=settings.data_root, cache_dir=settings.cache_dir, scene_frames=settings.scene_frames
                ),
                progress=work.progress,
            ),
            "metrics": {name.replace(":", "/"): values for name, values in figures.items()},
        }
    )
    (building / PARITY_NAME).write_text(report.model_dump_json(indent=2) + "\n")
    (building / CARD).write_text(
        model_card(
            manifest,
            work.stripped,
            report,
            metrics,
            centre_distance_px=settings.centre_distance_px,
            chosen_on=work.chosen_on,
            max_false_alarms=settings.max_false_alarms if settings.score_threshold is None else None,
        )
    )
    manifest = save_manifest(manifest, building, [*written, PARITY_NAME, CARD])
    load(building, device="cpu", threads=settings.threads).close()  # what is shipped must open
    return ExportedBundle(out, manifest, report, metrics)


def _settle_boxes(work: _Work, manifest: Manifest, building: Path) -> tuple[Manifest, tuple[float, float]]:
    """Write the float32 graph with boxes that suit held-out frames: how they are made of candidates, and how large.

    Gives the manifest of the graph, and the factors that its boxes were made wider and higher by.
    """
    settings, held_out = work.settings, work.held_out
    info = work.stripped.info
    write_graph(work.stripped.detector, building / graph_name("fp32"), window=info.window, size_hw=info.size_hw)
    manifest = save_manifest(manifest, building, [graph_name("fp32")])
    factors = (1.0, 1.0)
    with load(building, device="cpu", precision="fp32", threads=settings.threads) as opened:
        averaging_iou = choose_box_averaging(opened, held_out, settings.average_boxes, progress=work.progress)
        manifest = manifest.model_copy(update={"box_averaging_iou": averaging_iou})
        if settings.scale_boxes:
            factors = choose_box_scale(opened.with_manifest(manifest), held_out, progress=work.progress)
    if factors != (1.0, 1.0):
        name, bias = scale_boxes(work.stripped.detector, factors)
        set_parameter(building / graph_name("fp32"), name, bias)
    return save_manifest(manifest, building, [graph_name("fp32")]), factors


def _compare_graphs(
    work: _Work, manifest: Manifest, building: Path, detector: Detector, *, box_scale_wh: tuple[float, float]
) -> ParityReport:
    """Hold the float32 graph against the checkpoint, then write the others, those that keep within their limits."""
    settings, held_out = work.settings, work.held_out
    reference = Reference.of(
        work.stripped.detector,
        detector,
        held_out,
        held_out.evenly_spaced(settings.parity_frames),
        centre_distance_px=settings.centre_distance_px,
        score_threshold=manifest.score_threshold,
    )
    signed: PrecisionParity | None = None
    parities = [reference.compare(detector, limits=settings.parity.fp32)]
    if parities[0].faults:
        raise ParityError(f"no bundle was written: {'; '.join(parities[0].faults)}")
    if "fp16" in settings.precisions:
        checkpoint, limits = work.stripped.detector, settings.parity.fp16
        parities.append(write_fp16(building, manifest, checkpoint, reference, limits=limits, threads=detector.threads))
    if "int8" in settings.precisions:
        window = manifest.window
        frames = [detector.prepare_window(split.window(number, window)).tensor for split, number in work.calibration]
        limits = settings.parity.int8
        parities.append(
            write_int8(
                building,
                manifest,
                reference,
                frames,
                limits=limits,
                threads=detector.threads,
                progress=work.progress,
            )
        )
        if not parities[-1].faults:
            signed = compare_signed_int8(building, manifest, reference, limits=limits, threads=detector.threads)
    for one in parities:
        if one.faults:
            log.warning("the bundle has no %s graph: %s", one.precision, "; ".join(one.faults))
    if signed is not None and signed.faults:
        log.warning("TensorRT engines of this bundle will not be int8: %s", "; ".join(signed.faults))
    stripping = measure_stripping(work.stripped)
    return reference.report(parities, stripping, signed_int8=signed, box_scale_wh=box_scale_wh)


def describe(stripped: StrippedCheckpoint, out: Path, settings: ExportSettings) -> Manifest:
    """Describe what is known before anything was measured."""
    info = stripped.info
    credit_of = {credit.domain: credit for credit in settings.credit}
    own = {domain.name for domain in info.domains}
    unknown = sorted(credit_of.keys() - own)
    if unknown:
        raise ExportError(f"credit for {', '.join(unknown)}, but the checkpoint was not trained on it")
    domains = tuple(
        TrainingDomain(
            name=domain.name,
            role=domain.role,
            fraction=domain.share,
            licence=credit_of.get(domain.name, Credit.missing(domain.name)).licence,
            source=credit_of.get(domain.name, Credit.missing(domain.name)).source,
        )
        for domain in info.domains
    )
    domains += tuple(domain for domain in info.start_domains if domain.name not in own)
    name, version = name_and_version(out)
    try:
        return Manifest(
            name=settings.name or name,
            version=settings.version or version,
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
            max_detections=stripped.detector.keep,
            training_domains=domains,
            files={},
            software=info.software | software_versions("onnx", "onnxruntime", "onnxscript"),
            created=dt.datetime.now(dt.UTC),
        )
    except ValidationError as error:
        raise not_describable(error) from error


def _splits_of_tasks(stripped: StrippedCheckpoint, split: str, flag: str) -> list[str]:
    tasks = [domain.name for domain in stripped.info.domains if domain.role == "task"]
    if not tasks:
        raise ExportError(f"the checkpoint names no task domain; say which frames to use with {flag} DOMAIN:SPLIT")
    return [f"{task}:{split}" for task in tasks]


def _open(name: str, stripped: StrippedCheckpoint, settings: ExportSettings, *, progress: bool) -> DomainDataset:
    domain, _, split = name.rpartition(":")
    dataset = DomainDataset.open(
        domain,
        split,
        data_root=settings.data_root,
        cache_dir=settings.cache_dir,
        classes=stripped.info.classes,
        progress=progress,
    )
    dataset.prepare_windows(stripped.info.window)
    return dataset
