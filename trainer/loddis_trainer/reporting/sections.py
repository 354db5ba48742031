"""What stands in the report, and in which order."""

from __future__ import annotations

from loddis_trainer.reporting.blocks import Section
from loddis_trainer.reporting.collect import Findings
from loddis_trainer.reporting.sections_detection import (
    curves_section,
    groups_section,
    negative_shift_section,
    pictures_section,
)
from loddis_trainer.reporting.sections_training import (
    correlation_section,
    focus_section,
    maps_section,
    separability_section,
    training_section,
)
from loddis_trainer.reporting.tables import configuration_table, data_tables, headline_tables

__all__ = ["build_sections"]


def build_sections(findings: Findings) -> list[Section]:
    """Build all sections.

    Raises:
        TrainingError: Evidence of a run that cannot be read.
        CheckpointError: Weights of a run that cannot be read.
    """
    return [
        Section("results", "Results", blocks=[*headline_tables(findings)]),
        negative_shift_section(findings),
        curves_section(findings),
        groups_section(findings),
        pictures_section(findings),
        training_section(findings),
        correlation_section(findings),
        separability_section(findings),
        maps_section(findings),
        focus_section(findings),
        Section("data", "Data and configuration", blocks=[*data_tables(findings), configuration_table(findings)]),
    ]
