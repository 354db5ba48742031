"""Layers stay in float by what they are measured to cost, and no more of them than it takes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from loddis_export.layer_search import find_float_layers
from loddis_export.parity_report import GroupParity, PrecisionParity
from loddis_export.settings import ParityLimits

LAYERS = (
    "backbone.stem",
    "backbone.stage4.0",
    "backbone.stage4.1",
    "fusion.mix",
    "head.box.0",
    "head.box.1",
    "head.out",
)
LIMITS = ParityLimits(map50=0.01, pd=0.01, group_pd=0.05, fa_per_frame=0.02, unmatched=0.05)


def parity(loss: float, float_layers: tuple[str, ...] = ()) -> PrecisionParity:
    return PrecisionParity(
        precision="int8",
        computed_by="a fake",
        frames=50,
        compared=100,
        max_abs_box_px=3.0,
        max_abs_score=0.1,
        matched=0.99,
        map50_reference=0.9,
        map50_exported=0.9 - loss,
        pd_reference=0.95,
        pd_exported=0.95,
        fa_reference=0.05,
        fa_exported=0.05,
        groups=(),
        float_layers=float_layers,
        limits=LIMITS,
    )


class Trials:
    """Layers that cost mAP50 as long as they are int8; remembers what was tried."""

    def __init__(self, costs: Mapping[str, float]) -> None:
        self.costs = costs
        self.tried: list[tuple[str, ...]] = []

    def __call__(self, float_layers: tuple[str, ...]) -> PrecisionParity:
        self.tried.append(float_layers)
        return parity(sum(cost for layer, cost in self.costs.items() if layer not in float_layers), float_layers)


def test_what_keeps_within_the_limits_is_tried_once() -> None:
    trials = Trials({"head.out": 0.005})
    assert find_float_layers(LAYERS, trials, always=LAYERS[:1]).float_layers == ("backbone.stem",)
    assert trials.tried == [("backbone.stem",)]


def test_the_layer_that_costs_most_is_found_and_its_neighbours_are_given_back() -> None:
    trials = Trials({"head.box.1": 0.05, "fusion.mix": 0.004})
    best = find_float_layers(LAYERS, trials, always=LAYERS[:1])
    assert best.float_layers == ("backbone.stem", "head.box.1")
    assert best.excess <= 1


def test_layers_of_several_blocks_are_left_where_one_is_not_enough() -> None:
    trials = Trials({"head.out": 0.03, "backbone.stage4.1": 0.02, "fusion.mix": 0.001})
    best = find_float_layers(LAYERS, trials, always=LAYERS[:1])
    assert best.float_layers == ("backbone.stem", "backbone.stage4.1", "head.out")


def test_what_no_layer_mends_is_given_with_its_faults() -> None:
    best = find_float_layers(LAYERS, lambda layers: parity(0.2, layers), always=LAYERS[:1])
    assert set(best.float_layers) == set(LAYERS)
    assert best.faults == ["mAP50 falls by 0.2, allowed are 0.01"]


def test_a_class_of_targets_can_fail_alone_but_not_by_a_handful() -> None:
    lost = parity(0.0).model_copy(
        update={
            "groups": (
                GroupParity(label="SNR 0–3", targets=200, pd_reference=0.4, pd_exported=0.3),
                GroupParity(label="< 5 px", targets=3, pd_reference=1.0, pd_exported=0.67),
            )
        }
    )
    assert lost.faults == ["Pd of SNR 0–3 falls by 0.1, allowed are 0.05"]
    assert lost.excess == pytest.approx(2.0)


def test_more_false_alarms_and_other_detections_fail_too() -> None:
    louder = parity(0.0).model_copy(update={"fa_exported": 0.1})
    assert louder.faults == ["false alarms per frame rise by 0.05, allowed are 0.02"]
    elsewhere = parity(0.0).model_copy(update={"matched": 0.8})
    assert elsewhere.faults == ["0.2 of the detections are not matched, allowed are 0.05"]


def test_each_trial_is_told_of_where_somebody_waits(capsys: pytest.CaptureFixture[str]) -> None:
    find_float_layers(LAYERS, Trials({"head.out": 0.005}), always=LAYERS[:1])
    assert capsys.readouterr().err == ""
    trials = Trials({"head.box.1": 0.05})
    find_float_layers(LAYERS, trials, always=LAYERS[:1], progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == len(trials.tried) > 3
    assert err.splitlines()[0] == "int8, trial 1, 1 of 7 layers in float: losses at 5.00 of their limits"


@pytest.mark.parametrize("reference", ["map50", "pd"])
def test_without_targets_there_is_nothing_to_lose(reference: str) -> None:
    empty = {f"{reference}_{which}": float("nan") for which in ("reference", "exported")}
    assert parity(0.0).model_copy(update=empty).faults == []


@pytest.mark.parametrize("figure", ["max_abs_box_px", "max_abs_score", "map50_exported"])
def test_what_is_not_a_number_fails_whatever_the_limits_and_can_be_read_back(figure: str) -> None:
    broken = parity(0.0).model_copy(update={figure: float("nan")})
    assert broken.excess == float("inf")
    assert broken.faults
    again = PrecisionParity.model_validate_json(broken.model_dump_json())
    assert again.faults == broken.faults
