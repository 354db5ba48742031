"""Projections, what is pooled, and targets before swapped backgrounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loddis_trainer.losses.projections import Pooling, TargetBackgroundProjections
from loddis_trainer.losses.regions import pool, split_by_boxes


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


@st.composite
def _whole_pixel_boxes(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        x, y = draw(st.integers(-6, 50)), draw(st.integers(-6, 34))
        boxes.append((x, y, x + draw(st.integers(1, 30)), y + draw(st.integers(1, 30))))
    return boxes


@settings(deadline=None)
@given(st.lists(_whole_pixel_boxes(), min_size=1, max_size=3))
def test_regions_equal_a_count_of_pixels(batch: list[list[tuple[int, int, int, int]]]) -> None:
    height, width, stride = 4, 6, 8
    regions = split_by_boxes([_boxes(*boxes) for boxes in batch], size_uv=(height, width), stride=stride)
    for index, boxes in enumerate(batch):
        covered = np.zeros((height, width))
        for x1, y1, x2, y2 in boxes:
            mask = np.zeros((height * stride, width * stride))
            mask[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = 1
            covered = np.maximum(covered, mask.reshape(height, stride, width, stride).mean((1, 3)))
        free = (covered == 0).astype(float)
        assert bool(regions.has_target[index]) == bool(covered.any())
        assert bool(regions.has_background[index]) == bool(free.any())
        np.testing.assert_allclose(regions.target[index], covered / max(covered.sum(), 1e-9), atol=1e-6)
        at_cells = torch.zeros(regions.target[index].numel() * len(batch))
        at_cells[regions.target_cells] = regions.target_shares[index]
        assert torch.equal(at_cells.reshape(regions.target.shape)[index], regions.target[index])
        np.testing.assert_allclose(regions.background[index], free / max(free.sum(), 1e-9), atol=1e-6)


def test_a_point_annotation_is_a_target_of_one_pixel() -> None:
    regions = split_by_boxes([_boxes((12, 20, 12, 20))], size_uv=(4, 4), stride=8)
    assert bool(regions.has_target[0])
    assert float(regions.target[0, 2, 1]) == 1
    assert float(regions.background[0, 2, 1]) == 0


def test_samples_with_more_boxes_leave_the_others_alone() -> None:
    many, one, none = _boxes((0, 0, 4, 4), (8, 8, 12, 12), (24, 0, 30, 4)), _boxes((8, 8, 12, 12)), _boxes()
    together = split_by_boxes([many, one, none], size_uv=(4, 4), stride=8)
    for index, boxes in enumerate((many, one, none)):
        alone = split_by_boxes([boxes], size_uv=(4, 4), stride=8)
        assert torch.equal(together.target[index], alone.target[0])
        assert torch.equal(together.background[index], alone.background[0])
    assert together.has_target.tolist() == [True, True, False]
    assert len(together.target_cells) == int((together.target > 0).sum())


def test_pooling_in_half_precision_does_not_lose_small_differences() -> None:
    feature_map = (100 + 0.5 * _normal(2, 3, 32, 40)).bfloat16()
    expected = feature_map.double().mean((2, 3))
    for weights in (None, torch.full((2, 32, 40), 1 / 1280)):
        with torch.autocast("cpu", torch.bfloat16):
            pooled = pool(feature_map, weights)
        assert pooled.dtype == torch.float32
        torch.testing.assert_close(pooled.double(), expected, atol=1e-3, rtol=0)


def test_gap_pooling_takes_the_mean_of_the_whole_map_targets_or_not() -> None:
    project = TargetBackgroundProjections(4, 6, pooling="gap")
    fused = _normal(3, 4, 5, 7)
    out = project(fused, [_boxes((0, 0, 3, 3)), _boxes(), _boxes()], stride=8)
    assert out.b is not None
    assert out.background_map is not None
    torch.testing.assert_close(out.z, project.target_embedding(project.target(fused).mean((2, 3))))
    torch.testing.assert_close(out.b, _linear(project.background_embedding)(out.background_map.mean((2, 3))))
    assert out.has_target.all()
    assert out.has_background.all()


def test_embedding_after_pooling_is_a_convolution_before_it() -> None:
    project = TargetBackgroundProjections(4, 6, pooling="gap")
    fused = _normal(3, 4, 5, 7)
    out = project(fused, [_boxes()] * 3, stride=8)
    weight, bias = project.target_embedding.weight, project.target_embedding.bias
    convolved = torch.nn.functional.conv2d(project.target(fused), weight[..., None, None], bias)
    torch.testing.assert_close(out.z, convolved.mean((2, 3)))


def test_boxes_pool_targets_and_the_rest_pools_background() -> None:
    project = TargetBackgroundProjections(3, 3, pooling="boxes")
    fused = _normal(2, 3, 4, 4)
    # the first box covers 2 x 4 px of cell (1, 0) and 4 x 4 px of cell (1, 1): shares 1/3 and 2/3
    out = project(fused, [_boxes((6, 10, 12, 14)), _boxes()], stride=8)
    assert out.background_map is not None
    target_map = project.target(fused)
    target = target_map[0, :, 1, 0] / 3 + target_map[0, :, 1, 1] * 2 / 3
    torch.testing.assert_close(out.z[0], project.target_embedding(target))
    free = torch.ones(4, 4, dtype=torch.bool)
    free[1, :2] = False
    assert out.b is not None
    torch.testing.assert_close(out.b[0], _linear(project.background_embedding)(out.background_map[0][:, free].mean(1)))
    assert out.has_target.tolist() == [True, False]
    assert bool(torch.isfinite(out.z).all())


@pytest.mark.parametrize("pooling", ["gap", "boxes"])
def test_recombination_is_the_target_projection_of_target_plus_swapped_background(pooling: Pooling) -> None:
    project = TargetBackgroundProjections(4, 5, pooling=pooling)
    fused = _normal(3, 4, 5, 6).to(memory_format=torch.channels_last)
    boxes = [_boxes((8, 8, 20, 20), (30, 2, 34, 6)), _boxes((0, 33, 12, 38)), _boxes((17, 9, 19, 11))]
    out = project(fused, boxes, stride=8)
    target_map, background_map = project.maps(fused)
    assert background_map is not None
    partner = torch.tensor([2, 0, 1])
    weights = split_by_boxes(boxes, size_uv=(5, 6), stride=8).target if pooling == "boxes" else None
    recombined = project.target(target_map + background_map[partner])
    torch.testing.assert_close(project.recombine(out, partner), project.target_embedding(pool(recombined, weights)))


def test_gradients_of_the_few_cells_are_those_of_whole_maps() -> None:
    project = TargetBackgroundProjections(4, 5, pooling="boxes")
    fused, boxes = _normal(2, 4, 5, 6).requires_grad_(), [_boxes((8, 8, 20, 20)), _boxes((0, 33, 12, 38))]
    partner, weights = torch.tensor([1, 0]), split_by_boxes(boxes, size_uv=(5, 6), stride=8).target
    out = project(fused, boxes, stride=8)
    target_map, background_map = project.maps(fused)
    assert background_map is not None
    pooled = pool(target_map, weights), pool(project.target(target_map + background_map[partner]), weights)
    whole = sum(project.target_embedding(one).square().sum() for one in pooled)
    few = out.z.square().sum() + project.recombine(out, partner).square().sum()
    assert project.background is not None
    learned = [fused, *project.target.parameters(), *project.target_embedding.parameters()]
    learned += project.background.parameters()
    for a, b in zip(torch.autograd.grad(few, learned), torch.autograd.grad(whole, learned), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("pooling", ["gap", "boxes"])
def test_an_empty_batch_gives_no_features(pooling: Pooling) -> None:
    project = TargetBackgroundProjections(4, 5, pooling=pooling)
    out = project(torch.zeros(0, 4, 5, 6), [], stride=8)
    assert out.z.shape == project.recombine(out, torch.zeros(0, dtype=torch.int64)).shape == (0, 5)


def test_a_batch_without_targets_still_gives_every_target_weight_a_gradient() -> None:
    project = TargetBackgroundProjections(4, 5, pooling="boxes")
    out = project(_normal(2, 4, 5, 6), [_boxes(), _boxes()], stride=8)
    z_hat = project.recombine(out, torch.tensor([1, 0]))
    (out.z.sum() + z_hat.sum()).backward()
    assert out.target_rows.shape == (0, 4)
    for weight in (*project.target.parameters(), *project.target_embedding.parameters()):
        assert weight.grad is not None
        assert bool(torch.isfinite(weight.grad).all())


@pytest.mark.parametrize("pooling", ["gap", "boxes"])
def test_a_recombined_target_sees_its_partner_and_nobody_else(pooling: Pooling) -> None:
    project = TargetBackgroundProjections(4, 5, pooling=pooling)
    fused = _normal(4, 4, 6, 6).requires_grad_()
    out = project(fused, [_boxes((8, 8, 20, 20))] * 4, stride=8)
    z_hat = project.recombine(out, torch.tensor([2, 3, 0, 1]))
    (grad,) = torch.autograd.grad(z_hat[0].sum(), fused)
    touched = grad.abs().sum((1, 2, 3)) > 0
    assert touched.tolist() == [True, False, True, False]


def test_without_a_background_projection_there_is_nothing_to_recombine() -> None:
    project = TargetBackgroundProjections(4, 5, with_background=False)
    out = project(_normal(2, 4, 6, 6), [_boxes()] * 2, stride=8)
    assert out.b is None
    assert not [name for name, _ in project.named_parameters() if "background" in name]
    with pytest.raises(ValueError, match="background projection is off"):
        project.recombine(out, torch.tensor([1, 0]))


def test_shapes_that_do_not_fit_are_named() -> None:
    project = TargetBackgroundProjections(4, 5, pooling="boxes")
    with pytest.raises(ValueError, match=r"fused_map must be \(n, 4, u, v\), got \(2, 3, 6, 6\)"):
        project(torch.zeros(2, 3, 6, 6), [_boxes()] * 2, stride=8)
    with pytest.raises(ValueError, match="one tensor for each of 2 samples, got 1"):
        project(torch.zeros(2, 4, 6, 6), [_boxes()], stride=8)
    with pytest.raises(ValueError, match=r"boxes_xyxy\[1\] must be \(M, 4\), got \(3, 5\)"):
        project(torch.zeros(2, 4, 6, 6), [_boxes(), torch.zeros(3, 5)], stride=8)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        project(torch.zeros(1, 4, 6, 6), [_boxes()], stride=0)
    with pytest.raises(ValueError, match="pooling must be one of gap, boxes, got 'max'"):
        TargetBackgroundProjections(4, 5, pooling="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="embed_channels must be at least 1, got 0"):
        TargetBackgroundProjections(4, 0)


def _linear(module: torch.nn.Linear | None) -> torch.nn.Linear:
    assert module is not None
    return module
