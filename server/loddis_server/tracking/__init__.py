"""Detections of a frame become tracks: what is where, how it moves, and how sure that is.

    Tracker.update(detections, frame=..., frame_index=...) -> TrackUpdate(tracks, confirmed, ended, ...)

Everything known of the tracks is held in arrays over all of them (`table`); `motion` moves and corrects them, `camera`
measures what the camera did, `association` tells which detection is whose, `confirmation` which tracks are to be
believed, and `tracker` puts these together.
"""

from loddis_server.tracking.settings import TrackerSettings
from loddis_server.tracking.track import Track, TrackState, TrackUpdate
from loddis_server.tracking.tracker import Tracker

__all__ = ["Track", "TrackState", "TrackUpdate", "Tracker", "TrackerSettings"]
