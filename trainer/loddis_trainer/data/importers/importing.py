"""One import from end to end: read, name, split, write, count."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from loddis_trainer.data.errors import DataError
from loddis_trainer.data.importers import FORMATS, Format, ImportedFrame, ImportedSet, ReadOptions, recognise
from loddis_trainer.data.importers.files import check_utf8
from loddis_trainer.data.importers.sequences import (
    as_stills,
    check_frames_of_sequences,
    in_stretches,
    one_recording,
    sequences_by_pattern,
)
from loddis_trainer.data.importers.splitting import (
    advice_on_too_few,
    check_whole_sequences,
    split_by_lists,
    split_by_shares,
    take_val_from_train,
)
from loddis_trainer.data.importers.summary import ImportReport, summarise
from loddis_trainer.data.importers.videos import check_videos
from loddis_trainer.data.importers.writing import write_domain
from loddis_trainer.data.readers.names import check_text

__all__ = ["ImportSettings", "import_domain"]


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """How to import, beyond what readers are told.

    Attributes:
        format: Name of one of `FORMATS`, or ``auto``.
        shares: Split to share; empty: what the source or its lists say.
        val_from_train: Share of the train split's sequences that becomes `val`; 0 leaves it whole.
        seed: Of both.
        sequence_from: Pattern on an image's path that names its sequence.
        stills: Let every image stand alone.
        stretch: Most frames of a sequence; longer ones are cut into several. ``None`` leaves them whole.
        gap: Frames that are left out behind each cut.
        rename: Category to its new name.
        only: Categories that are kept, by their old names; empty keeps all.
        link: Link to files of pixels instead of copying them.
    """

    format: str = "auto"
    shares: Mapping[str, float] = field(default_factory=dict)
    val_from_train: float = 0.0
    seed: int = 0
    sequence_from: re.Pattern[str] | None = None
    stills: bool = False
    stretch: int | None = None
    gap: int = 0
    rename: Mapping[str, str] = field(default_factory=dict)
    only: Sequence[str] = ()
    link: bool = False


def import_domain(source: Path, out: Path, settings: ImportSettings, options: ReadOptions) -> ImportReport:
    """Turn an annotated set into a domain folder.

    Args:
        source: Folder of the set.
        out: Folder of the domain; must not exist.
        settings: Of the import.
        options: Of the reader.

    Raises:
        DataError: Anything that cannot be taken as it is; names file and line or frame. Nothing is written then.
    """
    _check_place(out, source)
    form, reason = _format(source, settings.format)
    imported = form.read(source, options)
    if not imported.frames:
        raise DataError(f"{source} has no labelled frame")
    frames = _with_sequences(imported, settings)
    warnings = []
    if settings.sequence_from is not None and len({frame.sequence for frame in frames}) == len(frames) > 1:
        warnings.append("--sequence-from makes a sequence of every single image: it is to name recordings")
    frames, dropped = _with_categories(frames, settings)
    if imported.pixels == "videos":  # their labels cannot say "looked at, nothing there"
        frames = tuple(frame for frame in frames if frame.boxes_xywh)
    bare = len(imported.frames) - len(frames)
    frames, told = _with_splits(frames, form, settings, options)
    warnings += told
    check_whole_sequences(frames)
    kept = tuple(frame for frame in frames if frame.split is not None)
    if not kept:
        raise DataError(f"{source} has no frame in any split")
    check_frames_of_sequences(kept)
    if len(kept) < len(frames):
        warnings.append(f"{len(frames) - len(kept)} frames are in no split and were left out")
    if dropped:
        warnings.append(f"{dropped} targets of other categories were left out")
    if bare:
        warnings.append(f"{bare} frames of videos have no target left and count as not labelled")
    categories = tuple(sorted({label for frame in kept for label in frame.labels}))
    for category in categories:
        check_text(category, kind="category", where=str(source))
    for sequence in sorted({frame.sequence for frame in kept if frame.sequence is not None}):
        check_text(sequence, kind="sequence", where=str(source))
    if imported.pixels == "videos":  # last, for it takes long: all else is settled
        check_videos(source, kept, progress=options.progress)
    write_domain(replace(imported, frames=kept), out, link=settings.link, progress=options.progress)
    return ImportReport(out, form.name, reason, categories, summarise(kept), (*imported.warnings, *warnings))


def _check_place(out: Path, source: Path) -> None:
    """Refuse a domain that would lie where something is, or in the source, which it would make ambiguous."""
    check_utf8(out)
    if out.exists() or out.is_symlink():
        raise DataError(f"{out} exists already; an import never overwrites: choose another folder")
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(source)):
        raise DataError(f"{out} lies in the source {source}, which could not be imported again: choose another folder")


def _format(source: Path, name: str) -> tuple[Format, str | None]:
    if name == "auto":
        return recognise(source)
    return next(form for form in FORMATS if form.name == name), None


def _with_sequences(imported: ImportedSet, settings: ImportSettings) -> tuple[ImportedFrame, ...]:
    wanted = settings.stills or settings.sequence_from is not None or settings.stretch is not None
    if wanted and imported.pixels == "videos":
        raise DataError("a video is one sequence: --sequence-from, --stills and --stretch are for images")
    if settings.stills:
        return as_stills(imported.frames)
    if settings.sequence_from is not None:
        return sequences_by_pattern(imported.frames, settings.sequence_from)
    return imported.frames


def _with_categories(
    frames: Sequence[ImportedFrame], settings: ImportSettings
) -> tuple[tuple[ImportedFrame, ...], int]:
    """Select and rename categories; also how many targets went."""
    there = {label for frame in frames for label in frame.labels}
    for name in (*settings.only, *settings.rename):
        if name not in there:
            raise DataError(f"no target is a '{name}'; there are: {', '.join(sorted(there)) or 'none'}")
    kept, dropped = [], 0
    for frame in frames:
        pairs = [
            (box, settings.rename.get(label, label))
            for box, label in zip(frame.boxes_xywh, frame.labels, strict=True)
            if not settings.only or label in settings.only
        ]
        dropped += len(frame.labels) - len(pairs)
        kept.append(
            replace(frame, boxes_xywh=tuple(box for box, _ in pairs), labels=tuple(label for _, label in pairs))
        )
    return tuple(kept), dropped


def _cut(frames: Sequence[ImportedFrame], settings: ImportSettings) -> tuple[tuple[ImportedFrame, ...], str]:
    """Cut long sequences into stretches; also what is to be said of it. Frames of no split count for nothing."""
    if settings.shares:  # which win over the source's word
        listed, others = [replace(frame, split=None) for frame in frames], []
    else:
        listed = [frame for frame in frames if frame.split is not None]
        others = [frame for frame in frames if frame.split is None]
    check_frames_of_sequences(listed)
    left, cut = in_stretches(listed, settings.stretch or len(listed), gap=settings.gap)
    if not cut:
        return (*left, *others), f"no sequence is longer than the {settings.stretch} frames of --stretch: none was cut"
    told = f"sequences that were cut into stretches: {cut} of {len({frame.sequence for frame in listed} - {None})}"
    if settings.gap:
        told += f"; frames behind cuts that were left out: {len(listed) - len(left)}"
    else:
        told += "; frames next to a cut are near-duplicates: --gap 10 leaves out ten behind each"
    return (*left, *others), told


def _with_splits(
    frames: tuple[ImportedFrame, ...], form: Format, settings: ImportSettings, options: ReadOptions
) -> tuple[tuple[ImportedFrame, ...], list[str]]:
    warnings: list[str] = []
    listed = [path for path in options.lists.values() if not form.lists_are_labels(path)]
    if settings.shares and listed:
        raise DataError("--split and lists of names both say what goes where: give one of them")
    if listed:
        if len(listed) < len(options.lists):
            raise DataError("lists must be of one kind, all JSON or all text, got both")
        frames = split_by_lists(frames, options.lists)
    if not (settings.shares or listed) and all(frame.split is None for frame in frames):
        raise DataError(
            "the source says nothing of splits: give --split train=0.7,val=0.1,test=0.2, or lists by --train-list,"
            " --val-list, --test-list"
        )
    advice = advice_on_too_few(frames)
    if settings.stretch is not None:  # behind lists, which may name whole sequences
        frames, told = _cut(frames, settings)
        warnings.append(told)
    if settings.shares:
        frames = split_by_shares(frames, settings.shares, seed=settings.seed, advice=advice)
    if settings.val_from_train:
        frames = take_val_from_train(frames, settings.val_from_train, seed=settings.seed, advice=advice)
    if (settings.shares or settings.val_from_train) and any(frame.sequence is None for frame in frames):
        warnings.append(
            "images that stand alone were split one by one, so that near-duplicates may cross from one split to"
            f" another: {one_recording(frames)}"
        )
    if not any(frame.split == "train" for frame in frames):
        warnings.append("there is no split 'train', which a training needs: the domain serves for evaluation alone")
    if not any(frame.split == "val" for frame in frames):
        missing = "there is no split 'val', which a training needs"
        train = tuple(frame for frame in frames if frame.split == "train")
        groups = {frame.group for frame in train}
        if len(groups) > 1:
            missing += ": --val-from-train makes one"
        elif groups:
            missing += f", and train has nothing to spare for it: {advice}"
        warnings.append(missing)
    return frames, warnings
