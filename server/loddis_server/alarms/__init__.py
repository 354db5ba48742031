"""A constant rate of false alarms: the operator sets how many an hour, the stream finds the threshold that holds it.

An alarm is a track that was confirmed; a false one, a confirmed track of clutter. `clutter` remembers at which
thresholds clutter would have been confirmed, `tail` makes a rate for every threshold of it, and `control` chooses one.
"""

from loddis_server.alarms.control import FalseAlarmControl, FalseAlarmStatus
from loddis_server.alarms.settings import FalseAlarmSettings

__all__ = ["FalseAlarmControl", "FalseAlarmSettings", "FalseAlarmStatus"]
