"""All that an inspection of a domain gives, in one object."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from loddis_trainer.data.inspection.astray import AstrayLabels
from loddis_trainer.data.inspection.contrast import TargetContrast
from loddis_trainer.data.inspection.counts import SplitCounts
from loddis_trainer.data.inspection.findings import SEVERITIES, Finding, Severity
from loddis_trainer.data.inspection.frames import FrameFormats
from loddis_trainer.data.inspection.labels import LabelFaults
from loddis_trainer.data.inspection.leak_report import LeakReport
from loddis_trainer.data.inspection.looseness import BoxConvention
from loddis_trainer.data.inspection.motion import Motion
from loddis_trainer.data.inspection.sizes import TargetSizes

__all__ = ["Inspection", "SplitInspection"]


@dataclass(frozen=True, slots=True)
class SplitInspection:
    """What one split is like.

    Attributes:
        counts: How much there is of everything.
        frames: Sizes, bit depths, levels, rates, lengths.
        sizes: Of boxes.
        contrast: SNR of targets.
        boxes: How boxes sit on targets.
        motion: Of targets and camera.
        labels: Boxes that cannot be right.
        astray: Boxes beside their targets.
    """

    counts: SplitCounts
    frames: FrameFormats
    sizes: TargetSizes
    contrast: TargetContrast
    boxes: BoxConvention
    motion: Motion
    labels: LabelFaults
    astray: AstrayLabels


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a domain is like.

    Attributes:
        domain: Name.
        splits: Those that can be read, by name.
        leaks: Between splits and within them.
        findings: Faults first, then warnings, then notes.
    """

    domain: str
    splits: dict[str, SplitInspection]
    leaks: LeakReport
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """Count the findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Give everything, ready for JSON: what is undefined is None."""
        document = asdict(self)
        document["counts"] = {severity: self.count(severity) for severity in SEVERITIES}
        result: dict[str, Any] = _null_where_undefined(document)
        return result

    def to_json(self) -> str:
        """Give `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def _null_where_undefined(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _null_where_undefined(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_null_where_undefined(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
