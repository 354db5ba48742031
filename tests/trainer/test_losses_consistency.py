"""The background swap of equation 13 and the contrastive loss of equation 14."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from loddis_trainer.losses.consistency import info_nce, swap_indices


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _equation_13(domains: list[int]) -> list[int]:
    first = [i for i, d in enumerate(domains) if d == 0]
    second = [i for i, d in enumerate(domains) if d == 1]
    k = min(len(first), len(second))
    partner = list(range(len(domains)))
    for j in range(k):
        partner[first[j]], partner[second[j]] = second[j], first[j]
    return partner


def test_the_swap_of_two_domains_on_a_hand_made_batch() -> None:
    domains = torch.tensor([1, 0, 0, 1, 0, 0, 1])
    # I_0 = 1 2 4 5, I_1 = 0 3 6, k = 3: 1 and 0, 2 and 3, 4 and 6 exchange; 5 keeps its own
    assert swap_indices(domains).tolist() == [1, 0, 3, 2, 6, 5, 4]


def test_the_swap_of_three_domains_on_hand_made_batches() -> None:
    # 0: samples 0 3, 1: samples 1 5, 2: samples 2 4; every one hands its background on to the domain before it
    assert swap_indices(torch.tensor([0, 1, 2, 0, 2, 1])).tolist() == [1, 2, 0, 5, 3, 4]
    # an odd batch, one of each: no pairing could serve all three, a cycle does
    assert swap_indices(torch.tensor([2, 0, 1])).tolist() == [1, 2, 0]
    # domain 1 holds more than half: only its first two samples swap, as there are two others
    assert swap_indices(torch.tensor([1, 1, 0, 1, 2, 1, 1])).tolist() == [4, 2, 1, 3, 0, 5, 6]


@given(st.lists(st.integers(0, 1), max_size=256))
def test_two_domains_follow_equation_13_to_the_letter(domains: list[int]) -> None:
    assert swap_indices(torch.tensor(domains, dtype=torch.long)).tolist() == _equation_13(domains)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=64))
def test_every_swap_crosses_domains_and_no_sample_is_left_out_that_could_swap(domains: list[int]) -> None:
    partner = swap_indices(torch.tensor(domains)).tolist()
    assert sorted(partner) == list(range(len(domains)))  # each background goes to one sample
    moved = [i for i, p in enumerate(partner) if p != i]
    assert all(domains[i] != domains[partner[i]] for i in moved)
    largest = max(domains.count(d) for d in domains)
    assert len(moved) == min(len(domains), 2 * (len(domains) - largest))
    if len(set(domains)) == 2:
        assert all(partner[partner[i]] == i for i in moved)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_the_number_of_swaps_is_the_best_that_any_permutation_reaches(domains: list[int]) -> None:
    n = len(domains)
    best = max(
        sum(p != i for i, p in enumerate(order))
        for order in permutations(range(n))
        if all(p == i or domains[p] != domains[i] for i, p in enumerate(order))
    )
    partner = swap_indices(torch.tensor(domains)).tolist()
    assert sum(p != i for i, p in enumerate(partner)) == best


def test_domain_numbers_are_only_names() -> None:
    small, large = torch.tensor([0, 1, 2, 2, 1]), torch.tensor([3, 40, 41, 41, 40])
    assert torch.equal(swap_indices(small), swap_indices(large))
    assert torch.equal(swap_indices(small), swap_indices(small.to(torch.int32)))


@pytest.mark.parametrize("n", [0, 1, 5])
def test_one_domain_swaps_nothing(n: int) -> None:
    assert swap_indices(torch.full((n,), 3)).tolist() == list(range(n))


def test_domains_that_are_no_integers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"domain_ids must be \(n,\) integers, got \(2, 1\)"):
        swap_indices(torch.zeros(2, 1, dtype=torch.long))
    with pytest.raises(ValueError, match=r"got \(3,\) torch.float32"):
        swap_indices(torch.zeros(3))


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_info_nce_equals_equation_14_in_numpy(temperature: float) -> None:
    z, z_hat = _normal(6, 4).numpy(), _normal(6, 4, seed=1).numpy()
    total = 0.0
    for i in range(6):
        scores = [
            np.exp(z[i] @ z_hat[j] / np.linalg.norm(z[i]) / np.linalg.norm(z_hat[j]) / temperature) for j in range(6)
        ]
        total -= np.log(scores[i] / np.sum(scores)) / 6
    got = info_nce(torch.from_numpy(z), torch.from_numpy(z_hat), temperature=temperature)
    assert float(got) == pytest.approx(total, rel=1e-9)


def test_info_nce_of_known_cases() -> None:
    same = torch.ones(5, 3, dtype=torch.float64)
    assert float(info_nce(same, same)) == pytest.approx(math.log(5))  # candidates that look alike
    basis = torch.eye(5, dtype=torch.float64)
    assert float(info_nce(basis, 7 * basis, temperature=0.2)) == pytest.approx(math.log(1 + 4 * math.exp(-5)))
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert float(info_nce(opposite, opposite, temperature=0.5)) == pytest.approx(
        math.log(1 + math.exp(-4))
    )  # the least
    assert float(info_nce(basis[:1], basis[1:2])) == 0


def test_samples_that_do_not_count_are_candidates_all_the_same() -> None:
    z, z_hat = _normal(5, 3), _normal(5, 3, seed=1)
    each = [float(info_nce(z, z_hat, counted=torch.arange(5) == i)) for i in range(5)]
    assert sum(each) == pytest.approx(float(info_nce(z, z_hat)), rel=1e-12)
    counted = torch.tensor([True, False, False, True, False])
    assert float(info_nce(z, z_hat, counted=counted)) == pytest.approx(each[0] + each[3], rel=1e-12)
    alone = float(info_nce(z[counted], z_hat[counted])) * 2 / 5
    assert each[0] + each[3] > alone  # among two it is easier


def test_info_nce_follows_pairs_not_places() -> None:
    z, z_hat = _normal(6, 4), _normal(6, 4, seed=1)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    value = float(info_nce(z, z_hat))
    assert float(info_nce(z[order], z_hat[order])) == pytest.approx(value, rel=1e-12)
    assert float(info_nce(z, z_hat[order])) != pytest.approx(value, rel=1e-3)
    assert float(info_nce(3 * z, 0.1 * z_hat)) == pytest.approx(value, rel=1e-6)  # cosines know no length


def test_info_nce_rewards_telling_targets_apart() -> None:
    z = _normal(8, 16)
    assert float(info_nce(z, z)) < float(info_nce(z, z + 2 * _normal(8, 16, seed=1))) < float(info_nce(z, -z))


def test_gradients_are_those_of_the_value() -> None:
    z, z_hat = _normal(5, 3).requires_grad_(), _normal(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z, z_hat: info_nce(z, z_hat), (z, z_hat))


def test_zero_vectors_give_finite_gradients() -> None:
    z, z_hat = torch.zeros(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    info_nce(z, z_hat).backward()  # type: ignore[no-untyped-call]
    for grad in (z.grad, z_hat.grad):
        assert grad is not None
        assert bool(torch.isfinite(grad).all())


def test_half_precision_inputs_are_computed_in_float32_under_autocast() -> None:
    z, z_hat = _normal(8, 16).bfloat16(), _normal(8, 16, seed=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = info_nce(z, z_hat)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(info_nce(z.double(), z_hat.double())), rel=1e-5)


def test_shapes_that_do_not_fit_and_cold_temperatures_are_refused() -> None:
    for shapes in (((4, 3), (4, 2)), ((4,), (4,)), ((0, 3), (0, 3))):
        with pytest.raises(ValueError, match=r"z and z_hat must both be \(n, c\), got"):
            info_nce(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
    for counted in (torch.ones(3, dtype=torch.bool), torch.ones(2)):
        with pytest.raises(ValueError, match=r"counted must be \(2,\) bool, got"):
            info_nce(torch.ones(2, 3), torch.ones(2, 3), counted=counted)
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="temperature must be above 0"):
            info_nce(torch.ones(2, 3), torch.ones(2, 3), temperature=temperature)
