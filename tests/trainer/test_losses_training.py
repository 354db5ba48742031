"""Whether training with the losses of the method does what they are for, on toy data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from loddis_trainer.losses.branches import LoddisBranches
from loddis_trainer.losses.confusion import DomainConfusion
from loddis_trainer.losses.consistency import swap_indices
from loddis_trainer.losses.correlation import correlation_weakening_loss


def _toy(n: int, *, num_domains: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Give inputs ``(n, 8)`` with a task feature and a domain code mixed into all of them, labels, and domains."""
    labels = torch.randint(0, 2, (n,), generator=generator)
    domains = torch.randint(0, num_domains, (n,), generator=generator)
    parts = 0.5 * torch.randn(n, 8, generator=generator)
    parts[:, 0] += 2 * labels - 1
    parts[:, 1:num_domains] += 1.5 * one_hot(domains, num_domains)[:, 1:]
    return parts @ torch.randn(8, 8, generator=torch.Generator().manual_seed(7)), labels, domains


def _probe_accuracy(features: Tensor, domains: Tensor, *, num_domains: int) -> float:
    """Give the domain accuracy of a fresh linear classifier, trained on one half and asked about the other."""
    features = (features - features.mean(0)) / (features.std(0) + 1e-6)
    half = len(features) // 2
    probe = nn.Linear(features.shape[1], num_domains)
    optimiser = torch.optim.Adam(probe.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        cross_entropy(probe(features[:half]), domains[:half]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return float((probe(features[half:]).argmax(1) == domains[half:]).float().mean())


@pytest.mark.parametrize("num_domains", [2, 3])
def test_the_reversal_hides_the_domain_while_the_task_is_learnt(num_domains: int) -> None:
    def train(strength: float) -> tuple[float, float, float]:
        torch.manual_seed(0)
        draw = torch.Generator().manual_seed(1)
        extractor, task = nn.Linear(8, 4), nn.Linear(4, 2)
        confuse = DomainConfusion(4, num_domains=num_domains, hidden_channels=16)
        theta, phi = [*extractor.parameters(), *task.parameters()], confuse.parameters()
        optimiser = torch.optim.Adam([{"params": theta, "lr": 3e-3}, {"params": phi, "lr": 2e-2}])
        losses = []
        for step in range(400):
            optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / 400)
            x, labels, domains = _toy(64, num_domains=num_domains, generator=draw)
            z = extractor(x)
            task_loss = cross_entropy(task(z), labels)
            optimiser.zero_grad()
            (task_loss + confuse(z, domains, strength=strength).loss).backward()
            optimiser.step()
            losses.append(float(task_loss.detach()))
        x, _, domains = _toy(2000, num_domains=num_domains, generator=draw)
        with torch.no_grad():
            z = extractor(x)
        return losses[0], sum(losses[-20:]) / 20, _probe_accuracy(z, domains, num_domains=num_domains)

    chance = 1 / num_domains
    _, _, seen = train(0.0)
    first, last, confused = train(1.0)
    assert seen > chance + 0.25
    assert confused - chance < 0.5 * (seen - chance)
    assert last < 0.35 * first


def test_correlation_weakening_makes_features_independent() -> None:
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(1)
    to_z, to_b = nn.Linear(8, 4), nn.Linear(8, 4)
    x = torch.randn(512, 8, generator=draw)

    def correlation() -> float:
        both = torch.cat((to_z(x), to_b(x)), dim=1).detach()
        return float(torch.corrcoef(both.T)[:4, 4:].abs().mean())

    before = correlation()
    size_before = float(to_z(x).detach().std())
    optimiser = torch.optim.Adam([*to_z.parameters(), *to_b.parameters()], lr=1e-2)
    for _ in range(150):
        batch = torch.randn(64, 8, generator=draw)
        optimiser.zero_grad()
        correlation_weakening_loss(to_z(batch), to_b(batch)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert before > 0.25
    assert correlation() < 0.4 * before
    assert float(to_z(x).detach().std()) > 0.5 * size_before  # not by vanishing


def test_target_consistency_makes_targets_known_again_before_other_backgrounds() -> None:
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(1)
    branches = LoddisBranches(8, num_domains=2, embed_channels=8, enabled=frozenset({"consistency"}))
    optimiser = torch.optim.Adam(branches.parameters(), lr=5e-3)
    domains, no_boxes = torch.arange(16) % 2, [torch.zeros(0, 4)] * 16

    def batch() -> Tensor:
        fused = 0.1 * torch.randn(16, 8, 4, 4, generator=draw) + torch.randn(16, 8, 1, 1, generator=draw)
        fused[:, 4:] += 2 * domains[:, None, None, None]
        return fused

    def share_found_again() -> float:
        found = 0.0
        with torch.no_grad():
            for _ in range(10):
                features = branches.projections(batch(), no_boxes, stride=8)
                z_hat = branches.projections.recombine(features, swap_indices(domains))
                similarity = torch.cosine_similarity(features.z[:, None], z_hat[None], dim=-1)  # (16, 16)
                found += float((similarity.argmax(1) == torch.arange(16)).float().mean()) / 10
        return found

    before = share_found_again()
    for _ in range(200):
        out = branches(batch(), domains, no_boxes, stride=8)
        assert out.consistency is not None
        optimiser.zero_grad()
        out.consistency.backward()
        optimiser.step()
    assert before < 0.25  # chance is 1/16
    assert share_found_again() > 0.5
