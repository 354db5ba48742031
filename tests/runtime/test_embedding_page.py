"""The page about embedding: its examples run, in order, as a reader would type them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import loddis_runtime
from loddis_runtime import errors

PAGE = Path(__file__).resolve().parents[2] / "docs" / "embedding.md"


@pytest.fixture
def _opencv_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


@pytest.mark.usefixtures("_opencv_threads")
def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 9
    for example in examples:
        exec(example, names)
    printed = capsys.readouterr().out
    assert "dropped 102: already at 103" in printed
    assert "a frame must be finite, got 81920 values that are NaN or infinite" in printed
    assert "StreamError the stream is closed" in printed
    assert "EngineError the engine is closed" in printed
    assert len(names["results"]) == 2


def test_the_first_example_finds_targets_in_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    assert len(example.splitlines()) <= 10
    exec(example, {})
    first = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(r"\d target 0\.\d+ \[\d+\.\d+, \d+\.\d+\]", first)


def test_every_error_is_on_the_page() -> None:
    text = PAGE.read_text()
    assert [name for name in errors.__all__ if f"`{name}`" not in text] == []
    assert set(errors.__all__) <= set(loddis_runtime.__all__)


def test_the_message_on_the_page_is_the_one_that_comes() -> None:
    with pytest.raises(loddis_runtime.FrameError) as caught:
        loddis_runtime.frames.as_frame(np.full((256, 320), np.nan, dtype=np.float32))
    assert str(caught.value) in PAGE.read_text()
