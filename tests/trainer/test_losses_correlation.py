"""Correlation weakening against its definition, and its invariances."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loddis_trainer.losses.correlation import Kernel, correlation_weakening_loss, hsic
from loddis_trainer.losses.numerics import standardise

KERNELS: tuple[Kernel, ...] = ("linear", "rbf")


def _normal(n: int, c: int, *, seed: int = 0) -> Tensor:
    return torch.randn(n, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _rotation(c: int, *, seed: int = 0) -> Tensor:
    rotation: Tensor = torch.linalg.qr(_normal(c, c, seed=seed))[0]
    return rotation


def test_linear_equals_the_double_sum_of_equation_4() -> None:
    z, b = _normal(7, 3), _normal(7, 5, seed=1) + 0.4
    total = 0.0
    for i in range(7):
        for j in range(7):
            total += float((z[i] - z.mean(0)) @ (z[j] - z.mean(0))) * float((b[i] - b.mean(0)) @ (b[j] - b.mean(0)))
    assert float(hsic(z, b)) == pytest.approx(total / 6**2, rel=1e-12)


def test_linear_is_the_squared_norm_of_the_covariance_of_equation_3() -> None:
    z, b = _normal(9, 4), _normal(9, 2, seed=1)
    covariance = (z - z.mean(0)).T @ (b - b.mean(0)) / 8
    assert float(hsic(z, b)) == pytest.approx(float(covariance.square().sum()), rel=1e-12)


def test_rbf_equals_the_trace_with_explicit_matrices() -> None:
    z, b = _normal(8, 3), _normal(8, 4, seed=1)
    centring = torch.eye(8, dtype=torch.float64) - 1 / 8

    def matrix(x: Tensor) -> Tensor:
        squared = torch.tensor([[float((p - q).square().sum()) for q in x] for p in x], dtype=torch.float64)
        pairs = sorted(float(squared[i, j]) for i in range(8) for j in range(i))
        return torch.exp(-squared / pairs[(len(pairs) - 1) // 2])

    expected = torch.trace(matrix(z) @ centring @ matrix(b) @ centring) / 7**2
    assert float(hsic(z, b, kernel="rbf")) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
def test_hsic_of_independent_samples_falls_as_one_over_n(kernel: Kernel) -> None:
    def average(n: int) -> float:
        draws = [hsic(_normal(n, 2, seed=s), _normal(n, 2, seed=1000 + s), kernel=kernel) for s in range(60)]
        return float(torch.stack(draws).mean())

    at_20, at_80, at_320 = average(20), average(80), average(320)
    assert at_20 / at_80 == pytest.approx(4, rel=0.35)
    assert at_80 / at_320 == pytest.approx(4, rel=0.35)


@pytest.mark.parametrize("kernel", KERNELS)
def test_dependent_samples_stand_out_however_many_there_are(kernel: Kernel) -> None:
    for n in (32, 256):
        z = _normal(n, 4)
        dependent = float(hsic(z, z + 0.1 * _normal(n, 4, seed=1), kernel=kernel))
        independent = float(hsic(z, _normal(n, 4, seed=2), kernel=kernel))
        assert dependent > 3 * independent


def test_rbf_sees_dependence_without_correlation() -> None:
    z = _normal(400, 1)
    b = z.square() - 1

    def share_of_shuffles_below(kernel: Kernel) -> float:
        real = float(correlation_weakening_loss(z, b, kernel=kernel))
        shuffled = [
            float(
                correlation_weakening_loss(
                    z, b[torch.randperm(400, generator=torch.Generator().manual_seed(s))], kernel=kernel
                )
            )
            for s in range(50)
        ]
        return real / max(shuffled)

    assert share_of_shuffles_below("rbf") > 3
    assert float(correlation_weakening_loss(z, b, kernel="linear")) < 0.02


@pytest.mark.parametrize("kernel", KERNELS)
def test_hsic_is_symmetric_and_unmoved_by_rotation_and_translation(kernel: Kernel) -> None:
    z, b = _normal(12, 5), _normal(12, 3, seed=1) + 0.3 * _normal(12, 5)[:, :3]
    value = float(hsic(z, b, kernel=kernel))
    assert float(hsic(b, z, kernel=kernel)) == pytest.approx(value, rel=1e-10)
    assert float(hsic(z @ _rotation(5) + 3.0, b @ _rotation(3, seed=1) - 2.0, kernel=kernel)) == pytest.approx(
        value, rel=1e-9
    )


def test_scaling_counts_squared_for_the_linear_kernel_and_not_at_all_for_rbf() -> None:
    z, b = _normal(12, 5), _normal(12, 3, seed=1)
    assert float(hsic(3 * z, b)) == pytest.approx(9 * float(hsic(z, b)), rel=1e-10)
    assert float(hsic(3 * z, b, kernel="rbf")) == pytest.approx(float(hsic(z, b, kernel="rbf")), rel=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_loss_cannot_be_lowered_by_shrinking_features(kernel: Kernel) -> None:
    z = _normal(16, 6)
    b = z[:, :4] + 0.5 * _normal(16, 4, seed=1)
    value = float(correlation_weakening_loss(z, b, kernel=kernel))
    assert float(correlation_weakening_loss(1e-4 * z, 1e-3 * b, kernel=kernel)) == pytest.approx(value, rel=1e-5)
    per_feature = torch.tensor([0.2, 1.0, 3.0, 1.0, 0.3, 2.0], dtype=torch.float64)
    assert float(correlation_weakening_loss(z * per_feature, b, kernel=kernel)) == pytest.approx(value, rel=1e-2)


def test_the_linear_loss_is_the_mean_squared_correlation_coefficient() -> None:
    z, b = _normal(20, 3), _normal(20, 2, seed=1)
    coefficients = torch.corrcoef(torch.cat((z, b), dim=1).T)[:3, 3:]
    assert float(correlation_weakening_loss(z, b)) == pytest.approx(float(coefficients.square().mean()), rel=1e-4)
    assert float(correlation_weakening_loss(z[:, :1], -2 * z[:, :1])) == pytest.approx(1, rel=1e-4)


def test_independent_samples_give_the_documented_floor() -> None:
    draws = [correlation_weakening_loss(_normal(9, 4, seed=s), _normal(9, 4, seed=500 + s)) for s in range(200)]
    assert float(torch.stack(draws).mean()) == pytest.approx(1 / 8, rel=0.05)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_are_those_of_the_value(kernel: Kernel) -> None:
    z, b = _normal(6, 3).requires_grad_(), _normal(6, 2, seed=1).requires_grad_()
    if kernel == "rbf":  # the bandwidth carries no gradient on purpose, so it is left out of the numerical one too
        unit = torch.tensor([[0.0], [1.0], [2.0], [2.0], [2.0], [3.0]], dtype=torch.float64)
        analytic = torch.autograd.grad(hsic(z, unit, kernel="rbf"), z)[0]
        squared = torch.cdist(z.detach(), z.detach()).square()
        pairs = squared[tuple(torch.triu_indices(6, 6, offset=1))]
        width = pairs.median()

        def fixed_width(x: Tensor) -> Tensor:
            distances = (x[:, None] - x[None]).square().sum(-1)
            centring = torch.eye(6, dtype=torch.float64) - 1 / 6
            unit_distances = (unit[:, None] - unit[None]).square().sum(-1)
            unit_width = unit_distances[tuple(torch.triu_indices(6, 6, offset=1))].median()
            return (
                torch.trace(
                    torch.exp(-distances / width) @ centring @ torch.exp(-unit_distances / unit_width) @ centring
                )
                / 25
            )

        assert torch.autograd.gradcheck(fixed_width, (z,))
        torch.testing.assert_close(analytic, torch.autograd.grad(fixed_width(z), z)[0])
    else:
        assert torch.autograd.gradcheck(lambda z, b: hsic(z, b), (z, b))
        assert torch.autograd.gradcheck(lambda z, b: correlation_weakening_loss(z, b), (z, b))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("fill", [0.0, 5.0])
def test_features_that_died_give_zero_and_finite_gradients(kernel: Kernel, fill: float) -> None:
    z, b = torch.full((5, 4), fill, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    loss = correlation_weakening_loss(z, b, kernel=kernel)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    for grad in (z.grad, b.grad):
        assert grad is not None
        assert bool(torch.isfinite(grad).all())


def test_one_dead_feature_among_live_ones_keeps_gradients_small() -> None:
    z = _normal(8, 4)
    z[:, 2] = 1e-12 * _normal(8, 1, seed=3)[:, 0]
    z.requires_grad_()
    grad = torch.autograd.grad(correlation_weakening_loss(z, _normal(8, 4, seed=1)), z)[0]
    assert float(grad.abs().max()) < 100


def test_standardised_features_have_mean_zero_and_variance_one() -> None:
    x = standardise(_normal(30, 4) * torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64) + 7)
    torch.testing.assert_close(x.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(x.var(0), torch.ones(4, dtype=torch.float64), atol=1e-3, rtol=0)


def test_a_large_mean_does_not_eat_the_digits_of_float32() -> None:
    z, b = _normal(16, 4), _normal(16, 4, seed=1)
    shifted = hsic(z.float() + 1000, b.float())
    assert float(shifted) == pytest.approx(float(hsic(z, b)), rel=1e-2)


@pytest.mark.parametrize("kernel", KERNELS)
def test_half_precision_inputs_are_computed_in_float32_under_autocast(kernel: Kernel) -> None:
    z, b = _normal(16, 8).bfloat16(), _normal(16, 8, seed=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = correlation_weakening_loss(z, b, kernel=kernel)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(
        float(correlation_weakening_loss(z.double(), b.double(), kernel=kernel)), rel=1e-4
    )


@pytest.mark.parametrize(("z_shape", "b_shape"), [((4, 3, 1), (4, 3)), ((4, 3), (5, 3)), ((3,), (3,))])
def test_shapes_that_do_not_fit_are_named(z_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"z must be \(n, c\) and b \(n, c'\), got"):
        hsic(torch.zeros(z_shape), torch.zeros(b_shape))


def test_too_few_samples_and_unknown_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        hsic(torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="at least 3 samples, got 2"):
        correlation_weakening_loss(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="kernel must be one of linear, rbf, got 'cosine'"):
        hsic(torch.zeros(4, 3), torch.zeros(4, 3), kernel="cosine")  # type: ignore[arg-type]
