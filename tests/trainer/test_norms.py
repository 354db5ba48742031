"""Normalisation that keeps the statistics of domains apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from loddis_trainer.building import build_training_model
from loddis_trainer.config import FitConfig
from loddis_trainer.models.norms import GroupedBatchNorm, statistics_apart
from loddis_trainer.training_model import TrainingModel


def mixed(*levels: float) -> torch.Tensor:
    """Give maps ``(B, 3, 8, 8)``, each around a level of its own."""
    return torch.randn(len(levels), 3, 8, 8) + torch.tensor(levels)[:, None, None, None]


def test_each_group_is_normalised_as_if_it_were_alone() -> None:
    x = mixed(0, 1, 50, 52, 54)
    with statistics_apart(norm := GroupedBatchNorm(3), [2, 3]):
        out = norm(x)
    torch.testing.assert_close(out[:2], nn.BatchNorm2d(3)(x[:2]))
    torch.testing.assert_close(out[2:], nn.BatchNorm2d(3)(x[2:]))


def test_the_first_group_alone_is_remembered() -> None:
    x = mixed(0, 1, 50, 52)
    grouped, alone = GroupedBatchNorm(3), nn.BatchNorm2d(3)
    with statistics_apart(grouped, [2, 1, 1]):
        grouped(x)
    alone(x[:2])
    torch.testing.assert_close(grouped.running_mean, alone.running_mean)
    torch.testing.assert_close(grouped.running_var, alone.running_var)


@pytest.mark.parametrize("sizes", [[0, 2], [2, 0], [0, 0, 2]])
def test_groups_may_be_empty(sizes: list[int]) -> None:
    x = mixed(3, 5)
    with statistics_apart(norm := GroupedBatchNorm(3), sizes):
        torch.testing.assert_close(norm(x), nn.BatchNorm2d(3)(x))


def test_without_groups_it_is_a_batch_normalisation() -> None:
    x = mixed(0, 50)
    grouped, plain = GroupedBatchNorm(3), nn.BatchNorm2d(3)
    torch.testing.assert_close(grouped(x), plain(x))
    torch.testing.assert_close(grouped.eval()(x), plain.eval()(x))


def test_in_evaluation_the_first_group_is_normalised_as_it_will_be_used() -> None:
    x = mixed(0, 50)
    grouped = GroupedBatchNorm(3).eval()
    before = {name: value.clone() for name, value in grouped.state_dict().items()}
    with statistics_apart(grouped, [1, 1]):
        out = grouped(x)
    torch.testing.assert_close(out[:1], nn.BatchNorm2d(3).eval()(x[:1]))
    torch.testing.assert_close(out[1:], nn.BatchNorm2d(3)(x[1:]))
    assert all(torch.equal(value, before[name]) for name, value in grouped.state_dict().items())


def test_it_takes_half_precision_and_keeps_the_layout() -> None:
    x = mixed(0, 1, 50).to(torch.bfloat16).to(memory_format=torch.channels_last)
    with statistics_apart(norm := GroupedBatchNorm(3), [2, 1]):
        out = norm(x)
    assert out.dtype == torch.bfloat16
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_a_single_cell_cannot_be_normalised_by_itself() -> None:
    with statistics_apart(norm := GroupedBatchNorm(3), [2, 1]), pytest.raises(ValueError, match="larger size_hw"):
        norm(torch.randn(3, 3, 1, 1))


def test_groups_end_with_the_block_though_it_fails() -> None:
    norm = GroupedBatchNorm(3)
    with pytest.raises(RuntimeError), statistics_apart(norm, [1, 5]):
        norm(mixed(0, 1))
    assert norm(mixed(0, 1)).shape == (2, 3, 8, 8)


def running_means(model: TrainingModel) -> torch.Tensor:
    return torch.cat([v for name, v in model.detector.state_dict().items() if name.endswith("running_mean")])


def trained_on(domains: list[int], how: str, *, roles: tuple[str, ...] = ("task", "auxiliary", "auxiliary")) -> tuple:
    config = FitConfig(task=["a"], auxiliary=["b", "c"], auxiliary_statistics=how, pooling="boxes")  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = build_training_model(config, roles=roles)  # type: ignore[arg-type]
    frames = torch.stack(
        [torch.full((1, 64, 96), 0.2 + 0.3 * domain) + 0.05 * torch.rand(1, 64, 96) for domain in domains]
    )
    boxes = [torch.tensor([[20.0 + 5 * i, 20.0, 28.0 + 5 * i, 28.0]]) for i in range(len(domains))]
    losses = model(frames, boxes, [torch.zeros(1, dtype=torch.int64)] * len(domains), torch.tensor(domains))
    return model, losses


def test_what_an_auxiliary_domain_looks_like_leaves_no_trace_in_the_detector() -> None:
    alone, _ = trained_on([0, 0, 0], "own")
    beside, _ = trained_on([0, 0, 0, 1, 2, 1], "own")
    torch.testing.assert_close(running_means(beside), running_means(alone))
    shared, _ = trained_on([0, 0, 0, 1, 2, 1], "shared")
    assert not torch.allclose(running_means(shared), running_means(alone))


def test_the_order_of_the_batch_does_not_matter() -> None:
    sorted_, in_order = trained_on([0, 0, 1, 2], "own")
    frames = torch.rand(4, 1, 64, 96, generator=torch.Generator().manual_seed(1))
    boxes = [torch.tensor([[20.0 + 5 * i, 20.0, 28.0 + 5 * i, 28.0]]) for i in range(4)]
    classes = [torch.zeros(1, dtype=torch.int64)] * 4
    domains = torch.tensor([0, 0, 1, 2])
    mixed_up = torch.tensor([2, 0, 3, 1])
    model = sorted_.train()
    first = model(frames, boxes, classes, domains)
    again = model(frames[mixed_up], [boxes[i] for i in mixed_up], classes, domains[mixed_up])
    torch.testing.assert_close(first.detection.total, again.detection.total)
    torch.testing.assert_close(first.confusion, again.confusion)
    assert in_order.total.isfinite()


def test_domains_of_the_task_share_their_statistics() -> None:
    config = FitConfig(task=["a", "b"], auxiliary=["c"], auxiliary_statistics="own")
    model = build_training_model(config, roles=["task", "task", "auxiliary"])
    assert model.norm_groups is not None
    assert model.norm_groups.tolist() == [0, 0, 1]
    assert build_training_model(config, roles=["task", "task"]).norm_groups is None
