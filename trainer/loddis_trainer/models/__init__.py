"""The Loddis detector: CSPDarknet, top-down fusion to one map, decoupled anchor-free head."""

from loddis_trainer.models.detector import LoddisDetector, build_detector
from loddis_trainer.models.fusion import Stride
from loddis_trainer.models.variants import VARIANTS, Variant, VariantName

__all__ = ["VARIANTS", "LoddisDetector", "Stride", "Variant", "VariantName", "build_detector"]
