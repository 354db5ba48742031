"""The Loddis detector: CSPDarknet, top-down fusion to one map, decoupled anchor-free head."""

from loddis_trainer.models.detector import LoddisDetector, build_detector
from loddis_trainer.models.variants import VARIANTS, Variant

__all__ = ["VARIANTS", "LoddisDetector", "Variant", "build_detector"]
