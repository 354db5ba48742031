"""The three losses composed: what a batch can give, what it cannot, and what is switched off."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from loddis_trainer.losses.branches import ALL_LOSSES, BranchLosses, LoddisBranches
from loddis_trainer.losses.projections import Pooling
from loddis_trainer.models import build_detector

STRIDE = 8
BOX = (10.0, 10.0, 14.0, 13.0)


def _fused(n: int, *, seed: int = 0) -> Tensor:
    return torch.randn(n, 8, 6, 5, generator=torch.Generator().manual_seed(seed))


def _branches(seed: int = 0, **options: object) -> LoddisBranches:
    torch.manual_seed(seed)
    return LoddisBranches(8, **({"num_domains": 2, "embed_channels": 6} | options))  # type: ignore[arg-type]


def _boxes(*targets_of_each: int) -> list[Tensor]:
    return [torch.tensor([BOX] * targets).reshape(-1, 4) for targets in targets_of_each]


def _sum(losses: BranchLosses) -> Tensor:
    assert losses.correlation is not None
    assert losses.confusion is not None
    assert losses.consistency is not None
    return losses.correlation + losses.confusion + losses.consistency


@pytest.mark.parametrize("pooling", ["gap", "boxes"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("domains", [[0, 1, 0, 1, 1], [0, 1, 2, 2, 1]])
def test_a_mixed_batch_gives_all_three_and_every_parameter_a_gradient(
    pooling: Pooling, kernel: str, domains: list[int]
) -> None:
    branches = _branches(num_domains=max(domains) + 1, pooling=pooling, kernel=kernel)
    fused = _fused(5).requires_grad_()
    out = branches(fused, torch.tensor(domains), _boxes(1, 2, 1, 3, 1), stride=STRIDE)
    assert out.skipped == ()
    _sum(out).backward()  # type: ignore[no-untyped-call]
    assert out.domain_accuracy is not None
    assert 0 <= float(out.domain_accuracy) <= 1
    for name, parameter in [*branches.named_parameters(), ("fused", fused)]:
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_a_batch_of_one_domain_gives_what_it_can_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    branches = _branches()
    with caplog.at_level(logging.WARNING, logger="loddis_trainer"):
        for _ in range(3):
            out = branches(_fused(4), torch.tensor([1, 1, 1, 1]), _boxes(1, 1, 1, 1), stride=STRIDE)
    assert out.correlation is not None
    assert out.confusion is None
    assert out.consistency is None
    assert out.domain_accuracy is None
    assert [reason.split()[:2] for reason in out.skipped] == [["domain", "confusing"], ["target", "consistency"]]
    assert len(caplog.records) == 2


@pytest.mark.parametrize("pooling", ["gap", "boxes"])
@pytest.mark.parametrize(("domains", "given"), [([0], ()), ([0, 1], ("confusion", "consistency"))])
def test_batches_too_small_for_statistics(pooling: Pooling, domains: list[int], given: tuple[str, ...]) -> None:
    n = len(domains)
    out = _branches(pooling=pooling)(_fused(n), torch.tensor(domains), _boxes(*[1] * n), stride=STRIDE)
    assert tuple(name for name in sorted(ALL_LOSSES) if getattr(out, name) is not None) == given
    assert len(out.skipped) == 3 - len(given)


def test_an_image_without_targets_lends_its_background_but_has_no_target_feature() -> None:
    branches = _branches(pooling="boxes")
    domains, boxes = torch.tensor([0, 1, 0, 1, 1]), _boxes(1, 1, 1, 1, 0)
    fused = _fused(5)
    out = branches(fused, domains, boxes, stride=STRIDE)
    without = branches(fused[:4], domains[:4], boxes[:4], stride=STRIDE)
    for name in sorted(ALL_LOSSES):
        torch.testing.assert_close(getattr(out, name), getattr(without, name))

    fused.requires_grad_()
    only_donor = branches(fused, torch.tensor([1, 1, 1, 1, 0]), boxes, stride=STRIDE)
    assert only_donor.confusion is None  # target features of one domain only
    assert only_donor.consistency is not None  # but one of them stands before the other domain's background
    (grad,) = torch.autograd.grad(only_donor.consistency, fused)
    assert float(grad[4].abs().sum()) > 0


def test_samples_that_keep_their_background_do_not_count_where_only_swapped_ones_do() -> None:
    every, swapped = _branches(), _branches(contrast="swapped")
    swapped.load_state_dict(every.state_dict())

    def losses(*domains: int) -> list[float]:
        given = (_fused(6), torch.tensor(domains), _boxes(1, 1, 1, 1, 1, 1))
        found = [branches(*given, stride=STRIDE).consistency for branches in (every, swapped)]
        return [float(loss.detach()) for loss in found if loss is not None]

    of_all, of_swapped = losses(0, 1, 0, 1, 0, 1)  # all swap
    assert of_swapped == pytest.approx(of_all, rel=1e-6)
    of_all, of_swapped = losses(0, 1, 0, 0, 0, 0)  # two of six do
    assert 0 < of_swapped < 0.6 * of_all


def test_a_batch_of_one_domain_has_nothing_to_overlook(caplog: pytest.LogCaptureFixture) -> None:
    """As in the second half of a training that ends on the task alone."""
    given = (_fused(4), torch.tensor([0, 0, 0, 0]), _boxes(1, 1, 1, 1))
    assert _branches()(*given, stride=STRIDE).correlation is not None  # as the paper has it
    caplog.clear()
    out = _branches(contrast="swapped")(*given, stride=STRIDE)
    assert (out.correlation, out.confusion, out.consistency, out.skipped) == (None, None, None, ())
    assert not caplog.records


def test_a_batch_without_targets_skips_everything_where_boxes_are_pooled_and_nothing_where_maps_are() -> None:
    domains = torch.tensor([0, 1, 0, 1])
    by_boxes = _branches(pooling="boxes")(_fused(4), domains, _boxes(0, 0, 0, 0), stride=STRIDE)
    assert (by_boxes.correlation, by_boxes.confusion, by_boxes.consistency) == (None, None, None)
    assert len(by_boxes.skipped) == 3
    assert _branches(pooling="gap")(_fused(4), domains, _boxes(0, 0, 0, 0), stride=STRIDE).skipped == ()


@pytest.mark.parametrize("name", sorted(ALL_LOSSES))
def test_a_loss_alone_is_the_same_loss_and_the_others_are_not_built(name: str) -> None:
    domains, boxes = torch.tensor([0, 1, 0, 1]), _boxes(1, 1, 1, 1)
    every, alone = _branches(), _branches(enabled=frozenset({name}))
    wanted = alone.state_dict()
    alone.load_state_dict({key: value for key, value in every.state_dict().items() if key in wanted})
    out = alone(_fused(4), domains, boxes, stride=STRIDE)
    torch.testing.assert_close(getattr(out, name), getattr(every(_fused(4), domains, boxes, stride=STRIDE), name))
    assert [other for other in sorted(ALL_LOSSES) if getattr(out, other) is not None] == [name]
    assert out.skipped == ()
    assert any("background" in key for key in wanted) == (name != "confusion")
    assert any("classifier" in key for key in wanted) == (name == "confusion")


def test_reversal_strength_can_be_set_before_every_step() -> None:
    branches = _branches(enabled=frozenset({"confusion"}), reversal_strength=1.0)
    fused = _fused(4).requires_grad_()

    def gradient() -> Tensor:
        out = branches(fused, torch.tensor([0, 1, 0, 1]), _boxes(1, 1, 1, 1), stride=STRIDE)
        assert out.confusion is not None
        return torch.autograd.grad(out.confusion, fused)[0]

    whole = gradient()
    branches.reversal_strength = 0.25
    torch.testing.assert_close(gradient(), 0.25 * whole)
    branches.reversal_strength = 0
    assert float(gradient().abs().sum()) == 0
    with pytest.raises(ValueError, match="reversal_strength must be finite and at least 0, got -1"):
        branches.reversal_strength = -1


@pytest.mark.parametrize("pooling", ["gap", "boxes"])
def test_gradients_on_the_fused_map_are_those_of_the_value(pooling: Pooling) -> None:
    branches = _branches(pooling=pooling, enabled=frozenset({"correlation", "consistency"})).double()
    fused = _fused(4)[:, :, :2, :2].double().requires_grad_()
    boxes = [torch.tensor([[2.0, 2.0, 7.0, 7.0]])] * 4

    def losses(fused: Tensor) -> tuple[Tensor, Tensor]:
        out = branches(fused, torch.tensor([0, 1, 0, 1]), boxes, stride=STRIDE)
        assert out.correlation is not None
        assert out.consistency is not None
        return out.correlation, out.consistency

    assert torch.autograd.gradcheck(losses, (fused,))


@pytest.mark.parametrize("pooling", ["gap", "boxes"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_stay_float32_and_close_under_autocast(pooling: Pooling, dtype: torch.dtype) -> None:
    branches = _branches(pooling=pooling)
    domains, boxes = torch.tensor([0, 1, 0, 1, 1, 0]), _boxes(1, 1, 1, 1, 2, 1)
    exact = branches(_fused(6), domains, boxes, stride=STRIDE)
    fused = _fused(6).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype):
        out = branches(fused, domains, boxes, stride=STRIDE)
    for name in sorted(ALL_LOSSES):
        assert getattr(out, name).dtype == torch.float32
        torch.testing.assert_close(getattr(out, name), getattr(exact, name), atol=0.03, rtol=0.05)
    _sum(out).backward()  # type: ignore[no-untyped-call]
    assert fused.grad is not None
    assert bool(torch.isfinite(fused.grad).all())


def test_a_map_of_zeros_gives_finite_losses_and_gradients() -> None:
    branches, fused = _branches(), torch.zeros(4, 8, 6, 5, requires_grad=True)
    total = _sum(branches(fused, torch.tensor([0, 1, 0, 1]), _boxes(1, 1, 1, 1), stride=STRIDE))
    total.backward()  # type: ignore[no-untyped-call]
    assert bool(torch.isfinite(total.detach()))
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in [*branches.parameters(), fused])


@pytest.mark.parametrize("pooling", ["gap", "boxes"])
def test_the_branches_cost_a_small_share_of_a_training_step(pooling: Pooling) -> None:
    detector = build_detector("nano")
    branches = LoddisBranches(detector.fused_channels, num_domains=2, pooling=pooling)
    frames = torch.rand(4, 1, 64, 64)

    def flops(*, with_branches: bool) -> int:
        with FlopCounterMode(display=False) as counter:
            fused = detector.fuse(frames)
            raw = detector.predict(fused)
            total = raw.objectness.sum() + raw.classes.sum() + raw.offsets.sum()
            if with_branches:
                total = total + _sum(branches(fused, torch.tensor([0, 1, 0, 1]), _boxes(1, 1, 1, 1), stride=STRIDE))
            total.backward()  # type: ignore[no-untyped-call]
        return int(counter.get_total_flops())

    assert flops(with_branches=True) < 1.05 * flops(with_branches=False)


def test_batches_that_do_not_fit_are_named() -> None:
    branches = _branches()
    with pytest.raises(ValueError, match=r"domain_ids must be \(4,\) integers, got \(3,\)"):
        branches(_fused(4), torch.tensor([0, 1, 0]), _boxes(1, 1, 1, 1), stride=STRIDE)
    with pytest.raises(ValueError, match=r"domain_ids must be \(4,\) integers, got \(4,\) torch.float32"):
        branches(_fused(4), torch.zeros(4), _boxes(1, 1, 1, 1), stride=STRIDE)
    with pytest.raises(ValueError, match=r"domain_ids must lie in \[0, 2\), got \[0, 1, 2\]"):
        branches(_fused(4), torch.tensor([0, 1, 2, 0]), _boxes(1, 1, 1, 1), stride=STRIDE)
    with pytest.raises(ValueError, match="one tensor for each of 4 samples, got 2"):
        branches(_fused(4), torch.tensor([0, 1, 1, 0]), _boxes(1, 1), stride=STRIDE)


def test_options_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="contrast must be one of all, swapped, got 'some'"):
        _branches(contrast="some")
    with pytest.raises(ValueError, match="num_domains must be at least 2, got 1"):
        _branches(num_domains=1)
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        _branches(temperature=0)
    with pytest.raises(ValueError, match="kernel must be one of linear, rbf, got 'cosine'"):
        _branches(kernel="cosine")
    with pytest.raises(ValueError, match="enabled must be some of"):
        _branches(enabled=frozenset())
    with pytest.raises(ValueError, match=r"enabled must be some of .* got .*'detection'"):
        _branches(enabled=frozenset({"detection"}))
