"""What TensorRT says while it works."""

from __future__ import annotations

import logging
from typing import Any

from loddis_runtime.engines.layers import is_layer_information

__all__ = ["make_log"]

logger = logging.getLogger(__name__)


def make_log(trt: Any) -> Any:
    """Give a TensorRT logger that keeps faults and the builder's report, and hands the rest to `logging`."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.layers = ""
            self.faults: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if is_layer_information(message):
                self.layers = message
            elif severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.faults.append(" ".join(message.split()))
            elif severity == trt.ILogger.Severity.WARNING:
                logger.debug("TensorRT: %s", message)

        def fault(self) -> str:
            """Give the first fault: those after it are its consequences."""
            return self.faults[0] if self.faults else ""

    return Log()
