"""The control loop of one stream's threshold.

What is measured
    The tracker follows tracks down to the score floor, and says of each which threshold would have confirmed it, M of N
    and all. So one pass over the stream gives the false alarms that *every* threshold would have raised. Nothing is
    assumed about how clutter repeats: a window that glints in ten frames at one place is one would-be alarm, as it
    would be one alarm.

What is taken for false
    Nobody says online which track is a target. A track that ends before it has `presumed_real_hits` detections is taken
    for clutter; one that has them, for real, whatever it was. Judgement waits until one or the other is certain.

How the threshold follows
    It is the lowest at which the rate keeps to what is wanted, by the upper bound of its confidence interval (`tail`).
    Down it goes slowly, up at once. Clutter is forgotten over the time in which a few false alarms are wanted: a rate
    of one an hour cannot be told in minutes. If the newest minutes bring far more clutter than remembered, all that is
    older is dropped: a storm is answered in about a minute.

Limits, to be known
    - A real target that is seen shortly counts as clutter, and raises the threshold; so do the pieces of a track that
      breaks often. Clutter that stays (a beacon, a chimney) is presumed real: it raises one alarm and no threshold.
    - The interval takes would-be alarms for independent of one another. If they come in swarms, the rate scatters by
      more than it says.
    - The tail is an exponential in the logit of the score. Where scores pile up at one value, the rate jumps there, and
      no threshold holds a rate in between.
    - Below the floor nothing is known; above all scores that were seen, the model is all there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from loddis_server.alarms.clutter import BIN_LOGITS, ClutterMemory, logit, score_of
from loddis_server.alarms.settings import FalseAlarmSettings
from loddis_server.alarms.tail import HOUR_S, TailRates, poisson_interval
from loddis_server.tracking.track import Track, TrackUpdate

__all__ = ["FalseAlarmControl", "FalseAlarmStatus"]

STEP_S = 1.0  # at most between two looks at the threshold
RECENT_S = 120.0  # memory that sudden clutter shows in
SURGE_FACTOR = 2.0  # of recent over remembered clutter that is called a surge,
SURGE_SIGMAS = 5.0  # if it is this much more than chance
INTERVAL_CONFIDENCE = 0.9
TOLERANCE = math.log(2.0)  # of the logarithm of a rate that counts as held, and of its standard error


@dataclass(frozen=True, slots=True)
class FalseAlarmStatus:
    """What a stream holds.

    Attributes:
        wanted_per_hour: False alarms, as set.
        held_per_hour: False alarms raised, counted over the memory; None before anything was observed.
        held_interval_per_hour: Central 90 % interval of the rate behind that count.
        predicted_per_hour: The model's rate at the present threshold; None before anything was observed.
        threshold: Score, in [0, 1].
        observed_s: Time observed since the start, seconds.
        memory_s: Over which is counted and remembered, seconds.
        settled: Whether the model's rate at the threshold is the wanted one within a factor of 2, or as near as the
            limits let it come, and is known that well, from at least the time in which one false alarm is wanted.
        at_limit: The limit that the threshold stands at, if any: at the floor fewer alarms come than wanted, at the
            ceiling more.
    """

    wanted_per_hour: float
    held_per_hour: float | None
    held_interval_per_hour: tuple[float, float] | None
    predicted_per_hour: float | None
    threshold: float
    observed_s: float
    memory_s: float
    settled: bool
    at_limit: Literal["floor", "ceiling"] | None


class FalseAlarmControl:
    """Adapts the threshold of one stream, so that it raises as many false alarms an hour as wanted.

    >>> from loddis_server.alarms import FalseAlarmControl, FalseAlarmSettings
    >>> control = FalseAlarmControl(FalseAlarmSettings(wanted_per_hour=2), initial_threshold=0.4)
    >>> round(control.threshold, 3), control.status().settled
    (0.4, False)

    Not for several threads at once.

    Args:
        settings: Of the stream.
        initial_threshold: Score to begin with: the model's own.

    Attributes:
        threshold: Score of the hits that confirm a track: for `Tracker.update`.
    """

    def __init__(self, settings: FalseAlarmSettings, *, initial_threshold: float) -> None:
        self.settings = settings
        self._limits = (logit(settings.score_floor), logit(settings.score_ceiling))
        self._threshold = float(np.clip(logit(initial_threshold), *self._limits))
        floor = settings.score_floor
        self._clutter = ClutterMemory(score_floor=floor, memory_s=settings.memory_s)
        self._recent = ClutterMemory(score_floor=floor, memory_s=min(RECENT_S, settings.memory_s))
        self._raised = ClutterMemory(score_floor=floor, memory_s=settings.memory_s)
        self._observed_s = self._pending_s = 0.0
        self._new_raised: list[float] = []  # would-be thresholds of clutter since the last step: of confirmed tracks,
        self._new_missed: list[float] = []  # and of others
        self.threshold = score_of(self._threshold)

    def observe(self, update: TrackUpdate, *, elapsed_s: float) -> None:
        """Take what the tracker said of a frame.

        Args:
            update: Of the tracker that has the present threshold.
            elapsed_s: Time that the frame stands for, seconds: its distance from the frame before, without time in
                which nothing was looked at.

        Raises:
            ValueError: A time that is not finite or below 0.
        """
        if not 0 <= elapsed_s < math.inf:
            raise ValueError(f"elapsed_s must be a finite time from 0 s, got {elapsed_s}")
        self._pending_s += elapsed_s
        if not update.restarted:  # tracks that were cut off might have proved real
            self._new_raised += self._clutter_scores(update.ended)
            self._new_missed += self._clutter_scores(update.discarded)
        if self._pending_s >= STEP_S:
            self._step()

    def status(self) -> FalseAlarmStatus:
        """Say what the stream holds."""
        held = interval = predicted = None
        log_sigma = math.inf
        hours = self._raised.effective_s / HOUR_S
        if hours > 0:
            count = float(self._raised.events_above()[0])
            low, high = poisson_interval(count, confidence=INTERVAL_CONFIDENCE)
            held, interval = count / hours, (low / hours, high / hours)
            predicted, log_sigma = TailRates.of(self._clutter).at(self._threshold)
        wanted = self.settings.wanted_per_hour
        off = math.inf if predicted is None else math.log(predicted / wanted)
        at_limit = self._at_limit()
        is_near = abs(off) <= TOLERANCE or (at_limit == "floor" and off < 0) or (at_limit == "ceiling" and off > 0)
        return FalseAlarmStatus(
            wanted_per_hour=wanted,
            held_per_hour=held,
            held_interval_per_hour=interval,
            predicted_per_hour=predicted,
            threshold=self.threshold,
            observed_s=self._observed_s + self._pending_s,
            memory_s=self.settings.memory_s,
            settled=is_near and log_sigma <= TOLERANCE and self._clutter.effective_s >= HOUR_S / wanted,
            at_limit=at_limit,
        )

    def _at_limit(self) -> Literal["floor", "ceiling"] | None:
        """Say which limit the threshold is at, as near as the histogram tells them apart."""
        low, high = self._limits
        if self._threshold - low <= BIN_LOGITS:
            return "floor"
        return "ceiling" if high - self._threshold <= BIN_LOGITS else None

    def _clutter_scores(self, tracks: tuple[Track, ...]) -> list[float]:
        """Give up to which thresholds tracks that are over were false alarms; those that were none are left out."""
        clutter = (track for track in tracks if track.hits < self.settings.presumed_real_hits)
        return [track.confirmation_score for track in clutter if track.confirmation_score is not None]

    def _step(self) -> None:
        """Let the time pass that has gathered, remember clutter, and move the threshold."""
        elapsed_s = self._pending_s
        everything = self._new_raised + self._new_missed
        for memory, scores in (
            (self._clutter, everything),
            (self._recent, everything),
            (self._raised, self._new_raised),
        ):
            memory.pass_time(elapsed_s)
            for score in scores:
                memory.add(score)
        self._observed_s += elapsed_s
        self._pending_s, self._new_raised, self._new_missed = 0.0, [], []
        rates = TailRates.of(self._clutter)
        if self._surges(rates):
            self._clutter.restart_from(self._recent)
            rates = TailRates.of(self._clutter)
        wanted, confidence = self.settings.wanted_per_hour, self.settings.confidence
        way = float(np.clip(rates.lowest_threshold(wanted, confidence=confidence), *self._limits)) - self._threshold
        self._threshold += way if way > 0 else way * -math.expm1(-elapsed_s / self.settings.loosen_time_s)
        self.threshold = score_of(self._threshold)

    def _surges(self, rates: TailRates) -> bool:
        """Tell whether the newest clutter is far more than what is remembered, at the floor or in the tail."""
        recent = self._recent.events_above()
        hours = self._recent.effective_s / HOUR_S
        for place in {0, rates.tail_place}:
            expected = float(rates.per_hour[place]) * hours
            more = float(recent[place]) - expected
            if more > max((SURGE_FACTOR - 1) * expected, SURGE_SIGMAS * math.sqrt(expected + 1)):
                return True
        return False
