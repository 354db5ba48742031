"""Averaged weights and the learning rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from loddis_trainer.ema import WeightAverage
from loddis_trainer.schedule import learning_rate_factor, reversal_factor


def test_the_average_follows_the_model_and_forgets_its_start() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, decay=0.9)
    with torch.no_grad():
        model.weight.fill_(3.0)
    for _ in range(200):
        average.update(model)
    torch.testing.assert_close(average.average.weight, torch.full((2, 2), 3.0), atol=1e-3, rtol=0)


def test_a_step_of_the_average_is_the_formula() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = WeightAverage(model, decay=0.5)
    nn.init.ones_(model.weight)
    average.update(model)
    assert float(average.average.weight) == pytest.approx(1 - 2 / 11)
    average.update(model)
    assert float(average.average.weight) == pytest.approx(1 - 2 / 11 * 3 / 12)
    average.steps = 1000
    average.update(model)
    assert float(average.average.weight) == pytest.approx(1 - 2 / 11 * 3 / 12 * 0.5)


@pytest.mark.parametrize("steps", [100, 1000])
def test_the_average_reaches_back_over_a_tenth_of_a_training(steps: int) -> None:
    """A weight that grows by one a step lags behind by the mean age of what is averaged."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    average = WeightAverage(model, decay=0.998)
    for _ in range(steps):
        with torch.no_grad():
            model.weight += 1
        average.update(model)
    assert steps / 12 < steps - float(average.average.weight) < steps / 8


def test_running_statistics_and_counters_come_along() -> None:
    model = nn.BatchNorm2d(1)
    average = WeightAverage(model, decay=0.0)
    model(torch.randn(4, 1, 3, 3) + 5)
    average.update(model)
    assert torch.equal(average.average.running_mean, model.running_mean)  # type: ignore[arg-type]
    assert int(average.average.num_batches_tracked) == 1  # type: ignore[arg-type]


def test_the_average_is_no_part_of_the_gradient() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, decay=0.9)
    assert not any(p.requires_grad for p in average.average.parameters())
    assert not average.average.training


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_an_impossible_decay_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay must be in"):
        WeightAverage(nn.Linear(1, 1), decay=decay)


def test_the_learning_rate_rises_then_falls_along_a_cosine() -> None:
    factors = [
        learning_rate_factor(step, total_steps=100, warmup_steps=10, schedule="cosine", final_factor=0.1)
        for step in range(100)
    ]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == pytest.approx(1.0)
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[55] == pytest.approx(0.55, abs=0.01)  # half way down
    assert factors[-1] == pytest.approx(0.1, abs=0.01)


def test_a_constant_schedule_stays() -> None:
    assert learning_rate_factor(77, total_steps=100, warmup_steps=0, schedule="constant") == 1.0


def test_the_reversal_ramps_from_nothing_to_all_as_ganin_has_it() -> None:
    factors = [reversal_factor(step, total_steps=1000, schedule="ramp") for step in range(1001)]
    assert factors[0] == 0
    assert factors[100] == pytest.approx(0.46212, abs=1e-5)  # 2 / (1 + exp(-1)) - 1
    assert factors == sorted(factors)
    assert factors[-1] == pytest.approx(0.99991, abs=1e-5)
    assert {reversal_factor(step, total_steps=9, schedule="constant") for step in range(9)} == {1.0}
