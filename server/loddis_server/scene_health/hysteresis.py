"""Conditions that neither flicker nor begin by accident."""

from __future__ import annotations

from loddis_server.scene_health.settings import Limits

__all__ = ["Hysteresis"]


class Hysteresis:
    """Whether a condition holds, from one measurement to the next.

    Args:
        limits: When it begins and ends.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._run = 0  # measurements in a row that speak for a change
        self.holds = False

    def update(self, measure: float | None) -> bool:
        """Take a measurement, and tell whether the condition holds; what cannot be measured changes nothing."""
        if measure is None:
            return self.holds
        limits = self._limits
        changes = measure < limits.end if self.holds else measure >= limits.begin
        self._run = self._run + 1 if changes else 0
        if self._run >= (limits.end_after if self.holds else limits.begin_after):
            self.holds, self._run = not self.holds, 0
        return self.holds
