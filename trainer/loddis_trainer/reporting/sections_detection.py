"""Sections about what runs detect, each figure with a sentence that says what to look for."""

from __future__ import annotations

from loddis_trainer.reporting import figures
from loddis_trainer.reporting.blocks import Gallery, Note, PictureRow, Plot, Section
from loddis_trainer.reporting.collect import Findings
from loddis_trainer.reporting.pictures import Example, choose_examples, picture_of

__all__ = ["curves_section", "groups_section", "negative_shift_section", "pictures_section"]


def negative_shift_section(findings: Findings) -> Section:
    """Say what auxiliary data did to each run, against the run on its task domain alone."""
    section = Section("negative-shift", "Negative shift", "Did the auxiliary data help, or harm?")
    alone = [run for run in findings.runs if not run.has_auxiliary]
    with_auxiliary = [run for run in findings.runs if run.has_auxiliary]
    if not with_auxiliary:
        section.blocks.append(
            Note("None of these runs was trained with auxiliary domains, so none can suffer from them.")
        )
        return section
    if not any(findings.task_splits(run) for run in with_auxiliary):
        labels = ", ".join(run.label for run in with_auxiliary)
        section.blocks.append(Note(f"None of the splits is of a task domain of {labels}: name one by --on."))
        return section
    compared: set[str] = set()
    for base in alone:
        others = [run for run in with_auxiliary if run.task_data == base.task_data]
        compared |= {run.label for run in others}
        section.blocks.extend(
            [
                Plot(
                    (figures.negative_shift(findings, base, others, split),),
                    f"A bar that ends below the dashed line was harmed by its auxiliary data; the line is {base.label},"
                    " trained on the task domain alone, and the figure over a bar is the change in points.",
                    title=split,
                )
                for split in findings.task_splits(base)
                if others
            ]
        )
    section.blocks.extend(
        [
            Note(
                f"{run.label}: there is no run here on its task data alone ({', '.join(run.task_specs)}, the same"
                " sequences) to compare it with; train one without auxiliary domains and name it too."
            )
            for run in with_auxiliary
            if run.label not in compared
        ]
    )
    return section


def curves_section(findings: Findings) -> Section:
    """Show precision over recall, and detections against false alarms."""
    distance_px = findings.of(findings.runs[0], findings.splits[0]).metrics.centre_distance_px
    return Section(
        "curves",
        "Precision, recall and false alarms",
        blocks=[
            Plot(
                (figures.precision_recall_curves(findings),),
                "The nearer a curve comes to the top right corner, the more targets are found with the fewer false"
                " ones; hits overlap their target by an IoU of at least 0.5.",
                title="Precision over recall",
            ),
            Plot(
                (figures.detection_curves(findings),),
                "Choose how many false alarms a frame you can bear, and read off the share of targets that is detected;"
                f" the dot is the operating point in use, and hits lie within {distance_px:g} px of their target.",
                title="Detections against false alarms",
            ),
        ],
    )


def groups_section(findings: Findings) -> Section:
    """Show what is detected by size and by SNR."""
    section = Section("groups", "By size and signal to noise ratio")
    for split in findings.splits:
        if not findings.of(findings.runs[0], split).metrics.targets:
            section.blocks.append(Note(f"{split} has no targets to group."))
            continue
        section.blocks.append(
            Plot(
                (figures.group_bars(findings, split),),
                "Low bars on the left are targets too small or too dim for the detector; n says how many targets a bar"
                " stands for, and few are no proof.",
                title=split,
            )
        )
    return section


def pictures_section(findings: Findings) -> Section:
    """Show misses, false alarms and hits."""
    section = Section(
        "pictures",
        "Hits, misses and false alarms",
        "At each run's operating point. A solid green box is the truth, a dashed orange one a detection.",
    )
    for split in findings.splits:
        for run in findings.runs:
            result = findings.of(run, split)
            examples = choose_examples(result)
            kinds: tuple[tuple[str, list[Example], str], ...] = (
                ("Missed", examples.misses, "the brightest first: those should have been found"),
                (
                    "False alarms",
                    examples.false_alarms,
                    "the surest first: look for a common cause; on a target says that it is a second box of one, or"
                    " too far off its centre",
                ),
                ("Found", examples.hits, "the dimmest first: this far down the detector reaches"),
            )
            rows = tuple(
                PictureRow(
                    name, words if chosen else "none", tuple((picture_of(result, one), one.caption) for one in chosen)
                )
                for name, chosen, words in kinds
            )
            section.blocks.append(Gallery(f"{run.label} on {split}", rows))
    return section
