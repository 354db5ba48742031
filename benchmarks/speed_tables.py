"""The README's tables of speed, from what `latency.py` and `serving.py` found."""

from __future__ import annotations

from machine import read_result

__all__ = ["latency_table", "serving_table"]

NOT_MEASURED = "not measured yet"
GPU_ROWS = ("`s` fp16, TensorRT", "`nano` fp16, TensorRT", "`nano` int8, TensorRT")


def latency_table() -> str:
    """Give the table of the network alone, and what else one asks before choosing."""
    result = read_result("latency")
    height, width = result["size_hw"]
    rows = [row for row in result["rows"] if row["what"] == "network"]
    batches = sorted({row["batch"] for row in rows})
    lines = [
        f"Milliseconds of the network alone at {width} × {height}, median, and frames per second in batches;"
        f" {result['threads']} threads of an {result['machine']['processor']}"
        " (`python benchmarks/latency.py`, all sides by turns in one run;"
        " [JSON](benchmarks/results/latency.json)):",
        "",
        "| | batch 1, p50 | p99 | " + " | ".join(f"frames/s, batch {batch}" for batch in batches) + " |",
        "|---|---:|---:|" + "---:|" * len(batches),
    ]
    for key in dict.fromkeys((row["variant"], row["precision"], row["engine"]) for row in rows):
        of_batch = {row["batch"]: row for row in rows if (row["variant"], row["precision"], row["engine"]) == key}
        variant, precision, engine = key
        rates = [f"{of_batch[batch]['frames_per_s']:.0f}" if batch in of_batch else "" for batch in batches]
        single = [f"{of_batch[1][name]:.1f}" for name in ("p50_ms", "p99_ms")] if 1 in of_batch else ["", ""]
        name = f"`{variant}` {precision}, {engine.removesuffix(', CPU')}"
        lines.append(f"| {name} | {' | '.join([*single, *rates])} |")
    if all(row["device"] == "cpu" for row in rows):
        empty = " | ".join([""] * len(batches))
        lines += [f"| {name}, NVIDIA GPU | {NOT_MEASURED} | | {empty} |" for name in GPU_ROWS]
    lines.append("")
    around = {row["variant"]: row["p50_ms"] for row in result["rows"] if row["what"] == "before and after"}
    lines += [
        f"Levels in, detections out add {milliseconds:.2f} ms to a `{variant}` frame with three targets."
        for variant, milliseconds in around.items()
        if variant == "nano"
    ]
    lines += [
        f"From starting a process to the first detection of `{start['variant']}` {start['precision']}:"
        f" {start['seconds to the first detection']:.2f} s; resident memory {start['resident MB']:.0f} MB."
        for start in result["starts"]
        if start["variant"] == "nano" and start["precision"] == "int8"
    ]
    return "\n".join(lines)


def serving_table() -> str:
    """Give the table of a frame's way with and without HTTP."""
    result = read_result("serving")
    height, width = result["frame"]["size_hw"]
    ratios = result["ratios"]
    lines = [
        f"Milliseconds of a {width} × {height} frame through `{result['model']}` in {result['precision']}"
        " (`python benchmarks/serving.py`; [JSON](benchmarks/results/serving.json)):",
        "",
        "| | p50 | p99 |",
        "|---|---:|---:|",
    ]
    names = {
        "in process": "in process: frame in, detections out",
        "over HTTP": "over HTTP on loopback, client and server sharing the cores",
        "torch eager, network alone": "torch eager, same weights, network alone",
    }
    for key, name in names.items():
        figures = result["milliseconds"][key]
        lines.append(f"| {name} | {figures['p50']:.1f} | {figures['p99']:.1f} |")
    lines += [
        "",
        f"Torch eager takes {ratios['torch eager / in process']:.2f} × as long;"
        f" HTTP adds {ratios['HTTP adds, ms']:.1f} ms.",
    ]
    return "\n".join(lines)
