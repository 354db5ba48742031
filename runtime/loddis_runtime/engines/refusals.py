"""Precisions that an export found to stray too far for TensorRT: what the parity gate refused is not built later."""

from __future__ import annotations

import json

from loddis_runtime.bundle import Bundle, GraphPrecision

__all__ = ["PARITY_NAME", "refused_precision"]

PARITY_NAME = "parity.json"


def refused_precision(bundle: Bundle, precision: GraphPrecision) -> str | None:
    """Say why the export of a bundle does not want an engine in a precision; None if it does, or did not look.

    Args:
        bundle: That was opened, so that its `parity.json` is the one that was exported.
        precision: Of the engine.
    """
    try:
        faults = json.loads((bundle.path / PARITY_NAME).read_text())["left_out"].get(precision)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # a bundle from before there was such a report
    return "; ".join(map(str, faults)) if faults else None
