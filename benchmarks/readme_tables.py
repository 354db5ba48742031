"""Write the README's tables of speed from what the benchmarks left in `results/`, so that no figure is typed by hand.

python benchmarks/readme_tables.py            # rewrites what is between the markers
python benchmarks/readme_tables.py --check    # status 1 if that would change anything
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NOT_MEASURED = "not measured yet"
GPU_ROWS = ("`s` fp16, TensorRT", "`nano` fp16, TensorRT", "`nano` int8, TensorRT")


def main() -> None:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 if the README is out of date")
    check = parser.parse_args().check
    readme = ROOT / "README.md"
    before = readme.read_text()
    after = before
    for name, table in (("latency", latency_table()), ("serving", serving_table())):
        after = replaced(after, name, table)
    if check:
        sys.exit("README.md is out of date: run benchmarks/readme_tables.py" if after != before else 0)
    readme.write_text(after)


def latency_table() -> str:
    """Give the table of the network alone, and what else one asks before choosing."""
    result = read("latency")
    height, width = result["size_hw"]
    rows = [row for row in result["rows"] if row["what"] == "network"]
    batches = sorted({row["batch"] for row in rows})
    lines = [
        f"Milliseconds of the network alone at {width} × {height}, median, and frames per second in batches;"
        f" {result['threads']} threads of {machine_of(result)}"
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
    result = read("serving")
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


def read(name: str) -> dict[str, Any]:
    """Read the figures of a benchmark."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


def machine_of(result: dict[str, Any]) -> str:
    """Name the machine."""
    return f"an {result['machine']['processor']}"


def replaced(text: str, name: str, table: str) -> str:
    """Put a table between its markers."""
    begin, end = f"<!-- {name}: written by benchmarks/readme_tables.py -->", f"<!-- end of {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"README.md must have the markers of {name} once")
    head, rest = text.split(begin)
    return f"{head}{begin}\n\n{table}\n\n{end}{rest.split(end)[1]}"


if __name__ == "__main__":
    main()
