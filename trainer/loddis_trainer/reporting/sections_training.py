"""Sections about how runs were trained and what the method did, each figure with a sentence on what to look for."""

from __future__ import annotations

from loddis_trainer.errors import TrainingError
from loddis_trainer.evidence import FeatureSnapshot, read_snapshot
from loddis_trainer.reporting import figures_training
from loddis_trainer.reporting.blocks import Maps, Note, Plot, Section
from loddis_trainer.reporting.collect import Findings
from loddis_trainer.reporting.feature_maps import feature_maps
from loddis_trainer.reporting.runs import TrainedRun

__all__ = ["correlation_section", "focus_section", "maps_section", "separability_section", "training_section"]

NO_EVIDENCE = (
    "{}: no evidence was recorded while it was trained (evidence_frames was 0, none of them had a target, or an earlier"
    " version trained it)."
)


def training_section(findings: Findings) -> Section:
    """Show losses and validation."""
    section = Section("training", "Training")
    section.blocks.append(
        Plot(
            (figures_training.loss_curves(findings.runs),),
            "Losses should fall and validation rise; a domain classifier near chance means that the target features"
            " have stopped telling domains apart.",
        )
    )
    return section


def correlation_section(findings: Findings) -> Section:
    """Show the correlation of z and b before and after training."""
    section = Section(
        "correlation",
        "Correlation of targets and backgrounds",
        "What the method's correlation weakening should bring down.",
    )
    for run in findings.runs:
        if not run.evidence:
            section.blocks.append(Note(NO_EVIDENCE.format(run.label)))
            continue
        first, last = run.evidence[0], run.evidence[-1]
        shown = (first.correlation, last.correlation, last.correlation_by_chance, first.hsic, last.hsic)
        if first is last or None in shown:
            why = "its evidence is of a single epoch" if first is last else "too few frames for a correlation"
            section.blocks.append(Note(f"{run.label}: {why}."))
            continue
        titles = (f"epoch {first.epoch}: {first.correlation:.2f}", f"epoch {last.epoch}: {last.correlation:.2f}")
        svg = figures_training.correlation_matrices(
            read_snapshot(run.folder, first.epoch), read_snapshot(run.folder, last.epoch), titles=titles
        )
        hsic = f"dependence as the loss measures it went from {first.hsic:.3f} to {last.hsic:.3f}"
        section.blocks.append(
            Plot(
                (svg,),
                "Where the right map is darker than the left, target features z depend less on background features b"
                f" than before; over each stands its mean, which chance alone puts at {last.correlation_by_chance:.2f},"
                f" and the {hsic}. z is {last.z_from}; b is {last.b_from}.",
                title=run.label,
                legend="none",
            )
        )
    return section


def separability_section(findings: Findings) -> Section:
    """Show how well domains can be told apart, and where their features lie."""
    section = Section(
        "domains", "Domain separability", "Can one still tell from a target's features which domain it comes from?"
    )
    probed = [run for run in findings.runs if any(line.separability_z is not None for line in run.evidence)]
    if probed:
        section.blocks.append(
            Plot(
                (figures_training.separability_curves(findings.runs),),
                "Lower is better: at the dashed line, which is chance, a linear probe cannot name the domain any more;"
                " differences under 0.1 are within what so few frames scatter.",
            )
        )
    places = findings.domain_places
    for run in findings.runs:
        if not run.evidence:
            section.blocks.append(Note(NO_EVIDENCE.format(run.label)))
        elif run not in probed:
            why = (
                "it was trained on a single domain, so there is nothing to tell apart"
                if len(run.info.domains) < 2
                else "fewer than two of its domains have two frames of evidence with a target"
            )
            section.blocks.append(Note(f"{run.label}: {why}."))
        else:
            section.blocks.append(
                Plot(
                    (figures_training.embeddings(_moments(run), domain_places=places),),
                    "Where clouds of different colour mix as training goes on, features have come to overlook their"
                    " domain; each dot is a frame's z, in the plane of its two largest variances.",
                    title=run.label,
                    legend="domains",
                )
            )
    return section


def _moments(run: TrainedRun) -> list[tuple[str, FeatureSnapshot]]:
    """Give the features at the start, in the middle and at the end, as far as these differ."""
    lines = run.evidence
    chosen = {line.epoch: line for line in (lines[0], lines[len(lines) // 2], lines[-1])}
    moments = []
    for epoch, line in chosen.items():
        probe = "" if line.separability_z is None else f", probe {100 * line.separability_z:.0f} %"
        snapshot = read_snapshot(run.folder, epoch)
        strange = set(snapshot.domain_names) - {domain.name for domain in run.info.domains}
        if strange:
            raise TrainingError(f"evidence of {run.folder} names '{min(strange)}', a domain that it was not trained on")
        moments.append((f"epoch {epoch}{probe}", snapshot))
    return moments


def maps_section(findings: Findings) -> Section:
    """Show what the method calls target and background."""
    section = Section(
        "maps",
        "Feature maps",
        "What the method calls target and background, and a target before a background of another domain.",
    )
    heads = ("frame", "target map", "background map", "swapped background", "recombined")
    for run in findings.runs:
        rows, reason = feature_maps(run, findings.source)
        if reason:
            section.blocks.append(Note(f"{run.label}: {reason}"))
            continue
        section.blocks.append(
            Maps(
                run.label,
                tuple(rows),
                heads,
                "The target should stand out in the target map, be absent from the background map, and still stand out"
                " in the recombined map, before another domain's background; each map is coloured over its own range.",
            )
        )
    return section


def focus_section(findings: Findings) -> Section:
    """Show the focus ratio over the training."""
    section = Section("focus", "Focus ratio", "How active the network is on targets, against everywhere else.")
    if any(run.evidence for run in findings.runs):
        section.blocks.append(
            Plot(
                (figures_training.focus_curves(findings.runs),),
                "Above the dashed line at 0.5 the network looks more at targets than at backgrounds, and higher is"
                " better; the ratio is t / (t + g), with t and g the mean absolute activation over cells of targets and"
                " over those without any.",
            )
        )
    section.blocks.extend([Note(NO_EVIDENCE.format(run.label)) for run in findings.runs if not run.evidence])
    return section
