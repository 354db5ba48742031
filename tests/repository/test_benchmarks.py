"""The commands behind the README's figures run; what they measure on a busy machine is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_latency_benchmark_measures_all_sides_in_one_run(tmp_path: Path) -> None:
    out = tmp_path / "latency.json"
    command = [sys.executable, "benchmarks/latency.py", "--rounds", "3", "--threads", "1", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert set(figures["milliseconds"]) == {"in process", "over HTTP", "torch eager, network alone"}
    assert all(values["p50"] > 0 for values in figures["milliseconds"].values())
    assert figures["ratios"]["torch eager / in process"] > 0
    assert figures["machine"]["processor"]


def test_torch_reference_is_the_shipped_network() -> None:
    """The torch side of the benchmark runs the bundle's own weights: it finds what the bundle finds."""
    code = (
        "import numpy as np, torch; from loddis_runtime import load; from torch_reference import detector_of_graph\n"
        "d = load('sky-nano', threads=1); m = detector_of_graph(str(d.bundle.graph_path('fp32')), d.manifest)\n"
        "x = np.random.default_rng(0).random((1, d.manifest.window, *d.manifest.size_hw), dtype=np.float32)\n"
        "with torch.no_grad(): a = m(torch.from_numpy(x)).numpy()\n"
        "b = d.engine.infer(x)\n"
        "assert np.abs(a[..., 4] - b[..., 4]).max() < 1e-4, np.abs(a - b).max()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "benchmarks", capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
