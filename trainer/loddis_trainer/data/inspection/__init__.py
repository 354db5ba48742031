"""What one should know about a domain before training on it: counts, sizes, motion, leaks, label faults, pictures."""

from loddis_trainer.data.inspection.findings import Finding
from loddis_trainer.data.inspection.report import Inspection
from loddis_trainer.data.inspection.whole import InspectedDomain, inspect_domain

__all__ = ["Finding", "InspectedDomain", "Inspection", "inspect_domain"]
