"""The detector: its size, what it gives, and that its output means what the contract says."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from loddis_trainer.choices import Stride, VariantName
from loddis_trainer.models import VARIANTS, build_detector
from loddis_trainer.models.blocks import PoolingPyramid
from loddis_trainer.models.head import RawPredictions, decode_boxes, grid_points, keep_best
from loddis_trainer.models.window import WindowConv, kernel_of_differences, kernel_of_frames, with_plain_kernel

STRIDES: tuple[Stride, Stride] = (8, 4)


def count_flops(model: nn.Module, frames: torch.Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(frames)
    return int(counter.get_total_flops())


def test_s_has_the_papers_parameters_and_flops() -> None:
    model = build_detector("s", window=3).eval()
    parameters = sum(p.numel() for p in model.parameters())
    flops = count_flops(model, torch.zeros(1, 3, 512, 512))
    assert parameters == pytest.approx(7.75e6, rel=0.03)  # table 2
    assert flops == pytest.approx(32.65e9, rel=0.03)  # table 2, 2 x multiply-adds


def test_variants_grow() -> None:
    sizes = [sum(p.numel() for p in build_detector(name).parameters()) for name in VARIANTS]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("window", [1, 3])
def test_output_is_sorted_finite_and_of_the_promised_shape(variant: VariantName, window: int) -> None:
    model = build_detector(variant, num_classes=3, window=window, keep=20).eval()
    with torch.no_grad():
        out = model(torch.rand(2, window, 64, 96))
    assert out.shape == (2, 20, 6)
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    scores, classes = out[..., 4], out[..., 5]
    assert (scores.diff(dim=1) <= 0).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert set(classes.unique().tolist()) <= {0.0, 1.0, 2.0}


def test_stride_4_has_four_times_the_cells_at_a_bearable_cost() -> None:
    coarse, fine = (build_detector("nano", stride=stride).eval() for stride in STRIDES)
    frames = torch.zeros(1, 1, 256, 320)
    assert coarse.predict(coarse.fuse(frames)).size_hw == (32, 40)
    assert fine.predict(fine.fuse(frames)).size_hw == (64, 80)
    assert count_flops(fine, frames) < 2 * count_flops(coarse, frames)


def test_at_stride_4_a_detection_stands_where_its_cell_is() -> None:
    """Raise one cell's objectness through the head's last bias-free path: the box must be centred there."""
    model = build_detector("nano", stride=4, keep=1).eval()
    raw = model.predict(torch.zeros(1, model.fused_channels, 16, 24))
    raw.offsets.zero_()
    raw.objectness.fill_(-10)
    raw.objectness[0, 5 * 24 + 7] = 10
    best = keep_best(raw, stride=model.stride, keep=1)[0, 0]
    centre = (best[:2] + best[2:4]) / 2
    assert centre.tolist() == [7 * 4, 5 * 4]


def test_a_window_of_frames_costs_only_the_stem() -> None:
    one = count_flops(build_detector("nano", window=1).eval(), torch.zeros(1, 1, 256, 320))
    five = count_flops(build_detector("nano", window=5).eval(), torch.zeros(1, 5, 256, 320))
    stem = 2 * 16 * 6 * 6 * 128 * 160
    assert five - one == 4 * stem


def test_a_batch_gives_each_frame_what_it_gets_alone() -> None:
    torch.manual_seed(0)
    model = build_detector("nano").eval()
    frames = torch.rand(3, 1, 96, 96)
    with torch.no_grad():
        together, alone = model(frames), torch.cat([model(frame[None]) for frame in frames])
    torch.testing.assert_close(together[..., 4], alone[..., 4], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [3, 5])
def test_a_window_is_seen_by_what_differs_from_its_key_frame(window: int) -> None:
    model = build_detector("nano", window=window).eval()
    frames = torch.rand(2, window, 64, 96)
    conv = model.backbone.stem.conv
    past, key = frames[:, :-1], frames[:, -1:]
    weighed = functional.conv2d(torch.cat((past - key, key), dim=1), conv.weight, stride=2, padding=2)
    torch.testing.assert_close(conv(frames), weighed, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kernel_of_differences(kernel_of_frames(conv.weight)), conv.weight)
    plain = with_plain_kernel(model)
    assert not any(isinstance(module, WindowConv) for module in plain.modules())
    assert plain.state_dict().keys() == model.state_dict().keys()
    with torch.inference_mode():
        torch.testing.assert_close(plain(frames), model(frames), rtol=1e-4, atol=1e-3)


def test_a_detector_of_single_frames_has_an_ordinary_kernel() -> None:
    model = build_detector("nano")
    assert type(model.backbone.stem.conv) is nn.Conv2d
    assert with_plain_kernel(model) is model


def test_pooling_in_a_row_equals_windows_of_5_9_and_13() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 8, 20, 24)
    pyramid = PoolingPyramid(8).eval()
    with torch.no_grad():
        reduced = pyramid.reduce(x)
        separate = [nn.functional.max_pool2d(reduced, k, stride=1, padding=k // 2) for k in (5, 9, 13)]
        expected = pyramid.merge(torch.cat((reduced, *separate), dim=1))
        assert torch.equal(pyramid(x), expected)


def raw_at(row: int, column: int, offsets: tuple[float, float, float, float]) -> RawPredictions:
    """One confident grid point of a 4 x 5 grid, everything else silent."""
    index = row * 5 + column
    raw_offsets = torch.zeros(1, 20, 4)
    raw_offsets[0, index] = torch.tensor(offsets)
    objectness = torch.full((1, 20), -20.0)
    objectness[0, index] = 20.0
    classes = torch.full((1, 20, 2), -20.0)
    classes[0, index, 1] = 20.0
    return RawPredictions(raw_offsets, objectness, classes, (4, 5))


def test_decoding_puts_a_box_where_the_grid_point_says() -> None:
    # Cell (row 2, column 3) at stride 8 begins at (24, 16); half a cell further is (28, 20); e^0 cells are 8 pixels.
    best = keep_best(raw_at(2, 3, (0.5, 0.5, 0.0, 0.6931472)), stride=8, keep=3)[0, 0]
    torch.testing.assert_close(best, torch.tensor([24.0, 12.0, 32.0, 28.0, 1.0, 1.0]), atol=1e-4, rtol=0)


def test_grid_points_run_row_by_row() -> None:
    assert grid_points((2, 3)).tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]


def test_sizes_stay_finite_whatever_the_head_says() -> None:
    boxes = decode_boxes(raw_at(0, 0, (0.0, 0.0, 1e4, 1e4)), stride=8)
    assert torch.isfinite(boxes).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "xl"}, "variant must be one of nano, tiny, s, got 'xl'"),
        ({"variant": "nano", "num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"variant": "nano", "window": 0}, "window must be at least 1, got 0"),
        ({"variant": "nano", "stride": 16}, "stride must be 4 or 8, got 16"),
        ({"variant": "nano", "keep": -1}, "keep must be at least 1, got -1"),
    ],
)
def test_wrong_options_say_what_was_expected(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_detector(**options)  # type: ignore[arg-type]
