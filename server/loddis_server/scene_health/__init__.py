"""Whether what a camera sends can be trusted: its sensor, its scene, and whether targets in it would be found.

- `SensorHealth`: frozen, shutter, saturated, dead pixels, stripes, defocused, moving.
- `DriftMonitor` and `FrameArchive`: scenes unlike those that the model was trained on, and frames of them to label.
- `Canary`: targets of known SNR put into copies of live frames; how many of them are found.

All are used by one thread at a time, a set for each stream, but for the archive, which the streams share.
"""

from loddis_server.scene_health.archive import ArchiveSettings, FrameArchive
from loddis_server.scene_health.canary import Canary, CanaryFrame, CanaryOutcome, CanarySettings
from loddis_server.scene_health.canary_status import CanaryStatus, LevelStatus
from loddis_server.scene_health.drift import DriftMonitor, DriftReport, DriftSettings, MeasureDeviation
from loddis_server.scene_health.health import HealthReport, SensorHealth
from loddis_server.scene_health.settings import HealthCondition, HealthSettings, Limits

__all__ = [
    "ArchiveSettings",
    "Canary",
    "CanaryFrame",
    "CanaryOutcome",
    "CanarySettings",
    "CanaryStatus",
    "DriftMonitor",
    "DriftReport",
    "DriftSettings",
    "FrameArchive",
    "HealthCondition",
    "HealthReport",
    "HealthSettings",
    "LevelStatus",
    "Limits",
    "MeasureDeviation",
    "SensorHealth",
]
