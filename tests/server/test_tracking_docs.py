"""The example of `docs/tracking.md` runs, and finds a target that moves."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from loddis_runtime import load
from support.domains import spot_frame

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tracking.md"


def test_the_example_confirms_one_track(spot_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = DOCUMENT.read_text().split("\n\n")
    first = next(index for index, block in enumerate(blocks) if block.startswith("    from loddis_server.alarms"))
    code = textwrap.dedent("\n\n".join(block for block in blocks[first : first + 2] if block.startswith("    ")))
    frames = [spot_frame((20.0 + 3 * index, 30.0), seed=index) for index in range(12)]
    with load(spot_bundle, threads=1) as detector:
        exec(code, {"detector": detector, "frames": frames})
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("1 (")
