"""The contact sheet shows the targets it says it shows, where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from loddis_runtime.drawing import PALETTE_BGR
from loddis_trainer.data.inspection import InspectedDomain, inspect_domain
from loddis_trainer.data.inspection.canvas import BACKGROUND, Canvas, text_width
from loddis_trainer.data.inspection.contact_sheet import (
    CAPTION_HEIGHT,
    COLUMNS,
    GAP,
    MARGIN,
    ROW_TITLE_HEIGHT,
    TILE_HW,
    TITLE_HEIGHT,
    ZOOM,
    ZOOM_PX,
    contact_sheet,
)
from loddis_trainer.data.inspection.picks import pick_targets
from support.views import Shot, clouds, spot_box, with_spot, write_shots

ROW_HEIGHT = ROW_TITLE_HEIGHT + TILE_HW[0] + CAPTION_HEIGHT + ZOOM * ZOOM_PX + GAP


def inspect(root: Path) -> InspectedDomain:
    return inspect_domain(root, cache_dir=root.parent / "cache", progress=False)


def shot(seed: int, *, height: float = 90, side: float = 9, others: int = 0) -> Shot:
    places = [(60.0, 70.0), *((20.0 + 12 * i, 30.0) for i in range(others))]
    view = clouds(seed)
    pixels = with_spot(view, places[0], height=height, noise=seed)
    return Shot(f"{seed}.png", pixels, [spot_box(places[0], side), *(spot_box(p) for p in places[1:])])


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> InspectedDomain:
    shots = [shot(seed) for seed in range(10)]
    shots[2] = shot(2, height=6)
    shots[4] = shot(4, side=4)
    shots[5] = shot(5, side=26)
    shots[7] = shot(7, others=3)
    root = tmp_path_factory.mktemp("data") / "d"
    return inspect(write_shots(root, {"train": shots, "val": [shot(20), shot(21)]}))


def test_the_extremes_are_picked_each_from_a_sequence_of_its_own(domain: InspectedDomain) -> None:
    train = domain.splits[0].dataset
    picks = pick_targets(train, domain.samples["train"], count=COLUMNS)
    sample = domain.samples["train"]
    shown = {pick.reason: train.sequence_of(int(sample.numbers[pick.target])) for pick in picks}
    assert len(set(shown.values())) == len(shown) == COLUMNS
    assert shown["dimmest"] in {"2.png", "7.png"}  # the others in 7.png hold nothing at all
    assert shown["smallest"] == "4.png"
    assert shown["largest"] == "5.png"
    assert sample.snr[picks[0].target] == sample.snr.min()


def marks(picture: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Give rows and columns of the mark of the target that is shown."""
    return np.nonzero((picture == np.array(PALETTE_BGR[0], np.uint8)).all(axis=2))


def test_a_row_a_split_and_the_marks_lie_around_the_target(domain: InspectedDomain) -> None:
    sheet = contact_sheet(domain)
    width = 2 * MARGIN + COLUMNS * TILE_HW[1] + (COLUMNS - 1) * GAP
    assert sheet.shape == (TITLE_HEIGHT + 2 * ROW_HEIGHT + MARGIN - GAP, width, 3)
    assert sheet[2, 2].tolist() == list(BACKGROUND)
    for row in range(2):
        for column, pick in enumerate(
            pick_targets(domain.splits[row].dataset, domain.samples[domain.splits[row].name], count=COLUMNS)
        ):
            sample = domain.samples[domain.splits[row].name]
            x1, y1, x2, y2 = sample.boxes_xyxy[pick.target]
            left = MARGIN + column * (TILE_HW[1] + GAP)
            top = TITLE_HEIGHT + row * ROW_HEIGHT + ROW_TITLE_HEIGHT
            # 160 x 128 frames fit twice into a tile of 320 x 256.
            rows, columns = marks(sheet[top : top + TILE_HW[0], left : left + TILE_HW[1]])
            assert (columns.min(), columns.max()) == pytest.approx((2 * x1 - 2, 2 * x2 + 1), abs=1.5)
            assert (rows.min(), rows.max()) == pytest.approx((2 * y1 - 2, 2 * y2 + 1), abs=1.5)
            zoom_top = top + TILE_HW[0] + CAPTION_HEIGHT
            zoom = sheet[zoom_top : zoom_top + ZOOM * ZOOM_PX, left : left + ZOOM * ZOOM_PX]
            rows, columns = marks(zoom)
            assert columns.max() - columns.min() == pytest.approx(ZOOM * (x2 - x1), abs=3)
            assert (columns.max() + columns.min()) / 2 == pytest.approx(ZOOM * ZOOM_PX / 2, abs=ZOOM)
            assert (rows.max() + rows.min()) / 2 == pytest.approx(ZOOM * ZOOM_PX / 2, abs=ZOOM)


def test_the_zoom_shows_the_target_itself(domain: InspectedDomain) -> None:
    sheet = contact_sheet(domain)
    for column in (1, 2, 3):  # bright ones
        left = MARGIN + column * (TILE_HW[1] + GAP)
        top = TITLE_HEIGHT + ROW_TITLE_HEIGHT + TILE_HW[0] + CAPTION_HEIGHT
        grey = sheet[top : top + ZOOM * ZOOM_PX, left : left + ZOOM * ZOOM_PX].min(axis=2).astype(float)
        middle = grey[70:90, 70:90]
        assert middle.max() > 240
        assert middle.mean() > 2 * np.median(grey) or np.median(grey) > 100


def test_captions_are_written_beside_each_zoom(domain: InspectedDomain) -> None:
    sheet = contact_sheet(domain)
    top = TITLE_HEIGHT + ROW_TITLE_HEIGHT + TILE_HW[0]
    for column in range(COLUMNS):
        left = MARGIN + column * (TILE_HW[1] + GAP)
        for y1, y2, x1, x2 in (
            (0, CAPTION_HEIGHT, 0, TILE_HW[1]),
            (CAPTION_HEIGHT, CAPTION_HEIGHT + 100, 170, TILE_HW[1]),
        ):
            text = sheet[top + y1 : top + y2, left + x1 : left + x2]
            assert (np.abs(text.astype(int) - np.array(BACKGROUND)).max(axis=2) > 80).sum() > 50


def test_large_deep_and_empty_frames_find_their_place(tmp_path: Path) -> None:
    big = with_spot(clouds(0, (512, 640)), (600.0, 20.0))
    train = [Shot("big.png", big.astype(np.uint16) * 40 + 9000, [spot_box((600, 20))]), Shot("empty.png", big // 2)]
    val = [Shot("none.png", with_spot(clouds(3), (-50, -50)))]
    sheet = contact_sheet(inspect(write_shots(tmp_path / "d", {"train": train, "val": val})))
    assert sheet.shape[0] == TITLE_HEIGHT + 2 * ROW_HEIGHT + MARGIN - GAP
    top = TITLE_HEIGHT + ROW_TITLE_HEIGHT
    rows, columns = marks(sheet[top : top + TILE_HW[0], MARGIN : MARGIN + TILE_HW[1]])
    assert (columns.mean(), rows.mean()) == pytest.approx((300, 10), abs=2)  # at half its size


def test_text_fits_its_room_and_what_the_font_lacks_is_no_end() -> None:
    canvas = Canvas((60, 400))
    assert canvas.write(10, 30, "a rather long name of a sequence.png", width=100) <= 112
    assert (canvas.picture[:, 115:] == np.array(BACKGROUND, np.uint8)).all()
    assert (canvas.picture[:, 10:110] != np.array(BACKGROUND, np.uint8)).any()
    assert canvas.write(10, 50, "天空 ünï") == pytest.approx(10 + text_width("天空 ünï"), abs=2)
    assert canvas.write(10, 50, "") >= 10
