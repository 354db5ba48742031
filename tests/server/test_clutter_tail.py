"""What is remembered of clutter, and the rates that are made of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loddis_server.alarms.clutter import BIN_LOGITS, ClutterMemory, logit, score_of
from loddis_server.alarms.tail import TailRates, poisson_interval

FLOOR = 0.05


def memory_of(scores: list[float], *, hours: float, memory_s: float = 1e9) -> ClutterMemory:
    """Remember clutter spread over some hours; next to nothing is forgotten unless a memory is given."""
    memory = ClutterMemory(score_floor=FLOOR, memory_s=memory_s)
    for score in scores:
        memory.pass_time(3600 * hours / (len(scores) + 1))
        memory.add(score)
    memory.pass_time(3600 * hours / (len(scores) + 1))
    return memory


@given(st.floats(1e-4, 1 - 1e-4))
def test_logits_and_scores_are_inverse(score: float) -> None:
    assert score_of(logit(score)) == pytest.approx(score)


def test_scores_that_are_certain_stay_finite() -> None:
    assert math.isfinite(logit(1.0))
    assert math.isfinite(logit(0.0))


def test_what_is_not_forgotten_counts_as_it_is() -> None:
    memory = memory_of([0.1, 0.3, 0.3, 0.7, 0.04], hours=2)
    counts = memory.events_above()
    assert memory.effective_s == pytest.approx(7200, rel=1e-3)
    assert counts[0] == pytest.approx(4, rel=1e-3)  # one is below the floor
    assert counts[np.searchsorted(memory.edges, logit(0.5))] == pytest.approx(1, rel=1e-3)
    assert memory.mean_excess(0) == pytest.approx(
        np.mean([logit(score) for score in (0.1, 0.3, 0.3, 0.7)]) - logit(FLOOR), rel=1e-3
    )


def test_after_long_the_memory_is_worth_twice_its_length_and_the_rate_is_right() -> None:
    memory = memory_of([0.2] * 4000, hours=200, memory_s=4 * 3600)
    assert memory.effective_s == pytest.approx(8 * 3600, rel=1e-3)
    assert memory.events_above()[0] == pytest.approx(20 * 8, rel=0.02)


def test_old_clutter_is_forgotten() -> None:
    memory = memory_of([0.2] * 100, hours=1, memory_s=1800)
    before = TailRates.of(memory).at(logit(0.2))[0]
    memory.pass_time(6 * 1800)
    assert TailRates.of(memory).at(logit(0.2))[0] < 0.02 * before


def test_rates_are_counts_where_clutter_is_plenty() -> None:
    rng = np.random.default_rng(0)
    values = logit(FLOOR) + rng.exponential(0.7, 2000)
    rates = TailRates.of(memory_of([score_of(value) for value in values], hours=10))
    for threshold in (0.06, 0.1, 0.2):
        counted = float((values >= logit(threshold)).mean() * 200)
        assert rates.at(logit(threshold))[0] == pytest.approx(counted, rel=0.07)


def test_the_tail_reaches_beyond_what_was_seen() -> None:
    scale, hours, per_hour = 0.5, 20, 200
    covered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = logit(FLOOR) + rng.exponential(scale, rng.poisson(hours * per_hour))
        rates = TailRates.of(memory_of([score_of(min(value, 11)) for value in values], hours=hours))
        threshold = logit(FLOOR) + scale * math.log(per_hour / 0.02)  # one in 50 hours, from 20 hours
        estimate, log_sigma = rates.at(threshold)
        assert 0.02 / 10 < estimate < 0.02 * 10
        covered += abs(math.log(estimate / 0.02)) < 1.645 * log_sigma
    assert covered >= 16  # of 20, where 18 are expected


def test_silence_proves_little_at_first_and_more_in_time() -> None:
    uppers = [float(TailRates.of(memory_of([], hours=hours)).upper_per_hour(0.8)[0]) for hours in (0.1, 1.0, 10.0)]
    # With a confidence of 80 %, T hours without an event show a rate of less than 1.6 / T.
    np.testing.assert_allclose(uppers, [-math.log(0.2) / hours for hours in (0.1, 1.0, 10.0)], rtol=0.1)


def test_the_threshold_chosen_is_the_lowest_that_keeps_to_the_rate() -> None:
    rng = np.random.default_rng(1)
    values = logit(FLOOR) + rng.exponential(0.6, 3000)
    rates = TailRates.of(memory_of([score_of(min(value, 11)) for value in values], hours=10))
    chosen = [rates.lowest_threshold(wanted, confidence=0.8) for wanted in (100, 10, 1, 0.1)]
    assert chosen == sorted(chosen)
    for wanted, threshold in zip((100, 10, 1, 0.1), chosen, strict=True):
        upper = np.interp([threshold, threshold - 1.5 * BIN_LOGITS], rates.edges, rates.upper_per_hour(0.8))
        assert upper[0] <= wanted * 1.001
        assert upper[1] > wanted
    assert rates.lowest_threshold(1000, confidence=0.8) == pytest.approx(logit(FLOOR))


def test_no_threshold_is_chosen_where_none_would_do() -> None:
    rates = TailRates.of(memory_of([0.999999] * 500, hours=1))
    assert rates.lowest_threshold(0.01, confidence=0.8) == math.inf


@pytest.mark.parametrize(("events", "low", "high"), [(0, 0.0, 2.996), (1, 0.051, 4.744), (10, 5.425, 16.962)])
def test_the_interval_of_a_count_is_garwoods(events: int, low: float, high: float) -> None:
    assert poisson_interval(events, confidence=0.9) == pytest.approx((low, high), abs=2e-3)
