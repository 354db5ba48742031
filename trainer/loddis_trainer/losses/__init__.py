"""Losses: detection, and the three of the method, one a file; `branches` composes the latter."""

from __future__ import annotations

__all__: list[str] = []
