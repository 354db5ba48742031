"""SimOTA and the detection loss: who answers for a target, and what it costs to be wrong."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loddis_trainer.assignment import Assignment, assign, elementwise_iou, pad_truth
from loddis_trainer.losses.boxes import generalised_iou_loss, wasserstein_loss
from loddis_trainer.losses.detection import DetectionLoss, detection_loss
from loddis_trainer.models.head import RawPredictions, decode_boxes, grid_points

STRIDE = 8
GRID_HW = (6, 8)


def quiet_predictions(batch: int, *, classes: int = 1) -> RawPredictions:
    """Every point predicts a box of one cell about its own centre, unsure of everything."""
    points = GRID_HW[0] * GRID_HW[1]
    offsets = torch.zeros(batch, points, 4)
    offsets[..., :2] = 0.5
    return RawPredictions(offsets, torch.zeros(batch, points), torch.zeros(batch, points, classes), GRID_HW)


def assign_to(
    raw: RawPredictions,
    boxes: list[Tensor],
    labels: list[Tensor] | None = None,
    *,
    box_trust: Tensor | None = None,
) -> Assignment:
    labels = labels or [torch.zeros(len(b), dtype=torch.int64) for b in boxes]
    truth = pad_truth(boxes, labels, device="cpu")
    predicted = decode_boxes(raw, stride=STRIDE)
    grid = grid_points(raw.size_hw)
    return assign(predicted, raw.objectness, raw.classes, grid, truth, stride=STRIDE, box_trust=box_trust)


def test_a_tiny_target_gets_a_grid_point_beside_it() -> None:
    target = torch.tensor([[27.0, 19.0, 30.0, 22.0]])  # 3 px, within cell (row 2, column 3)
    found = assign_to(quiet_predictions(1), [target])
    assert found.foreground[0].any()
    centres = (grid_points(GRID_HW)[found.foreground[0]] + 0.5) * STRIDE
    assert ((centres - torch.tensor([28.5, 20.5])).abs() < 1.5 * STRIDE).all()


def test_a_better_prediction_wins_the_target() -> None:
    raw = quiet_predictions(1)
    target = torch.tensor([[24.0, 16.0, 36.0, 28.0]])
    good = 2 * GRID_HW[1] + 3  # cell (2, 3)
    raw.offsets[0, good] = torch.tensor([30 / 8 - 3, 22 / 8 - 2, math.log(12 / 8), math.log(12 / 8)])
    found = assign_to(raw, [target])
    assert found.foreground[0, good]
    assert found.overlap[0, good] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_point_wanted_by_two_targets_goes_to_the_one_it_fits(order: tuple[int, int]) -> None:
    """One point alone overlaps both: the box that it predicts is the first one's."""
    raw = quiet_predictions(1)
    raw.offsets[..., 2:] = -6.0  # boxes of no size to speak of …
    good = 2 * GRID_HW[1] + 3  # … but one, in cell (2, 3)
    raw.offsets[0, good] = torch.tensor([28 / 8 - 3, 20 / 8 - 2, math.log(7 / 8), math.log(7 / 8)])
    pair = torch.tensor([[24.5, 16.5, 31.5, 23.5], [26.5, 18.5, 33.5, 25.5]])[list(order)]
    found = assign_to(raw, [pair])
    assert found.foreground[0, good]
    assert int(found.target_index[0, good]) == order.index(0)


@pytest.mark.parametrize(("learned", "labelled"), [(7.0, 15.0), (15.0, 7.0), (7.0, 7.0)])
def test_a_box_of_another_convention_takes_as_many_points_where_sizes_are_not_trusted(
    learned: float, labelled: float
) -> None:
    """Its neighbours, all of which see the target, are else taught that there is nothing."""
    raw = quiet_predictions(1)
    target = torch.tensor([[28.0 - labelled / 2, 20.0 - labelled / 2, 28.0 + labelled / 2, 20.0 + labelled / 2]])
    raw.offsets[0, :, :2] = torch.tensor([28.5, 20.5]) / STRIDE - grid_points(GRID_HW)
    raw.offsets[0, :, 2:] = math.log(learned / STRIDE)

    def points(trust: float | None) -> int:
        box_trust = None if trust is None else torch.tensor([trust])
        return int(assign_to(raw, [target], box_trust=box_trust).foreground.sum())

    same_size = raw.offsets.clone()
    same_size[..., 2:] = math.log(labelled / STRIDE)
    wanted = int(assign_to(dataclasses.replace(raw, offsets=same_size), [target]).foreground.sum())
    assert points(0.0) == wanted > 1
    assert points(1.0) == points(None)
    assert points(1.0) <= points(0.2) <= points(0.0)
    if learned != labelled:
        assert points(1.0) < wanted / 2


def test_frames_do_not_see_each_others_targets() -> None:
    one, other = torch.tensor([[24.0, 16.0, 31.0, 23.0]]), torch.zeros(0, 4)
    together = assign_to(quiet_predictions(2), [one, other])
    assert together.foreground[0].any()
    assert not together.foreground[1].any()
    alone = assign_to(quiet_predictions(1), [one])
    assert torch.equal(together.foreground[0], alone.foreground[0])


def test_padding_changes_nothing() -> None:
    """A frame with one target is assigned alike beside a frame with five."""
    one = torch.tensor([[24.0, 16.0, 31.0, 23.0]])
    five = torch.tensor([[8.0 * i, 8.0, 8.0 * i + 6, 14.0] for i in range(1, 6)])
    beside = assign_to(quiet_predictions(2), [one, five])
    alone = assign_to(quiet_predictions(1), [one])
    assert torch.equal(beside.foreground[0], alone.foreground[0])
    assert torch.equal(beside.overlap[0], alone.overlap[0])


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(0, GRID_HW[1] * STRIDE - 1),
    y=st.floats(0, GRID_HW[0] * STRIDE - 1),
    side=st.floats(0.5, 20),
)
def test_every_target_on_the_map_finds_at_least_one_point(x: float, y: float, side: float) -> None:
    target = torch.tensor([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])
    assert assign_to(quiet_predictions(1), [target]).foreground.any()


def test_overlap_matches_hand_computed_values() -> None:
    a = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    b = torch.tensor([[2.0, 2.0, 6.0, 6.0], [3.0, 3.0, 5.0, 5.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(elementwise_iou(a, b), torch.tensor([4 / 28, 0.0, 0.0]))


def test_generalised_iou_follows_its_definition() -> None:
    a, b = torch.tensor([0.0, 0.0, 4.0, 4.0]), torch.tensor([2.0, 2.0, 6.0, 6.0])
    iou, union, hull = 4 / 28, 28.0, 36.0
    assert float(generalised_iou_loss(a, b)) == pytest.approx(1 - (iou - (hull - union) / hull), abs=1e-6)
    assert float(generalised_iou_loss(a, a)) == pytest.approx(0.0, abs=1e-6)


def test_a_box_that_misses_its_target_is_pulled_towards_it() -> None:
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]], requires_grad=True)
    generalised_iou_loss(box, torch.tensor([[20.0, 0.0, 24.0, 4.0]])).sum().backward()
    assert box.grad is not None
    assert float(box.grad[0, 2]) < 0  # a larger x2 would cost less


def test_the_wasserstein_loss_is_that_of_the_gaussians_in_the_boxes() -> None:
    """Against the general formula of two Gaussians, with covariance matrices."""
    a, b = torch.tensor([10.0, 20.0, 13.0, 26.0]), torch.tensor([12.0, 19.0, 16.0, 24.0])
    means = [(box[:2] + box[2:]) / 2 for box in (a, b)]
    covariances = [torch.diag(((box[2:] - box[:2]) / 2) ** 2) for box in (a, b)]
    roots = [covariance.sqrt() for covariance in covariances]
    cross = (roots[1] @ covariances[0] @ roots[1]).sqrt()
    squared = (means[0] - means[1]).square().sum() + torch.trace(sum(covariances) - 2 * cross)
    expected = 1 - math.exp(-math.sqrt(float(squared)) / 12.8)
    assert float(wasserstein_loss(a, b)) == pytest.approx(expected, abs=1e-5)
    assert float(wasserstein_loss(a, a)) == pytest.approx(0, abs=1e-3)


def test_the_wasserstein_loss_falls_with_the_shift_where_the_overlap_is_gone_and_stays_finite() -> None:
    target = torch.tensor([50.0, 50.0, 52.0, 52.0])
    losses = [float(wasserstein_loss(target + shift, target)) for shift in range(12)]
    assert losses == sorted(losses)
    perfect = target.clone().requires_grad_()
    wasserstein_loss(perfect, target).backward()
    assert perfect.grad is not None
    assert torch.isfinite(perfect.grad).all()


def perfect_predictions(target: Tensor) -> RawPredictions:
    raw = quiet_predictions(1)
    raw.objectness.fill_(-12.0)
    raw.classes.fill_(-12.0)
    width, height = target[2] - target[0], target[3] - target[1]
    centre = (target[:2] + target[2:]) / 2
    column, row = int(centre[0] // STRIDE), int(centre[1] // STRIDE)
    index = row * GRID_HW[1] + column
    raw.offsets[0, index] = torch.tensor(
        [centre[0] / 8 - column, centre[1] / 8 - row, math.log(width / 8), math.log(height / 8)]
    )
    raw.objectness[0, index] = 12.0
    raw.classes[0, index] = 12.0
    return raw


def test_a_perfect_prediction_costs_next_to_nothing_and_a_silent_one_much() -> None:
    target = torch.tensor([24.0, 16.0, 36.0, 28.0])
    truth = pad_truth([target[None]], [torch.zeros(1, dtype=torch.int64)], device="cpu")
    perfect = detection_loss(perfect_predictions(target), truth, stride=STRIDE)
    unsure = detection_loss(quiet_predictions(1), truth, stride=STRIDE)
    assert float(perfect.total) < 0.01
    assert float(unsure.total) > 10
    assert int(perfect.assigned) == 1


def test_a_frame_without_targets_still_teaches_silence() -> None:
    raw = quiet_predictions(1)
    raw.objectness.requires_grad_()
    truth = pad_truth([torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)], device="cpu")
    loss = detection_loss(raw, truth, stride=STRIDE)
    loss.total.backward()
    assert float(loss.box) == 0.0
    assert raw.objectness.grad is not None
    assert (raw.objectness.grad > 0).all()


def test_autocast_leaves_the_loss_its_precision() -> None:
    """Sums over thousands of grid points in bfloat16 are good to one part in a hundred."""
    target, label = torch.tensor([[24.0, 16.0, 36.0, 28.0]]), torch.zeros(1, dtype=torch.int64)
    truth = pad_truth([target, target + 5], [label, label], device="cpu")
    groups, auxiliary = torch.tensor([0, 1]), torch.tensor([False, True])
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(
                detection_loss(quiet_predictions(2), truth, stride=STRIDE, groups=groups, auxiliary=auxiliary)
            )
    assert losses[0].total.dtype == losses[1].total.dtype == torch.float32
    assert losses[0] == losses[1]


def test_only_the_targets_class_is_asked_for() -> None:
    raw = quiet_predictions(1, classes=3)
    raw.classes.requires_grad_()
    truth = pad_truth([torch.tensor([[24.0, 16.0, 36.0, 28.0]])], [torch.tensor([2])], device="cpu")
    detection_loss(raw, truth, stride=STRIDE).total.backward()
    assert raw.classes.grad is not None
    asked = raw.classes.grad.abs().sum(dim=-1)[0] > 0
    gradient = raw.classes.grad[0][asked]
    assert (gradient[:, :2] > 0).all()
    assert (gradient[:, 2] < gradient[:, 0]).all()


def test_an_untrusted_box_teaches_where_and_what_but_not_how_large() -> None:
    """A frame of trust 0 teaches place and class alone; the trusted frame beside it counts as it did before."""
    raw = quiet_predictions(2)
    for part in (raw.offsets, raw.objectness, raw.classes):
        part.requires_grad_()
    target, loose = torch.tensor([[24.0, 16.0, 36.0, 28.0]]), torch.tensor([[18.0, 10.0, 38.0, 30.0]])  # about a point
    label = torch.zeros(1, dtype=torch.int64)
    truth = pad_truth([target, loose], [label, label], device="cpu")
    both = detection_loss(raw, truth, stride=STRIDE, box_trust=torch.tensor([1.0, 0.0]))
    both.total.backward()
    assert raw.offsets.grad is not None
    assert raw.objectness.grad is not None
    assert raw.classes.grad is not None
    assert float(raw.offsets.grad[0].abs().sum()) > 0
    assert float(raw.offsets.grad[1].abs().sum()) == 0
    assert (raw.objectness.grad[1] < 0).any()
    assert (raw.classes.grad[1] < 0).any()  # asked for in full: the place is right

    alone = RawPredictions(raw.offsets[:1], raw.objectness[:1], raw.classes[:1], raw.size_hw)
    trusted = detection_loss(alone, pad_truth([target], [label], device="cpu"), stride=STRIDE)
    both_points, own_points = int(both.assigned), int(trusted.assigned)
    assert float(both.box.detach()) * both_points == pytest.approx(float(trusted.box.detach()) * own_points)


@pytest.mark.parametrize("trust", [0.0, 0.05, 0.2, 0.5])
def test_trust_means_the_same_without_a_trusted_frame_beside(trust: float) -> None:
    raw, label = quiet_predictions(2), torch.zeros(1, dtype=torch.int64)
    target = torch.tensor([[24.0, 16.0, 36.0, 28.0]])
    truth = pad_truth([target, target * 1.1], [label, label], device="cpu")
    full = detection_loss(raw, truth, stride=STRIDE)
    little = detection_loss(raw, truth, stride=STRIDE, box_trust=torch.full((2,), trust))
    assert float(little.box) == pytest.approx(trust * float(full.box))


def test_full_trust_is_the_plain_loss() -> None:
    raw = quiet_predictions(2)
    label = torch.zeros(1, dtype=torch.int64)
    target = torch.tensor([[24.0, 16.0, 36.0, 28.0]])
    truth = pad_truth([target, target + 5], [label, label], device="cpu")
    plain = detection_loss(raw, truth, stride=STRIDE)
    trusted = detection_loss(raw, truth, stride=STRIDE, box_trust=torch.ones(2))
    assert [float(part) for part in plain] == [float(part) for part in trusted]


def test_gradients_agree_with_finite_differences() -> None:
    torch.manual_seed(0)
    boxes = (torch.rand(5, 2, dtype=torch.float64) * 10).repeat(1, 2)
    boxes[:, 2:] += 1 + torch.rand(5, 2, dtype=torch.float64) * 5
    targets = boxes.flip(0).contiguous()
    boxes.requires_grad_()
    assert torch.autograd.gradcheck(lambda b: generalised_iou_loss(b, targets), (boxes,))


ONE = torch.tensor([[24.0, 16.0, 36.0, 28.0]])
CROWD = torch.tensor([[x, y, x + 6, y + 6] for x in (4.0, 20.0, 36.0, 52.0) for y in (4.0, 20.0, 36.0)])


def loss_of(boxes: list[Tensor], groups: list[int] | None = None, auxiliary: list[bool] | None = None) -> DetectionLoss:
    truth = pad_truth(boxes, [torch.zeros(len(group), dtype=torch.int64) for group in boxes], device="cpu")
    return detection_loss(
        quiet_predictions(len(boxes)),
        truth,
        stride=STRIDE,
        groups=None if groups is None else torch.tensor(groups),
        auxiliary=None if auxiliary is None else torch.tensor(auxiliary),
    )


PARTS = ("total", "box", "objectness", "classes")
NONE = torch.zeros(0, 4)


@pytest.mark.parametrize("auxiliary", [[False, False], [False, True]])
def test_a_group_of_many_targets_does_not_drown_one_of_a_single(auxiliary: list[bool]) -> None:
    """Each group's loss is what it would be alone, and groups weigh as they have frames."""
    crowds = [CROWD, CROWD + 1, CROWD + 2]
    together = loss_of([ONE, *crowds], [0, 1, 1, 1], auxiliary)
    alone, others = loss_of([ONE]), loss_of(crowds)
    for part in PARTS:
        torch.testing.assert_close(getattr(together, part), (getattr(alone, part) + 3 * getattr(others, part)) / 4)
    assert int(together.assigned) == int(alone.assigned + others.assigned)


def test_a_single_auxiliary_target_does_not_drown_a_crowd_of_the_task() -> None:
    """It weighs as one of the crowd does, as in a batch where every target weighs alike."""
    together, alike = loss_of([CROWD, ONE, ONE], [0, 1, 1], [False, True]), loss_of([CROWD, ONE, ONE])
    for part in PARTS:
        torch.testing.assert_close(getattr(together, part), getattr(alike, part))


@pytest.mark.parametrize("auxiliary", [[False, False], [False, True], [True, True]])
def test_a_group_that_happens_to_have_no_targets_does_not_drown_the_rest(auxiliary: list[bool]) -> None:
    for boxes, groups in (([NONE, NONE, ONE, ONE], [0, 0, 1, 1]), ([ONE, ONE, NONE, NONE], [0, 0, 1, 1])):
        apart, alike = loss_of(boxes, groups, auxiliary), loss_of(boxes)
        assert float(apart.total) < 2 * float(alike.total)
    for boxes, groups in (([NONE, NONE], [0, 1]), ([ONE], [1])):
        assert torch.isfinite(loss_of(boxes, groups, auxiliary).total)
