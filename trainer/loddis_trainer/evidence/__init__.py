"""Evidence of what the method does, recorded while training: features of a few held-out frames, epoch by epoch."""

from loddis_trainer.evidence.frames import EvidenceFrames
from loddis_trainer.evidence.recorder import EvidenceRecorder
from loddis_trainer.evidence.store import EvidenceLine, FeatureSnapshot, read_evidence, read_snapshot

__all__ = [
    "EvidenceFrames",
    "EvidenceLine",
    "EvidenceRecorder",
    "FeatureSnapshot",
    "read_evidence",
    "read_snapshot",
]
