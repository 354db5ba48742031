"""The benchmark of cuts, in short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.rtsp import missing_for_rtsp

ROOT = Path(__file__).resolve().parents[2]


def test_every_cut_is_survived_with_right_indices(tmp_path: Path) -> None:
    if (missing := missing_for_rtsp()) and not os.environ.get("LODDIS_REQUIRE_RTSP"):
        pytest.skip(f"no RTSP server: {missing}")
    out = tmp_path / "cuts.json"
    command = [sys.executable, "benchmarks/rtsp_cuts.py", "--cuts", "2", "--live-s", "2.5", "--down-s", "0.5"]
    done = subprocess.run(
        [*command, "--json", str(out)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    figures = json.loads(out.read_text())
    assert (figures["reconnects"], figures["wrong_indices"]) == (2, [])
    assert figures["frames"] > 100
