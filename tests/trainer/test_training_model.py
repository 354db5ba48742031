"""One forward pass gives every loss, and going on from a state is as if one had never stopped."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from loddis_trainer.building import build_optimiser, build_training_model
from loddis_trainer.config import FitConfig
from loddis_trainer.ema import WeightAverage
from loddis_trainer.errors import CheckpointError
from loddis_trainer.resume import restore_training, training_state
from loddis_trainer.training_model import TrainingLosses, TrainingModel

Batch = tuple[Tensor, list[Tensor], list[Tensor], Tensor]


def make_batch(seed: int = 0, *, domains: tuple[int, ...] = (0, 0, 1, 1)) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(len(domains), 1, 64, 96, generator=generator)
    boxes = [torch.tensor([[20.0 + i, 20.0, 28.0 + i, 28.0]]) for i in range(len(domains))]
    return frames, boxes, [torch.zeros(1, dtype=torch.int64)] * len(domains), torch.tensor(domains)


def test_the_total_is_equation_1() -> None:
    config = FitConfig(task=["a"], auxiliary=["b"], alpha=0.3, beta=0.7, eta=0.2)
    torch.manual_seed(0)
    losses: TrainingLosses = build_training_model(config, roles=["task", "auxiliary"])(*make_batch())
    assert losses.correlation is not None
    assert losses.confusion is not None
    assert losses.consistency is not None
    expected = losses.detection.total + 0.3 * losses.correlation + 0.7 * losses.confusion + 0.2 * losses.consistency
    torch.testing.assert_close(losses.total, expected)
    assert set(losses.scalars()) >= {"total", "box", "correlation", "confusion", "consistency", "domain_accuracy"}


@pytest.mark.parametrize("off", ["alpha", "beta", "eta"])
def test_a_loss_of_weight_0_is_not_computed(off: str) -> None:
    config = FitConfig.model_validate({"task": ["a"], "auxiliary": ["b"], off: 0.0})
    losses: TrainingLosses = build_training_model(config, roles=["task", "auxiliary"])(*make_batch())
    values = {"alpha": losses.correlation, "beta": losses.confusion, "eta": losses.consistency}
    assert [name for name, value in values.items() if value is None] == [off]


def test_samples_that_keep_their_background_count_if_asked_for() -> None:
    values = []
    for contrast in ("all", "swapped"):
        torch.manual_seed(0)
        config = FitConfig.model_validate({"task": ["a"], "auxiliary": ["b"], "contrast": contrast})
        losses = build_training_model(config, roles=["task", "auxiliary"])(*make_batch(domains=(0, 0, 0, 0, 0, 1)))
        values.append(losses.scalars()["consistency"])
    assert 0 < values[1] < 0.6 * values[0]  # two of six swap


def test_plain_training_has_no_branches() -> None:
    plain = FitConfig(task=["a"], auxiliary=["b"], alpha=0, beta=0, eta=0)
    assert build_training_model(plain, roles=["task", "auxiliary"]).branches is None
    alone = FitConfig(task=["a"])
    assert build_training_model(alone, roles=["task"]).branches is None


def test_the_branches_teach_the_detector() -> None:
    """The gradient of the method's losses reaches the detector's first layer: they are no ornament."""
    config = FitConfig(task=["a"], auxiliary=["b"], pooling="boxes")
    torch.manual_seed(0)
    model = build_training_model(config, roles=["task", "auxiliary"])
    losses: TrainingLosses = model(*make_batch())
    (losses.total - losses.detection.total).backward()
    gradient = model.detector.backbone.stem.conv.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def test_box_trust_belongs_to_the_auxiliary_domain_alone() -> None:
    config = FitConfig(task=["a"], auxiliary=["b"], alpha=0, beta=0, eta=0, auxiliary_box_trust=0.0)
    model = build_training_model(config, roles=["task", "auxiliary"])
    for domain, learns in ((0, True), (1, False)):
        model.zero_grad()
        losses: TrainingLosses = model(*make_batch(domains=(domain, domain)))
        losses.total.backward()
        gradient = model.detector.head.box_offsets.weight.grad
        assert gradient is not None
        assert (float(gradient.abs().sum()) > 0) == learns


def test_the_box_loss_is_the_one_asked_for() -> None:
    seen = {}
    for name in ("giou", "nwd"):
        config = FitConfig.model_validate({"task": ["a"], "box_loss": name})
        torch.manual_seed(0)
        losses: TrainingLosses = build_training_model(config, roles=["task"])(*make_batch(domains=(0, 0)))
        seen[name] = float(losses.detection.box.detach())
    assert 0 < seen["nwd"] < 1
    assert seen["giou"] != pytest.approx(seen["nwd"])


def test_a_batch_of_one_domain_trains_without_what_it_cannot_give() -> None:
    model = build_training_model(FitConfig(task=["a"], auxiliary=["b"]), roles=["task", "auxiliary"])
    losses: TrainingLosses = model(*make_batch(domains=(0, 0, 0, 0)))
    assert losses.confusion is None
    assert losses.consistency is None
    assert torch.isfinite(losses.total)


def train(model: TrainingModel, average: WeightAverage, optimiser: Optimizer, seeds: range) -> list[float]:
    totals = []
    for seed in seeds:
        losses: TrainingLosses = model(*make_batch(seed))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        average.update(model)
        totals.append(float(losses.total.detach()))
    return totals


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_resumed_training_has_the_losses_of_an_uninterrupted_one(name: str) -> None:
    config = FitConfig.model_validate({"task": ["a"], "auxiliary": ["b"], "optimiser": name})

    def fresh(seed: int) -> tuple[TrainingModel, WeightAverage, Optimizer]:
        torch.manual_seed(seed)
        model = build_training_model(config, roles=["task", "auxiliary"])
        return model, WeightAverage(model, decay=0.9), build_optimiser(config, model)

    straight = fresh(0)
    expected = train(*straight, range(6))
    first = fresh(0)
    before = train(*first, range(3))
    state = {key: value.clone() for key, value in training_state(*first).items()}
    second = fresh(99)
    restore_training(state, *second)
    after = train(*second, range(3, 6))
    assert before + after == expected
    for mine, theirs in zip(second[1].average.parameters(), straight[1].average.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_state_of_another_model_is_refused() -> None:
    config = FitConfig(task=["a"], auxiliary=["b"])
    model = build_training_model(config, roles=["task", "auxiliary"])
    state = training_state(model, WeightAverage(model, decay=0.9), build_optimiser(config, model))
    other = build_training_model(FitConfig(task=["a"], auxiliary=["b"], variant="tiny"), roles=["task", "auxiliary"])
    with pytest.raises(CheckpointError, match="does not fit"):
        restore_training(state, other, WeightAverage(other, decay=0.9), build_optimiser(config, other))


def test_weight_decay_spares_biases_and_normalisation() -> None:
    config = FitConfig(task=["a"], weight_decay=0.1)
    model = build_training_model(config, roles=["task"])
    groups = build_optimiser(config, model).param_groups
    decayed, spared = groups
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    assert all(p.ndim == 1 for p in spared["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))
