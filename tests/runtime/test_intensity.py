"""Grey levels to [0, 1]."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter, ValidationError

from loddis_runtime.errors import FrameError
from loddis_runtime.intensity import FullRange, IntensityPolicy, Percentile, normalise
from loddis_runtime.letterbox import letterbox

POLICIES: list[FullRange | Percentile] = [
    FullRange(),
    FullRange(low=1_000, high=14_000),
    Percentile(),
    Percentile(low=0, high=100),
]


@pytest.mark.parametrize("net_size_hw", [(70, 100), (70, 160), (96, 100)])
@pytest.mark.parametrize("policy", [FullRange(), FullRange(low=5_000, high=12_500), Percentile(low=0, high=100)])
def test_seven_thousand_levels_stay_seven_thousand(
    policy: FullRange | Percentile, net_size_hw: tuple[int, int]
) -> None:
    frame = np.arange(5_200, 12_200, dtype=np.uint16).reshape(70, 100)
    picture = letterbox(normalise(frame, policy), net_size_hw)
    top, left = (net_size_hw[0] - 70) // 2, (net_size_hw[1] - 100) // 2
    inner = picture[top : top + 70, left : left + 100]
    assert len(np.unique(inner)) == 7_000
    assert np.all(np.diff(inner.ravel()) > 0)


@given(
    hnp.arrays(st.sampled_from([np.uint8, np.uint16]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)),
    st.sampled_from(POLICIES),
)
def test_result_is_in_range_and_keeps_the_order_of_levels(frame: np.ndarray, policy: FullRange | Percentile) -> None:
    levels = normalise(frame, policy)
    assert levels.dtype == np.float32
    assert levels.shape == frame.shape
    assert levels.min() >= 0
    assert levels.max() <= 1
    rank = np.argsort(frame, axis=None)
    assert np.all(np.diff(levels.ravel()[rank]) >= 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_full_range_ends_are_exactly_zero_and_one(dtype: type[np.unsignedinteger]) -> None:
    top = np.iinfo(dtype).max
    levels = normalise(np.array([[0, top]], dtype=dtype), FullRange())
    assert levels.tolist() == [[0.0, 1.0]]


def test_limits_clip_what_is_beyond_them() -> None:
    frame = np.array([[0, 1_000, 2_000, 3_000, 65_535]], dtype=np.uint16)
    levels = normalise(frame, FullRange(low=1_000, high=3_000))
    np.testing.assert_allclose(levels, [[0, 0, 0.5, 1, 1]], atol=1e-7)


def test_limits_are_of_the_sensor_and_leave_8_bit_alone() -> None:
    frame = np.array([[0, 51, 255]], dtype=np.uint8)
    np.testing.assert_allclose(normalise(frame, FullRange(low=1_000, high=3_000)), [[0, 0.2, 1]], atol=1e-7)


def test_float_frames_pass_where_they_are_in_range() -> None:
    frame = np.array([[0.0, 0.25, 1.0]], dtype=np.float32)
    levels = normalise(frame, FullRange())
    np.testing.assert_array_equal(levels, frame)
    assert not np.shares_memory(levels, frame)


@pytest.mark.parametrize("value", [-0.01, 1.01, 300.0])
def test_float_frames_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(FrameError, match=r"in \[0, 1\].*got"):
        normalise(np.array([[0.5, value]], dtype=np.float32), FullRange())


def test_float_frames_of_any_range_are_fine_with_limits() -> None:
    frame = np.array([[280.0, 290.0, 300.0]], dtype=np.float32)  # kelvin
    np.testing.assert_allclose(normalise(frame, FullRange(low=280, high=300)), [[0, 0.5, 1]])


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    st.sampled_from([FullRange(low=-1e3, high=1e30), Percentile(), Percentile(low=0, high=100)]),
)
def test_float_frames_of_any_finite_values_give_the_range(frame: np.ndarray, policy: FullRange | Percentile) -> None:
    levels = normalise(frame, policy)
    assert np.all((levels >= 0) & (levels <= 1))


def test_stripes_of_the_readout_do_not_fool_the_sample() -> None:
    frame = np.full((1_024, 1_280), 1_000, dtype=np.uint16)
    frame[:, 1::2] = 2_000
    np.testing.assert_array_equal(np.unique(normalise(frame, Percentile())), [0, 1])


def test_percentiles_are_those_of_the_frame() -> None:
    frame = np.arange(101, dtype=np.uint16).reshape(1, 101)
    levels = normalise(frame, Percentile(low=10, high=90))
    np.testing.assert_allclose(levels[0, [0, 10, 50, 90, 100]], [0, 0, 0.5, 1, 1], atol=1e-6)


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=30),
        elements={"max_value": 60},
    )
    | hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=30), fill=st.nothing()
    ),
    st.tuples(st.floats(0, 99), st.floats(0.001, 100)),
)
def test_levels_are_exactly_what_the_plain_definition_gives(
    frame: np.ndarray, percentiles: tuple[float, float]
) -> None:
    policy = Percentile(low=percentiles[0], high=min(100.0, percentiles[0] + percentiles[1]))
    low, high = np.percentile(frame.astype(np.float64), (policy.low, policy.high))
    if high > low:
        plain = (frame.astype(np.float32) - np.float32(low)) / np.float32(high - low)
        expected = plain.clip(0, 1)
    else:
        expected = np.full(frame.shape, 0.5, dtype=np.float32)
    np.testing.assert_array_equal(normalise(frame, policy), expected)


def test_percentiles_of_large_frames_are_sampled_closely() -> None:
    frame = np.random.default_rng(2).normal(8_000, 500, (1_024, 1_280)).astype(np.uint16)
    low, high = np.percentile(frame, (1, 99.9))
    exact = np.clip((frame - low) / (high - low), 0, 1)
    assert np.abs(normalise(frame, Percentile()) - exact).max() < 0.02


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_frame_without_contrast_is_mid_grey_under_percentile(dtype: type[np.generic]) -> None:
    assert np.all(normalise(np.ones((5, 6), dtype=dtype), Percentile()) == 0.5)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"kind": "full_range", "low": 1}, "together or not at all"),
        ({"kind": "full_range", "low": 5, "high": 5}, "low must be below high, got 5 and 5"),
        ({"kind": "percentile", "low": 60, "high": 40}, "low must be below high"),
        ({"kind": "percentile", "high": 101}, "less than or equal to 100"),
        ({"kind": "percentile", "gamma": 2}, "Extra inputs"),
        ({"kind": "histogram"}, "full_range"),
        ({"kind": "full_range", "low": 0, "high": float("inf")}, "finite"),
    ],
)
def test_policies_that_make_no_sense_are_refused(document: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter[FullRange | Percentile](IntensityPolicy).validate_python(document)


def test_levels_at_the_ends_of_float32_are_clipped() -> None:
    frame = np.linspace(-3.3e38, 3.3e38, 256 * 32, dtype=np.float32).reshape(256, 32)
    levels = normalise(frame, Percentile())
    assert np.isfinite(levels).all()
    assert (levels.min(), levels.max()) == (0.0, 1.0)
