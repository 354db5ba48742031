"""Statistics of domains: a threshold is the probability that it says it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from loddis_runtime.manifest import Manifest
from loddis_runtime.scene_statistics import DomainStatistics, SceneStatistics
from support.bundles import manifest_of

NAMES = ("a", "b", "c")


def domain_rows(
    sequences: int, *, seed: int, frames: int = 6, heavy: bool = False, shift: float = 0.0
) -> tuple[NDArray[np.float64], list[int]]:
    """Give measures of a domain whose clips differ more than the frames of each."""
    rng = np.random.default_rng(seed)
    mixing = np.array([[1.0, 0.8, 0.0], [0.0, 0.5, 0.3], [0.0, 0.0, 2.0]])
    centres = (rng.standard_t(3, (sequences, 3)) if heavy else rng.standard_normal((sequences, 3))) @ mixing
    rows = np.repeat(centres + shift, frames, axis=0) + 0.2 * rng.standard_normal((sequences * frames, 3))
    return rows, np.repeat(np.arange(sequences), frames).tolist()


def fitted(name: str = "sky", sequences: int = 120, **how: Any) -> DomainStatistics:
    return DomainStatistics.fit(name, *domain_rows(sequences, seed=1, **how))


@pytest.mark.parametrize("heavy", [False, True])
def test_new_clips_of_a_domain_are_as_improbable_as_is_said(heavy: bool) -> None:
    domain = fitted(heavy=heavy, sequences=300)
    rows, members = domain_rows(2000, seed=2, heavy=heavy)
    means = [rows[6 * i : 6 * i + 6].mean(axis=0) for i in range(max(members) + 1)]
    probabilities = np.array([domain.probability(domain.distance(mean)) for mean in means])
    for wanted in (0.05, 0.1, 0.2, 0.5):
        assert np.mean(probabilities < wanted) == pytest.approx(wanted, rel=0.4)
    assert np.mean(probabilities < 0.01) < 0.02  # far out the exponential tail may be wider than the domain's


def test_probability_falls_with_distance() -> None:
    domain = fitted()
    probabilities = [domain.probability(distance) for distance in np.linspace(0, 20, 200)]
    assert probabilities == sorted(probabilities, reverse=True)
    assert probabilities[0] == 1
    assert 0 < probabilities[-1] < 1e-4


def test_the_nearest_domain_is_the_most_probable() -> None:
    statistics = SceneStatistics(measures=NAMES, domains=(fitted("sky"), fitted("ground", shift=9.0)))
    for name, centre in (("sky", 0.0), ("ground", 9.0)):
        domain, probability = statistics.nearest(np.full(3, centre))
        assert domain.name == name
        assert probability > 0.5
    assert statistics.nearest(np.full(3, 40.0))[1] < 0.001


def test_deviations_have_a_sign_and_a_unit() -> None:
    domain = fitted()
    deviations = domain.deviations(np.add(domain.mean, [0.0, 0.0, 4.0]))
    assert deviations == pytest.approx([0, 0, 2], abs=0.3)


def test_a_long_sequence_weighs_no_more_than_a_short_one() -> None:
    rows, members = domain_rows(40, seed=1)
    longer = np.concatenate([rows, np.tile(rows[:6], (50, 1))])
    plain, stretched = (
        DomainStatistics.fit("sky", rows, members),
        DomainStatistics.fit("sky", longer, members + [0] * 300),
    )
    assert stretched.mean == pytest.approx(plain.mean)
    assert stretched.null_quantiles == pytest.approx(plain.null_quantiles, rel=1e-4)


def test_a_measure_that_never_varies_is_no_division_by_zero() -> None:
    rows, members = domain_rows(40, seed=1)
    rows[:, 1] = 7.0
    domain = DomainStatistics.fit("sky", rows, members)
    assert np.isfinite(domain.distance(np.array([0.0, 7.0, 0.0])))
    assert domain.probability(domain.distance(np.array([0.0, 8.0, 0.0]))) < 1e-3


def test_too_few_sequences_are_refused() -> None:
    with pytest.raises(ValueError, match="domain 'sky' must have at least 10 sequences, got 9"):
        fitted(sequences=9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"covariance": [[1.0], [0.0, 1.0]]}, "lower triangle of 3 measures, got rows of"),
        ({"covariance": [[1.0], [2.0, 1.0], [0.0, 0.0, 1.0]]}, "positive definite"),
        ({"null_quantiles": list(range(19))[::-1]}, "must not fall"),
        ({"null_tail": 0.0}, "null_tail"),
        ({"mean": [0.0, 0.0, float("nan")]}, "finite"),
        ({"surprise": 1}, "Extra inputs"),
    ],
)
def test_statistics_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DomainStatistics.model_validate(fitted().model_dump() | change)


def test_domains_must_have_the_measures_that_are_named() -> None:
    with pytest.raises(ValidationError, match="domain 'sky' has 3 measures"):
        SceneStatistics(measures=("a", "b"), domains=(fitted(),))


def test_a_manifest_keeps_them_to_the_last_digit(tmp_path: Path) -> None:
    manifest = manifest_of().model_copy(
        update={"scenes": SceneStatistics(measures=NAMES, domains=(fitted(), fitted("ground", heavy=True)))}
    )
    manifest.save(tmp_path / "manifest.json")
    assert Manifest.load(tmp_path / "manifest.json") == manifest
    assert Manifest.load(tmp_path / "manifest.json").scenes is not None
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


def test_a_manifest_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    manifest_of(name="before").save(path)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        manifest_of(name="after").save(path)
    assert Manifest.load(path).name == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


def test_every_field_says_what_it_is() -> None:
    for model in (DomainStatistics, SceneStatistics):
        assert [name for name, field in model.model_fields.items() if not field.description] == []
