"""What is measured of features and maps: correlation, focus ratio, and how well a linear probe tells domains apart.

Legend: n samples, c channels of features, C channels of a map, u v its height and width, m domains.

References:
    The paper, figures 6, 7 and 9.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loddis_trainer.losses.numerics import at_least_float32, standardise
from loddis_trainer.losses.regions import Regions

__all__ = [
    "correlation_by_chance",
    "correlation_matrix",
    "domain_separability",
    "focus_ratio",
    "mean_absolute_correlation",
]

FOLDS = 5  # of the linear probe, where every domain has so many frames
REGULARISATION = 1.0  # inverse strength, on standardised features


def correlation_matrix(z: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give Pearson's correlation of every feature of z with every feature of b; 0 where one of them is constant.

    Args:
        z: ``(n, c)``, n at least 2.
        b: ``(n, c')``, sample by sample with z.

    Returns:
        ``(c, c')`` in [−1, 1].

    Raises:
        ValueError: The shapes do not fit, or fewer than two samples.
    """
    if z.ndim != 2 or b.ndim != 2 or len(z) != len(b) or len(z) < 2:
        raise ValueError(f"z must be (n, c) and b (n, c'), n at least 2, got {z.shape} and {b.shape}")
    sides = [standardise(torch.from_numpy(np.asarray(x, dtype=np.float64)), floor=0.0).numpy() for x in (z, b)]
    return np.asarray(np.clip(sides[0].T @ sides[1] / (len(z) - 1), -1.0, 1.0), dtype=np.float64)


def mean_absolute_correlation(z: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Measure how far b can be told from z, feature by feature: the mean of |r| over `correlation_matrix`.

    Args:
        z: ``(n, c)``, n at least 2.
        b: ``(n, c')``.

    Returns:
        In [0, 1]; 1 where all features are proportional to each other, `correlation_by_chance` where nothing is.
    """
    return float(np.abs(correlation_matrix(z, b)).mean())


def correlation_by_chance(samples: int) -> float:
    """Give the mean of |r| between independent features of so many samples: √(2 / (π (n − 1))); NaN below two."""
    return math.sqrt(2 / (math.pi * (samples - 1))) if samples > 1 else math.nan


def focus_ratio(feature_map: Tensor, regions: Regions) -> Tensor:
    """Measure how much of the activation lies on targets rather than on the background.

    With a the mean over channels of |activation|, t its mean over the cells of the boxes (in proportion to the area
    that they cover) and g its mean over the cells that no box touches,

        ratio = t / (t + g)          in [0, 1]

    so that 0.5 says "as active on the background as on targets", as the paper reads its figure 9, which gives no
    formula. Twice as active on targets is 0.67, ten times 0.91.

    Args:
        feature_map: ``(n, C, u, v)``, the fused map Z or the target map T.
        regions: Where its targets are.

    Returns:
        ``(n,)`` float32; 0.5 where the map is 0 throughout. Without targets or without background it means nothing:
        see `Regions.has_target` and `Regions.has_background`.
    """
    activation = at_least_float32(feature_map).abs().mean(dim=1)  # (n, u, v)
    on_targets = (activation * regions.target).sum(dim=(1, 2))
    elsewhere = (activation * regions.background).sum(dim=(1, 2))
    total = on_targets + elsewhere
    return torch.where(total > 0, on_targets / total.clamp(min=1e-30), 0.5)


def domain_separability(
    features: NDArray[np.floating],
    domain_ids: NDArray[np.integer],
    *,
    sequence_ids: NDArray[np.integer] | None = None,
    seed: int = 0,
) -> float:
    """Measure how well a linear probe names the domain of features that it was not fitted to.

    A logistic regression on standardised features, cross-validated in five stratified parts (fewer where a domain has
    fewer sequences). The figure is the mean over domains of the share named rightly (balanced accuracy): chance is
    1 / m however many frames each domain has. Frames of a sequence are in one part together: a probe that knows a
    sequence's background would name its other frames by that. Frames of a domain with a single sequence count for
    themselves. With three domains of 32 frames it scatters by about 0.05 around chance.

    Args:
        features: ``(n, c)``.
        domain_ids: ``(n,)`` integers.
        sequence_ids: ``(n,)`` integers, of the sequence that each frame is of; every frame for itself if none.
        seed: Of the parts.

    Returns:
        In [0, 1]; NaN with fewer than two domains of at least two frames. Domains of a single frame take no part.
    """
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]  # takes a second to import
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict  # type: ignore[import-untyped]
    from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

    names, counts = np.unique(domain_ids, return_counts=True)
    present = names[counts > 1]
    if len(present) < 2:
        return math.nan
    kept = np.isin(domain_ids, present)
    x, y = np.asarray(features[kept], dtype=np.float64), domain_ids[kept]
    groups = np.arange(len(x)) if sequence_ids is None else sequence_ids[kept].astype(np.int64)
    for domain in present:
        of_domain = np.flatnonzero(y == domain)
        if len(np.unique(groups[of_domain])) < 2:
            groups[of_domain] = groups.max() + 1 + np.arange(len(of_domain))
    fewest = min(len(np.unique(groups[y == domain])) for domain in present)
    parts = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=1000))
    named = cross_val_predict(probe, x, y, groups=groups, cv=parts)
    return float(np.mean([(named[y == domain] == domain).mean() for domain in present]))
