"""Streams for Prometheus: read from the streams there are when it asks, so that those that ended leave no series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from loddis_server.scene_health.settings import CONDITIONS
from loddis_server.streams.live import LiveStream
from loddis_server.streams.registry import StreamRegistry

__all__ = ["StreamCollector"]


@dataclass(frozen=True, slots=True)
class _Series:
    """A metric with one value a stream, or none."""

    name: str
    help: str
    value: Callable[[LiveStream], float | None]
    is_counter: bool = False


SERIES = (
    _Series("loddis_stream_frames", "Frames detected on.", lambda stream: stream.frames, is_counter=True),
    _Series("loddis_stream_refused_frames", "Frames refused.", lambda stream: stream.refused, is_counter=True),
    _Series("loddis_stream_alarms", "Tracks announced.", lambda stream: stream.alarms, is_counter=True),
    _Series(
        "loddis_stream_lost_messages",
        "Messages that listeners were too slow to take.",
        lambda stream: stream.hub.lost,
        is_counter=True,
    ),
    _Series("loddis_stream_fps", "Frames a second lately.", lambda stream: stream.fps),
    _Series(
        "loddis_stream_lag_seconds", "From a frame's coming in to its answer, mean lately.", lambda stream: stream.lag_s
    ),
    _Series("loddis_stream_tracks", "Tracks alive.", lambda stream: _tracks(stream)),
    _Series("loddis_stream_listeners", "Who listens.", lambda stream: len(stream.hub)),
    _Series("loddis_stream_score_threshold", "Least score reported.", lambda stream: stream.session.threshold),
    _Series(
        "loddis_stream_false_alarms_per_hour",
        "False alarms held, where a rate is to be held.",
        lambda stream: None if (held := stream.session.false_alarms()) is None else held.held_per_hour,
    ),
    _Series(
        "loddis_stream_scene_distance",
        "Distance of the scene to the nearest training domain.",
        lambda stream: None if stream.latest is None else stream.latest.drift.distance,
    ),
)


class StreamCollector(Collector):
    """Gives the metrics of all streams; asked on the event loop.

    Args:
        streams: Of the server.
    """

    def __init__(self, streams: StreamRegistry) -> None:
        self._streams = streams

    def describe(self) -> Iterable[Metric]:
        """Name the metrics; without streams there are no values to name them by."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Read all streams."""
        streams = list(self._streams)
        for series in SERIES:
            kind = CounterMetricFamily if series.is_counter else GaugeMetricFamily
            family = kind(series.name, series.help, labels=("stream",))
            for stream in streams:
                value = series.value(stream)
                if value is not None:
                    family.add_metric([stream.stream_id], value)
            yield family
        yield self._health(streams)
        yield self._canary(streams)
        yield from self._sources(streams)

    def _health(self, streams: list[LiveStream]) -> Metric:
        family = GaugeMetricFamily(
            "loddis_stream_health", "1 while a condition of the sensor holds.", labels=("stream", "condition")
        )
        for stream in streams:
            if stream.latest is not None:
                for condition in CONDITIONS:
                    family.add_metric([stream.stream_id, condition], condition in stream.latest.health.conditions)
        return family

    def _canary(self, streams: list[LiveStream]) -> Metric:
        family = GaugeMetricFamily(
            "loddis_stream_canary_pd",
            "Share of injected targets that were found lately, by their signal to noise ratio.",
            labels=("stream", "snr"),
        )
        for stream in streams:
            if stream.session.canary is not None:
                for level in stream.session.canary.status().levels:
                    if level.pd is not None:
                        family.add_metric([stream.stream_id, f"{level.snr:g}"], level.pd)
        return family

    def _sources(self, streams: list[LiveStream]) -> Iterator[Metric]:
        live = GaugeMetricFamily("loddis_source_live", "1 while frames come.", labels=("stream",))
        restarts = CounterMetricFamily("loddis_source_restarts", "New beginnings.", labels=("stream",))
        dropped = CounterMetricFamily("loddis_source_dropped_frames", "That nobody had time for.", labels=("stream",))
        for stream in streams:
            status = self._streams.source_status(stream)
            if status is not None:
                live.add_metric([stream.stream_id], status.state == "live")
                restarts.add_metric([stream.stream_id], status.restarts)
                dropped.add_metric([stream.stream_id], status.dropped)
        yield from (live, restarts, dropped)


def _tracks(stream: LiveStream) -> float:
    return 0 if stream.latest is None else len(stream.latest.tracks.tracks)
