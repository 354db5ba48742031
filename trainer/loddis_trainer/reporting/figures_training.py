"""Figures of how runs were trained: losses, correlation of z and b, separability of domains, embeddings, focus ratio.

Legend: n frames, c channels of z and b.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from loddis_trainer.evidence import EvidenceLine, FeatureSnapshot
from loddis_trainer.evidence.measures import correlation_matrix
from loddis_trainer.reporting.palette import INK, MUTED, domain_colour, domain_marker, run_colour, run_dashes
from loddis_trainer.reporting.runs import TrainedRun
from loddis_trainer.reporting.svg import FULL_WIDTH, canvas, panel

__all__ = [
    "correlation_matrices",
    "embeddings",
    "focus_curves",
    "heat_colours",
    "loss_curves",
    "principal_plane",
    "separability_curves",
]

LOSSES = {
    "total": "total loss",
    "correlation": "L_CW, correlation weakening",
    "confusion": "L_MI, domain confusing",
    "consistency": "L_CL, target consistency",
}
VALIDATIONS = {"map50": "validation mAP50", "pd": "validation Pd", "f1": "validation F1"}
HEAT = "cividis"  # even to the eye, and the same with any colour vision


def loss_curves(runs: Sequence[TrainedRun]) -> str:
    """Draw the losses and the validation of every epoch, a panel each."""
    with canvas(width=FULL_WIDTH, height=4.4, rows=2, columns=4) as drawn:
        panels = [("train", name, title) for name, title in LOSSES.items()]
        panels += [("validation", name, title) for name, title in VALIDATIONS.items()]
        panels.append(("train", "domain_accuracy", "domain classifier's accuracy"))
        for axes, (part, name, title) in zip(drawn.all_axes(), panels, strict=True):
            drawn_any = False
            for number, run in enumerate(runs):
                points = [(record.epoch, getattr(record, part).get(name)) for record in run.history]
                points = [(epoch, value) for epoch, value in points if value is not None]
                if points:
                    _line(axes, number, *zip(*points, strict=True))
                    drawn_any = True
            if not drawn_any:
                axes.text(
                    0.5, 0.5, "in none of the runs", ha="center", va="center", transform=axes.transAxes, color=MUTED
                )
                axes.set(xticks=[], yticks=[])
            else:
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if part == "validation" or name == "domain_accuracy":
                axes.set_ylim(-0.02, 1.04)
            panel(axes, title=title, x="epoch")
    return drawn.svg


def correlation_matrices(before: FeatureSnapshot, after: FeatureSnapshot, *, titles: tuple[str, str]) -> str:
    """Draw |r| of every feature of z with every feature of b, before and after training (the paper's figure 6)."""
    with canvas(width=FULL_WIDTH / 2, height=2.7, columns=2) as drawn:
        for axes, snapshot, title in zip(drawn.all_axes(), (before, after), titles, strict=True):
            matrix = np.abs(correlation_matrix(snapshot.z, snapshot.b))
            image = axes.imshow(matrix, vmin=0, vmax=1, cmap=HEAT, interpolation="nearest", aspect="auto")
            axes.grid(visible=False)
            axes.set(xticks=[], yticks=[])
            panel(axes, title=title, x="features of b", y="features of z")
        bar = drawn.figure.colorbar(image, ax=drawn.all_axes(), ticks=[0, 0.5, 1], fraction=0.05, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("|r|")
    return drawn.svg


def separability_curves(runs: Sequence[TrainedRun]) -> str:
    """Draw the accuracy of the linear probe over epochs: on z, on the fused map at targets, on the whole fused map."""
    measures: dict[str, Callable[[EvidenceLine], float | None]] = {
        "target features z": lambda line: line.separability_z,
        "fused map at the targets": lambda line: line.separability_targets,
        "fused map, whole frame": lambda line: line.separability_scenes,
    }
    with canvas(width=FULL_WIDTH, height=2.6, columns=3, share_y=True) as drawn:
        for place, (axes, (title, measure)) in enumerate(zip(drawn.all_axes(), measures.items(), strict=True)):
            for chance in {line.separability_by_chance for run in runs for line in run.evidence} - {None}:
                axes.axhline(float(chance or 0), color=INK, linewidth=1, linestyle=(0, (4, 3)))
            _curves(axes, runs, measure, over="epoch")
            axes.set_ylim(0, 1.03)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel(axes, title=title, x="epoch", y="" if place else "accuracy of the probe")
    return drawn.svg


def focus_curves(runs: Sequence[TrainedRun]) -> str:
    """Draw the focus ratio over steps (figure 9): of the fused map, and of the target map where there is one."""
    measures: dict[str, Callable[[EvidenceLine], float | None]] = {
        "fused map": lambda line: line.focus_fused,
        "target map": lambda line: line.focus_target_map,
    }
    found = [measure(line) for measure in measures.values() for run in runs for line in run.evidence]
    values = [0.45, 0.65, *(value for value in found if value is not None)]
    with_maps = any(line.focus_target_map is not None for run in runs for line in run.evidence)
    shown = dict(list(measures.items())[: 2 if with_maps else 1])
    width = FULL_WIDTH if with_maps else FULL_WIDTH * 0.55
    with canvas(width=width, height=2.9, columns=len(shown), share_y=True) as drawn:
        for place, (axes, (title, measure)) in enumerate(zip(drawn.all_axes(), shown.items(), strict=True)):
            axes.axhline(0.5, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            _curves(axes, runs, measure, over="step")
            axes.set_ylim(max(0, min(values) - 0.03), min(1, max(values) + 0.03))
            panel(axes, title=title, x="step", y="" if place else "focus ratio")
    return drawn.svg


def embeddings(snapshots: Sequence[tuple[str, FeatureSnapshot]], *, domain_places: Mapping[str, int]) -> str:
    """Draw z in the plane of its two largest variances, a panel a moment of training (the paper's figure 7).

    Args:
        snapshots: Title and features of each moment.
        domain_places: Place of each domain among all domains of the report, which gives its colour and marker.
    """
    with canvas(width=FULL_WIDTH, height=2.9, columns=len(snapshots)) as drawn:
        for axes, (title, snapshot) in zip(drawn.all_axes(), snapshots, strict=True):
            plane, share = principal_plane(snapshot.z)
            for number, name in enumerate(snapshot.domain_names):
                mine = plane[snapshot.domain_ids == number]
                place = domain_places[name]
                axes.scatter(
                    mine[:, 0],
                    mine[:, 1],
                    s=20,
                    color=domain_colour(place),
                    marker=domain_marker(place),
                    alpha=0.8,
                    linewidths=0,
                )
            axes.set(xticks=[], yticks=[])
            axes.margins(0.08)
            panel(axes, title=title, x=f"{100 * share:.0f} % of the variance")
    return drawn.svg


def principal_plane(z: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], float]:
    """Project standardised features onto their first two principal components.

    Args:
        z: ``(n, c)``.

    Returns:
        ``(n, 2)``, and the share of the variance that is left in it, in [0, 1].
    """
    centred = np.asarray(z, dtype=np.float64) - z.mean(axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    centred = centred / np.where(spread > 0, spread, 1.0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(z), 2))
    plane[:, : min(2, len(s))] = (u * s)[:, :2]
    total = float((s**2).sum())
    return plane, float((s[:2] ** 2).sum()) / total if total > 0 else 1.0


def _curves(
    axes: Axes, runs: Sequence[TrainedRun], measure: Callable[[EvidenceLine], float | None], *, over: str
) -> None:
    for number, run in enumerate(runs):
        points = [(getattr(line, over), measure(line)) for line in run.evidence]
        known = [(at, value) for at, value in points if value is not None]
        if known:
            _line(axes, number, *zip(*known, strict=True))


def _line(axes: Axes, number: int, x: Sequence[float], y: Sequence[float]) -> None:
    """Draw a run's line, with dots where its points are few."""
    axes.plot(
        x,
        y,
        color=run_colour(number),
        dashes=run_dashes(number) or (None, None),
        marker="o" if len(x) <= 20 else "",
        markersize=3.2,
    )


def heat_colours(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Give the colours ``(…, 3)`` red green blue of values in [0, 1]."""
    coloured = mpl.colormaps[HEAT](np.clip(values, 0, 1))[..., :3]
    return np.asarray(np.round(255 * coloured), dtype=np.uint8)
