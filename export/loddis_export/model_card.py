"""The model card: what a bundle is, what it learnt from, how good it is, and who is to be credited."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from loddis_export.parity_report import GroupParity, ParityReport, PrecisionParity
from loddis_export.strip import StrippedCheckpoint
from loddis_runtime.manifest import Manifest
from loddis_trainer.checkpoint import CheckpointInfo
from loddis_trainer.domain_spec import describe_share
from loddis_trainer.metrics import Metrics

__all__ = ["CARD", "card_of_other_candidates", "model_card"]

CARD = "MODEL_CARD.md"


def model_card(
    manifest: Manifest,
    stripped: StrippedCheckpoint,
    parity: ParityReport,
    metrics: Mapping[str, Metrics],
    *,
    centre_distance_px: float,
    chosen_on: Sequence[str],
    max_false_alarms: float | None,
) -> str:
    """Write the card as Markdown.

    Args:
        manifest: Of the bundle.
        stripped: The checkpoint that it was made from.
        parity: Of its graphs.
        metrics: `DOMAIN:SPLIT` to what was measured there with the exported bundle.
        centre_distance_px: Within which a detection counts for Pd.
        chosen_on: Each `DOMAIN:SPLIT` that choices were made on.
        max_false_alarms: Per frame, by which the score threshold was chosen there; none if it was given.
    """
    splits = ", ".join(f"`{name}`" for name in chosen_on)
    chosen = "given on the command line"
    if max_false_alarms is not None:
        mean = ", mean of the domains" if len(chosen_on) > 1 else ""
        chosen = f"chosen on {splits} for at most {max_false_alarms:g} false alarms per frame{mean}"
    parts = (
        _head(manifest, stripped, parity, chosen, splits),
        _metrics(manifest, metrics, centre_distance_px, chosen_on),
        _breakdown(metrics),
        _training(manifest, stripped),
        _parity(parity, splits),
        _stripping(parity),
        _limits(manifest),
    )
    return "\n".join(parts)


def card_of_other_candidates(card: str, before: Manifest, after: Manifest) -> str:
    """Give the card of a bundle whose graphs give another number of candidates than those that it was made of."""
    now, then = after.max_detections, before.max_detections
    rest = card.partition("\n")[2]
    return f"""# {after.name}, version {after.version}

Made of version {before.version} of `{before.name}` by `loddis-export candidates`: targets are chosen out of up to {now}
candidates a frame, {then} before. A bright target takes about six, and where they run out, dim ones are lost.
All figures below were measured with {then}; weights and operating point are the same.
{rest}"""


def _head(manifest: Manifest, stripped: StrippedCheckpoint, parity: ParityReport, chosen: str, splits: str) -> str:
    height, width = manifest.size_hw
    frames = "one frame" if manifest.window == 1 else f"{manifest.window} frames"
    return f"""# {manifest.name}, version {manifest.version}

Detector of small targets in infrared frames: variant `{manifest.variant}`,
{stripped.kept_values / 1e6:.2f} M values, {frames} of {width} × {height} pixels (other sizes are letterboxed),
one stride-{manifest.stride} map, classes: {", ".join(manifest.classes)}.
Method: Chen et al., *Domain-Auxiliary Infrared Moving Small Target Detection by Learning to Overlook Domain
Discrepancy*.

Operating point: score ≥ {manifest.score_threshold:.3f}, {chosen}.{_box_scale(parity, splits)}
"""


def _box_scale(parity: ParityReport, splits: str) -> str:
    wider, higher = parity.box_scale_wh
    if (wider, higher) == (1, 1):
        return ""
    return f"""
Boxes are {wider:g} times as wide and {higher:g} times as high as in the checkpoint, chosen on {splits}."""


def _metrics(
    manifest: Manifest, metrics: Mapping[str, Metrics], centre_distance_px: float, chosen_on: Sequence[str]
) -> str:
    splits = ", ".join(f"`{name}`" for name in chosen_on)
    choices = f"Only {splits} took part in a choice."
    if metrics.keys() <= set(chosen_on):
        choices = "What choices were made on flatters: a split that took part in none is named with `--evaluate`."
    lines = [
        "## Metrics",
        "",
        "Measured with this bundle's float32 graph (ONNX Runtime, CPU) on whole splits; every labelled frame counts.",
        f"{choices}"
        " mAP50: COCO, IoU 0.5. Pr, Re, F1: the field's, at the operating point."
        f" Pd: share of targets with a detection within {centre_distance_px:g} px of the centre;"
        " Fa: false alarms per frame.",
        "",
        "| domain:split | frames | targets | mAP50 | Pr | Re | F1 | Pd @ Fa ≤ 0.05 | Pd @ Fa ≤ 0.1"
        " | Pd at the operating point | Fa there |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, m in metrics.items():
        cells = [name, str(m.frames), str(m.targets)]
        values = (m.map50, m.pr, m.re, m.f1, m.pd_at(0.05), m.pd_at(0.1), m.pd)
        cells += [f"{100 * value:.1f} %" for value in values]
        cells.append(f"{m.fa_per_frame:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    of_int8 = {name: manifest.metrics[name.replace(":", "/")] for name in metrics}
    if any("map50_int8" in figures for figures in of_int8.values()):
        lines += [
            "The same with the int8 graph, which runs on CPUs by default:",
            "",
            "| domain:split | mAP50 | Pd @ Fa ≤ 0.05 | Pd @ Fa ≤ 0.1 | Pd at the operating point | Fa there |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for name, figures in of_int8.items():
            names = ("map50_int8", "pd_at_fa_0.05_int8", "pd_at_fa_0.1_int8", "pd_int8")
            cells = [_percent(figures.get(figure, math.nan)) for figure in names]
            lines.append(f"| {name} | {' | '.join(cells)} | {figures.get('fa_per_frame_int8', math.nan):.3f} |")
        lines.append("")
    return "\n".join(lines)


def _breakdown(metrics: Mapping[str, Metrics]) -> str:
    lines = [
        "## By target size and SNR, at the operating point",
        "",
        "| domain:split | group | targets | Pd |",
        "|---|---|---:|---:|",
    ]
    for name, m in metrics.items():
        lines += [
            f"| {name} | {group.label} | {group.targets} | {100 * group.pd:.1f} % |"
            for group in (*m.by_size, *m.by_snr)
            if group.targets
        ]
    return "\n".join([*lines, ""])


def _training(manifest: Manifest, stripped: StrippedCheckpoint) -> str:
    info = stripped.info
    lines = [
        "## Training",
        "",
        "| domain | role | share of train | frames | licence | source |",
        "|---|---|---:|---:|---|---|",
    ]
    own = {domain.name: domain for domain in info.domains}
    for domain in manifest.training_domains:
        trained = own.get(domain.name)  # none: of a bundle that the training began with
        count = "–" if trained is None else trained.frames
        taken, asked = (domain.fraction,) * 2 if trained is None else (trained.share, trained.fraction)
        words = (domain.name, domain.role, describe_share(taken, asked), str(count), domain.licence, domain.source)
        lines.append(f"| {' | '.join(words)} |")
    lines += [
        "",
        f"{_last_of(info)}{info.epoch} epochs, {info.step} steps.",
        *([f"The first weights were those of {info.started_from}."] if info.started_from else []),
        "Made by",
        "",
        *(f"    {' '.join(_command(config))}" for config in (*info.earlier, info.config)),
        *([f"    loddis-trainer average {' '.join(info.averaged)} --out …"] if info.averaged else []),
        "",
        "with " + ", ".join(f"{name} {version}" for name, version in sorted(info.software.items())) + ".",
        "",
    ]
    return "\n".join(lines)


def _command(config: Mapping[str, object]) -> list[str]:
    """Write the training's configuration as the command that repeats it; what is at its default is left out."""
    from loddis_trainer.config import FitConfig

    defaults = FitConfig(task=["-"]).model_dump(mode="json")
    leave_out = {"data_root", "cache_dir", "resume", "threads", "workers", "accelerator"}
    words = ["loddis-trainer fit"]
    for name, value in config.items():
        if name in leave_out or value == defaults.get(name):
            continue
        words += _flags(name, value, defaults.get(name))
    return words


def _flags(name: str, value: object, default: object) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, dict):
        known = default if isinstance(default, dict) else {}
        inner = [(key, item) for key, item in value.items() if item != known.get(key)]
        return [word for key, item in inner for word in _flags(f"{name}.{key}", item, known.get(key))]
    if isinstance(value, list):
        if name == "size_hw":
            return [f"{flag} {','.join(str(item) for item in value)}"]
        return [f"{flag} {item}" for item in value]
    return [f"{flag} {value}"]


def _parity(parity: ParityReport, splits: str) -> str:
    compared: dict[str, PrecisionParity] = {one.precision: one for one in parity.precisions}
    if parity.signed_int8 is not None:
        compared["int8 for TensorRT"] = parity.signed_int8
    graphs = list(compared.values())
    first = graphs[0]
    rows = [
        ("computed by", "torch in float32, CPU", [one.computed_by for one in graphs]),
        ("frames", "", [str(one.frames) for one in graphs]),
        ("max Δ of a box, px", "", [f"{one.max_abs_box_px:.2g}" for one in graphs]),
        ("max Δ of a score", "", [f"{one.max_abs_score:.2g}" for one in graphs]),
        ("matched", "", [_percent(one.matched) for one in graphs]),
        ("mAP50", _percent(first.map50_reference), [_percent(one.map50_exported) for one in graphs]),
        ("Pd", _percent(first.pd_reference), [_percent(one.pd_exported) for one in graphs]),
        ("false alarms per frame", f"{first.fa_reference:.3f}", [f"{one.fa_exported:.3f}" for one in graphs]),
    ]
    for group in first.groups:
        label = f"Pd of {group.targets} targets, {group.label}"
        rows.append((label, _percent(group.pd_reference), [_pd_of_group(one, group) for one in graphs]))
    rows.append(("keeps within its limits", "", ["; ".join(one.faults) or "yes" for one in graphs]))
    lines = [
        "## Parity of the graphs with the checkpoint",
        "",
        f"On {parity.frames} frames of {splits} with {parity.targets} targets. Candidates are compared before"
        f" suppression; detections after it, at the score threshold {parity.score_threshold:g}. Matched: share of the"
        f" checkpoint's detections that the graph gives within {parity.centre_distance_px:g} px. What does not keep"
        " within its limits is not in the bundle, or not built by TensorRT.",
        "",
        f"| | checkpoint | {' | '.join(compared)} |",
        f"|---|---:|{'---:|' * len(compared)}",
        *(f"| {label} | {reference} | {' | '.join(cells)} |" for label, reference, cells in rows),
        *(
            f"\nIn float within the {name} graph: {', '.join(f'`{layer}`' for layer in one.float_layers)}."
            for name, one in compared.items()
            if one.float_layers
        ),
        "",
    ]
    return "\n".join(lines)


def _pd_of_group(parity: PrecisionParity, group: GroupParity) -> str:
    """Give the Pd of the same targets, and how many there are where fewer frames were looked at."""
    same = next((other for other in parity.groups if other.label == group.label), None)
    if same is None:
        return ""
    fewer = "" if same.targets == group.targets else f" of {same.targets}"
    return f"{_percent(same.pd_exported)}{fewer}"


def _stripping(parity: ParityReport) -> str:
    before, after = parity.stripping.before, parity.stripping.after
    return f"""## What stripping took away

| a frame | values | GFLOPs | ms, torch, CPU |
|---|---:|---:|---:|
| with the training-only branches | {before.values} | {before.gflops:.3f} | {before.milliseconds:.1f} |
| detector alone, as in the bundle | {after.values} | {after.gflops:.3f} | {after.milliseconds:.1f} |
"""


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _last_of(info: CheckpointInfo) -> str:
    """Say that others came before, where they did: what follows is of the last training alone."""
    return f"The last of {len(info.earlier) + 1} trainings: " if info.earlier else ""


def _limits(manifest: Manifest) -> str:
    tasks = ", ".join(d.name for d in manifest.training_domains if d.role == "task")
    helped = (
        " Auxiliary domains helped the training; the metrics above say what the model does there."
        if any(d.role == "auxiliary" for d in manifest.training_domains)
        else ""
    )
    return f"""## Limits

Good at what it was trained for: the task domains ({tasks}).{helped}
Another sensor, lens or scene needs its own evaluation, and most likely its own training.
"""
