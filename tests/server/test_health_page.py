"""The page about trust: its example runs, and its figures are those that were measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from loddis_runtime.scene_measures import MEASURES
from loddis_server.scene_health.settings import CONDITIONS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "health.md").read_text()


def test_the_example_counts_targets_of_both_levels(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(example, {})
    rows = [line.split(" ", 2)[:2] for line in capsys.readouterr().out.splitlines()]
    assert [snr for snr, _ in rows] == ["8.0", "25.0"]
    assert sum(int(trials) for _, trials in rows) > 10


def test_rates_on_the_page_are_those_of_the_benchmark() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "drift.json").read_text())
    for scene, shares in result["unlike"].items():
        assert f"| {scene} | {' | '.join(f'{share:.0%}'.replace('%', ' %') for share in shares.values())} |" in PAGE
    for domain, count in result["sequences"].items():
        assert f"`{domain}` ({count} sequences)" in PAGE


def test_every_condition_is_on_the_page() -> None:
    assert [condition for condition in CONDITIONS if f"| `{condition}` |" not in PAGE] == []
    assert len(MEASURES) == 14  # "fourteen measures"
    assert "fourteen measures" in PAGE
