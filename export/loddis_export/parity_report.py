"""What comparisons of graphs with their checkpoint come to, and what is out of bounds in it; `parity.json`."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

from loddis_export.settings import ParityLimits
from loddis_export.strip_proof import Stripping
from loddis_runtime.bundle import GraphPrecision

__all__ = ["GroupParity", "ParityReport", "PrecisionParity"]

JUDGED_FROM_TARGETS = 30  # one target of fewer weighs more than any limit


class GroupParity(BaseModel):
    """Targets of one size, SNR or, where there are several, domain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    targets: int
    pd_reference: float
    pd_exported: float


class PrecisionParity(BaseModel):
    """What the comparison of one graph gave."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    precision: GraphPrecision
    computed_by: str = Field(description="What ran the arithmetic.")
    frames: int
    compared: int = Field(description="Candidates of the reference with a score of at least 0.05.")
    max_abs_box_px: float = Field(description="Network pixels.")
    max_abs_score: float
    matched: float = Field(description="Share of the reference's detections that the graph gives within the distance.")
    map50_reference: float
    map50_exported: float
    pd_reference: float = Field(description="At the bundle's score threshold, as are the next three.")
    pd_exported: float
    fa_reference: float = Field(description="False alarms per frame.")
    fa_exported: float
    groups: tuple[GroupParity, ...]
    float_layers: tuple[str, ...] = Field(default=(), description="Layers of an int8 graph that stayed in float.")
    score_shift: float = Field(default=0.0, description="Added to the objectness logit of an int8 graph.")
    limits: ParityLimits

    @property
    def excess(self) -> float:
        """The largest ratio of a loss to its limit; above 1 the graph has failed."""
        return math.inf if self._not_finite() else max([0.0, *(loss / limit for _, loss, limit in self._losses())])

    @property
    def faults(self) -> list[str]:
        """What is out of bounds, a sentence each; empty where all is well."""
        beyond = [
            f"{what.format(loss)}, allowed are {limit:.4g}" for what, loss, limit in self._losses() if loss > limit
        ]
        return [f"{name} is no finite number" for name in self._not_finite()] + beyond

    def _not_finite(self) -> list[str]:
        """Name the figures that are no numbers though the checkpoint's are: there is nothing to hold against a limit.

        Without targets the checkpoint has no mAP50 and no Pd either: then there is nothing that could be lost.
        """
        figures = {
            "a box": (0.0, self.max_abs_box_px),
            "a score": (0.0, self.max_abs_score),
            "mAP50": (self.map50_reference, self.map50_exported),
            "Pd": (self.pd_reference, self.pd_exported),
        }
        return [
            name
            for name, (reference, value) in figures.items()
            if math.isfinite(reference) and not math.isfinite(value)
        ]

    def _losses(self) -> list[tuple[str, float, float]]:
        """Give each loss that has a limit, and the limit."""
        limits = self.limits
        losses = [
            ("boxes differ by up to {:.4g} px", self.max_abs_box_px, limits.box_px),
            ("scores differ by up to {:.4g}", self.max_abs_score, limits.score),
            ("mAP50 falls by {:.4g}", self.map50_reference - self.map50_exported, limits.map50),
            ("Pd falls by {:.4g}", self.pd_reference - self.pd_exported, limits.pd),
            ("false alarms per frame rise by {:.4g}", self.fa_exported - self.fa_reference, limits.fa_per_frame),
            ("{:.4g} of the detections are not matched", 1 - self.matched, limits.unmatched),
        ]
        losses += [
            (f"Pd of {group.label} falls by {{:.4g}}", group.pd_reference - group.pd_exported, limits.group_pd)
            for group in self.groups
            if group.targets >= JUDGED_FROM_TARGETS
        ]
        return [(what, loss, limit) for what, loss, limit in losses if limit is not None and math.isfinite(loss)]


class ParityReport(BaseModel):
    """What all comparisons gave; `parity.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    domain: str = Field(description="Domain and split of the frames; several with commas.")
    frames: int
    targets: int
    centre_distance_px: float
    score_threshold: float = Field(description="Of the bundle, at which Pd and false alarms are compared.")
    precisions: tuple[PrecisionParity, ...] = Field(
        description="Of the graphs in the bundle, and of those that failed."
    )
    signed_int8: PrecisionParity | None = Field(
        default=None, description="Of the int8 graph in the form that TensorRT takes, where there is an int8 graph."
    )
    left_out: dict[GraphPrecision, tuple[str, ...]] = Field(
        default_factory=dict, description="Precisions that TensorRT is not to build, and what was out of bounds."
    )
    box_scale_wh: tuple[float, float] = Field(
        default=(1.0, 1.0), description="Factors that boxes were made wider and higher by, in all graphs."
    )
    stripping: Stripping = Field(description="What the training-only branches would cost.")
