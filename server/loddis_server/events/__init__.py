"""Events that last: a store that keeps what it confirms, and delivery to webhooks and MQTT, at least once."""

from loddis_server.events.errors import EventRefusedError, EventStoreError, SchemaError, StoreUnavailableError
from loddis_server.events.event import EVENT_KINDS, ID_PATTERN, Event, EventKind
from loddis_server.events.log import EventLog, EventLogStatus
from loddis_server.events.queries import Cursor, EventFilter, Order
from loddis_server.events.settings import EventSettings, MqttSettings, RetentionSettings, WebhookSettings
from loddis_server.events.store import DeliveryState, EventStore
from loddis_server.events.thumbnails import thumbnail_png

__all__ = [
    "EVENT_KINDS",
    "ID_PATTERN",
    "Cursor",
    "DeliveryState",
    "Event",
    "EventFilter",
    "EventKind",
    "EventLog",
    "EventLogStatus",
    "EventRefusedError",
    "EventSettings",
    "EventStore",
    "EventStoreError",
    "MqttSettings",
    "Order",
    "RetentionSettings",
    "SchemaError",
    "StoreUnavailableError",
    "WebhookSettings",
    "thumbnail_png",
]
