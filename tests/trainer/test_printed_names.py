"""Names of domains and folders are printed as they are: brackets and colons in them are no markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from loddis_trainer.data.importers.files import progress_bar
from loddis_trainer.data.inspection import bars
from loddis_trainer.journal import Journal

NAME = "sky[/a] [red]"


def test_in_the_lines_of_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Journal(tmp_path, total_steps=1, active=True, visible=True).note(f"{NAME} :key:")
    assert capsys.readouterr().err == f"{NAME} :key:\n"


def test_in_the_bar_of_an_import(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(shown=True) as bar:
        bar.add_task(f"{NAME} :key:")
        bar.console.print(*bar.get_renderables())
    assert f"{NAME} :key:" in capsys.readouterr().out


def test_in_the_bar_of_an_inspection(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bars, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=120))
    assert list(bars.tracked([1], NAME, progress=True)) == [1]
    assert "sky[/a] [red]" in capsys.readouterr().err.replace("\x1b[0m", "")
