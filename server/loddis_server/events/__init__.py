"""Events that last: a store that keeps what it confirms, and delivery to webhooks and MQTT, at least once."""

from loddis_server.events.courier import ReceiverStatus
from loddis_server.events.delivery import make_receiver
from loddis_server.events.errors import EventRefusedError, EventStoreError, SchemaError, StoreUnavailableError
from loddis_server.events.event import EVENT_KINDS, ID_PATTERN, Event, EventKind
from loddis_server.events.inspection import inspect_database
from loddis_server.events.log import EventLog, EventLogStatus
from loddis_server.events.queries import Cursor, EventFilter, Order
from loddis_server.events.receiver import ReceiverKind
from loddis_server.events.settings import (
    RECEIVER_NAME,
    EventSettings,
    MqttSettings,
    RetentionSettings,
    WebhookSettings,
)
from loddis_server.events.store import DeliveryState, EventStore
from loddis_server.events.thumbnails import thumbnail_png
from loddis_server.events.writer import StoreState, StoreStatus

__all__ = [
    "EVENT_KINDS",
    "ID_PATTERN",
    "RECEIVER_NAME",
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
    "ReceiverKind",
    "ReceiverStatus",
    "RetentionSettings",
    "SchemaError",
    "StoreState",
    "StoreStatus",
    "StoreUnavailableError",
    "WebhookSettings",
    "inspect_database",
    "make_receiver",
    "thumbnail_png",
]
