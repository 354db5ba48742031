"""Gradient reversal, and the domain classifier behind it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from loddis_trainer.losses.confusion import DomainConfusion, mutual_information_loss
from loddis_trainer.losses.numerics import standardise
from loddis_trainer.losses.reversal import reverse_gradient


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_reversal_is_the_identity_forward(dtype: torch.dtype) -> None:
    x = _normal(2, 3, 4).to(dtype)
    out = reverse_gradient(x, strength=0.7)
    assert out.dtype == dtype
    assert torch.equal(out, x)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 2.5])
def test_reversal_turns_and_scales_the_gradient(strength: float) -> None:
    x = _normal(4, 3).requires_grad_()
    plain = torch.autograd.grad(x.sin().square().sum(), x)[0]
    turned = torch.autograd.grad(reverse_gradient(x, strength=strength).sin().square().sum(), x)[0]
    torch.testing.assert_close(turned, -strength * plain, rtol=0, atol=1e-15)


def test_two_reversals_of_strength_one_cancel_as_a_gradient_check_sees() -> None:
    x = _normal(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: reverse_gradient(reverse_gradient(x)).sin(), (x,))
    assert torch.autograd.gradgradcheck(lambda x: reverse_gradient(reverse_gradient(x)).sin(), (x,))


def test_reversal_can_be_differentiated_twice() -> None:
    x = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(reverse_gradient(x, strength=2.0) ** 3, x, create_graph=True)
    assert float(first.detach()) == pytest.approx(-2 * 3 * 0.8**2)
    (second,) = torch.autograd.grad(first, x)
    assert float(second) == pytest.approx((-2) ** 2 * 6 * 0.8)  # the second pass goes through the reversal again


def test_reversal_works_inside_autocast() -> None:
    x, weight = torch.randn(4, 3, requires_grad=True), torch.randn(3, 2)
    with torch.autocast("cpu", torch.bfloat16):
        plain = (x @ weight).float().sum()
        turned = (reverse_gradient(x, strength=0.5) @ weight).float().sum()
    expected = -0.5 * torch.autograd.grad(plain, x)[0]
    torch.testing.assert_close(torch.autograd.grad(turned, x)[0], expected)


@pytest.mark.parametrize("strength", [-0.1, math.nan, math.inf])
def test_a_strength_that_would_not_reverse_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength must be finite and at least 0"):
        reverse_gradient(torch.zeros(1), strength=strength)


@pytest.mark.parametrize("m", [2, 3, 5])
def test_mutual_information_loss_is_the_mean_of_minus_log_q(m: int) -> None:
    logits, domains = _normal(7, m), torch.arange(7) % m
    expected = -sum(math.log(float(logits[i].exp()[domains[i]] / logits[i].exp().sum())) for i in range(7)) / 7
    assert float(mutual_information_loss(logits, domains)) == pytest.approx(expected, rel=1e-12)
    assert float(mutual_information_loss(torch.zeros(7, m), domains)) == pytest.approx(math.log(m))
    assert torch.autograd.gradcheck(lambda x: mutual_information_loss(x, domains), (logits.requires_grad_(),))


def test_one_backward_pass_trains_the_classifier_and_turns_the_features() -> None:
    torch.manual_seed(0)
    confuse = DomainConfusion(4, num_domains=3).double()
    z, domains = _normal(6, 4).requires_grad_(), torch.tensor([0, 1, 2, 0, 1, 2])
    plain = mutual_information_loss(confuse.classifier(standardise(z)), domains)
    of_plain = torch.autograd.grad(plain, [z, *confuse.parameters()])
    out = confuse(z, domains, strength=0.5)
    of_reversed = torch.autograd.grad(out.loss, [z, *confuse.parameters()])
    torch.testing.assert_close(out.loss, plain)
    torch.testing.assert_close(of_reversed[0], -0.5 * of_plain[0])
    for turned, straight in zip(of_reversed[1:], of_plain[1:], strict=True):
        torch.testing.assert_close(turned, straight)


def test_accuracy_counts_the_domains_named_rightly() -> None:
    confuse = DomainConfusion(2, num_domains=2)
    answer_with_the_larger_feature = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        answer_with_the_larger_feature.weight.copy_(torch.eye(2))
    confuse.classifier = torch.nn.Sequential(answer_with_the_larger_feature)
    z = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    out = confuse(z, torch.tensor([0, 1, 1, 1]), strength=1.0)
    assert float(out.accuracy) == 0.75
    assert not out.accuracy.requires_grad


def test_features_cannot_raise_the_loss_by_growing() -> None:
    torch.manual_seed(0)
    confuse = DomainConfusion(4, num_domains=2).double()
    z, domains = _normal(6, 4).requires_grad_(), torch.tensor([0, 1] * 3)
    small, large = confuse(z, domains, strength=1.0).loss, confuse(1000 * z + 5, domains, strength=1.0).loss
    assert float(large.detach()) == pytest.approx(float(small.detach()), rel=1e-9)
    along_z = (torch.autograd.grad(small, z)[0] * (z - z.mean(0))).sum()
    assert float(along_z.detach()) == pytest.approx(0, abs=1e-9)


def test_half_precision_features_are_classified_in_float32() -> None:
    confuse = DomainConfusion(4, num_domains=2)
    with torch.autocast("cpu", torch.bfloat16):
        out = confuse(torch.randn(6, 4).bfloat16(), torch.tensor([0, 1] * 3), strength=1.0)
    assert out.loss.dtype == torch.float32


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"logits must be \(n, m\) and domain_ids \(n,\), got \(4, 2\) and \(3,\)"):
        mutual_information_loss(torch.zeros(4, 2), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="logits must be"):
        mutual_information_loss(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="at least 2, got 1"):
        mutual_information_loss(torch.zeros(4, 1), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="num_domains must be at least 2, got 1"):
        DomainConfusion(4, num_domains=1)
    with pytest.raises(ValueError, match=r"z must be \(n, 4\) with n at least 2, got \(3, 5\)"):
        DomainConfusion(4, num_domains=2)(torch.zeros(3, 5), torch.zeros(3, dtype=torch.long), strength=1.0)
