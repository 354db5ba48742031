"""What Prometheus is told. One registry an application, so that several can live in one process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

__all__ = ["STAGES", "Metrics", "Stage", "shown_ms"]

Stage = Literal["receive", "decode", "prepare", "queue", "infer", "finish", "render", "total"]
STAGES: tuple[Stage, ...] = get_args(Stage)
SHOWN_STAGES: tuple[Stage, ...] = ("decode", "prepare", "queue", "infer", "finish", "total")

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


class Metrics:
    """All metrics of one server; the attributes are written by whoever sees the event."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.requests = Counter(
            "loddis_requests_total", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.rejected = Counter(
            "loddis_rejected_total",
            "Requests refused, by the slug of the problem.",
            ("reason",),
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "loddis_requests_in_flight",
            "Frames between the head of their request and the answer.",
            registry=self.registry,
        )
        self.overloaded = Gauge(
            "loddis_overloaded", "1 while more is asked for than can be done.", registry=self.registry
        )
        self.queue_depth = Gauge("loddis_queue_depth", "Frames that wait for the network.", registry=self.registry)
        self.batch_size = Histogram(
            "loddis_batch_size",
            "Frames given to the network at once.",
            ("model",),
            buckets=BATCH_SIZES,
            registry=self.registry,
        )
        self.detections = Counter("loddis_detections_total", "Detections reported.", ("model",), registry=self.registry)
        self.frames = Counter("loddis_frames_total", "Frames detected on.", ("model",), registry=self.registry)
        self.dropped = Counter(
            "loddis_dropped_total", "Frames given up before their answer.", ("reason",), registry=self.registry
        )
        self.model_info = Gauge(
            "loddis_model_info",
            "1 for each model that is served.",
            ("model", "version", "variant", "precision", "device", "is_default"),
            registry=self.registry,
        )
        self.ready = Gauge("loddis_ready", "1 while the server takes requests.", registry=self.registry)
        stages = Histogram(
            "loddis_stage_seconds",
            "Time a frame spends in each stage.",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.stages = {stage: stages.labels(stage) for stage in STAGES}

        # Events
        self.events_stored = Counter("loddis_events_stored_total", "Events stored.", ("kind",), registry=self.registry)
        self.events_waiting = Gauge(
            "loddis_events_waiting", "Events in memory that are not stored yet.", registry=self.registry
        )
        self.events_dropped = Counter(
            "loddis_events_dropped_total",
            "Events given up before they were stored.",
            ("reason",),
            registry=self.registry,
        )
        self.events_store_ok = Gauge(
            "loddis_events_store_ok", "1 while the event database works.", registry=self.registry
        )
        self.events_delivered = Counter(
            "loddis_events_delivered_total",
            "Events that a receiver has confirmed.",
            ("receiver",),
            registry=self.registry,
        )
        self.events_delivery_failures = Counter(
            "loddis_events_delivery_failures_total",
            "Tries of a delivery that failed.",
            ("receiver",),
            registry=self.registry,
        )
        self.events_set_aside = Counter(
            "loddis_events_set_aside_total",
            "Events that a receiver refused for good.",
            ("receiver",),
            registry=self.registry,
        )
        self.events_outbox = Gauge(
            "loddis_events_outbox", "Events that a receiver has yet to get.", ("receiver",), registry=self.registry
        )
        self.events_delivery_lag = Gauge(
            "loddis_events_delivery_lag_seconds",
            "Age of the oldest event that a receiver has yet to get.",
            ("receiver",),
            registry=self.registry,
        )


def shown_ms(seconds: Mapping[Stage, float]) -> dict[Stage, float]:
    """Give the `timing_ms` of an answer, milliseconds.

    Args:
        seconds: Spent in each stage.
    """
    return {stage: round(seconds[stage] * 1000, 3) for stage in SHOWN_STAGES if stage in seconds}
