"""The Loddis detector: CSPDarknet, top-down fusion to one stride-8 map, decoupled anchor-free head."""

from loddis_trainer.models.detector import LoddisDetector, build_detector
from loddis_trainer.models.variants import VARIANTS, Variant, VariantName

__all__ = ["VARIANTS", "LoddisDetector", "Variant", "VariantName", "build_detector"]
