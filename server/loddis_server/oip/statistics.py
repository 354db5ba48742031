"""What was inferred so far, in the form of Triton's extension for statistics; counted from the load of each version."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from loddis_server.jobs import DetectionJob
from loddis_server.models import ServedModel

__all__ = ["Statistics"]

NS = 1_000_000_000
# Triton's names for the stages of a frame.
STAGES = {
    "queue": ("queue",),
    "compute_input": ("decode", "prepare"),
    "compute_infer": ("infer",),
    "compute_output": ("finish",),
}


class _Counts:
    """Of one version."""

    def __init__(self) -> None:
        self.last_ms = 0
        self.inferences = 0
        self.executions = 0
        self.count: Counter[str] = Counter()
        self.ns: Counter[str] = Counter()

    def add(self, name: str, seconds: float, count: int = 1) -> None:
        self.count[name] += count
        self.ns[name] += round(seconds * NS)

    def document(self, model: ServedModel) -> dict[str, Any]:
        names = ("success", "fail", *STAGES)
        return {
            "name": model.name,
            "version": model.version,
            "last_inference": self.last_ms,
            "inference_count": self.inferences,
            "execution_count": self.executions,
            "inference_stats": {name: {"count": self.count[name], "ns": self.ns[name]} for name in names},
            "batch_stats": [],
        }


class Statistics:
    """Counts the protocol's requests, by version. Used on the event loop."""

    def __init__(self) -> None:
        self._counts: WeakKeyDictionary[ServedModel, _Counts] = WeakKeyDictionary()

    def succeeded(self, model: ServedModel, jobs: Sequence[DetectionJob], seconds: float) -> None:
        """Count a request that was answered.

        Args:
            model: That answered.
            jobs: Its frames.
            seconds: From the head of the request on.
        """
        counts = self._of(model)
        counts.last_ms = time.time_ns() // 1_000_000
        counts.inferences += len(jobs)
        counts.executions += 1
        counts.add("success", seconds)
        for name, stages in STAGES.items():
            counts.add(name, sum(job.seconds.get(stage, 0.0) for job in jobs for stage in stages))  # type: ignore[call-overload]

    def failed(self, model: ServedModel, seconds: float) -> None:
        """Count a request that was not."""
        self._of(model).add("fail", seconds)

    def document(self, models: Sequence[ServedModel]) -> dict[str, Any]:
        """Give the statistics of some models."""
        return {"model_stats": [self._of(model).document(model) for model in models]}

    def _of(self, model: ServedModel) -> _Counts:
        return self._counts.setdefault(model, _Counts())
