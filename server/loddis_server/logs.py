"""Structured logs on standard output: one JSON object a line for programs, coloured lines for people.

What goes into `extra={…}` of a call becomes a field; the ids of the request, the stream and the trace under way are
added to all of them.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
from rich.console import Console
from rich.logging import RichHandler

from loddis_server.settings import LogFormat, LogLevel
from loddis_server.tracing import request_span_var

__all__ = ["JsonFormatter", "configure_logs", "request_id_var", "stream_id_var"]

request_id_var: ContextVar[str | None] = ContextVar("request_id", default=None)
# Set by whoever works for a stream: a task, or a thread that runs in a copy of the task's context.
stream_id_var: ContextVar[str | None] = ContextVar("stream_id", default=None)

STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}


class JsonFormatter(logging.Formatter):
    """Gives a record as one line of JSON: time, level, logger, message, ids, fields, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; what JSON does not know is written as text."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= _ids() | _extra(record)
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class ConsoleFormatter(logging.Formatter):
    """Gives a record as text for people, its fields behind the message; `RichHandler` adds time, level, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        stream_id = stream_id_var.get()
        named = {} if stream_id is None else {"stream_id": stream_id}
        fields = "".join(f" {name}={_printable(value)}" for name, value in (named | _extra(record)).items())
        return f"{record.getMessage()}{fields}"


def configure_logs(level: LogLevel, log_format: LogFormat, *, stream: TextIO | None = None) -> None:
    """Send all logs of this process to one handler.

    Args:
        level: Least severe events to write.
        log_format: `auto` chooses by whether the stream is a terminal.
        stream: Standard output if none.
    """
    target = sys.stdout if stream is None else stream
    handler: logging.Handler
    if log_format == "console" or (log_format == "auto" and target.isatty()):
        handler = RichHandler(
            console=Console(file=target), show_path=False, log_time_format="%H:%M:%S", omit_repeated_times=False
        )
        handler.setFormatter(ConsoleFormatter())
    else:
        handler = logging.StreamHandler(target)
        handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # What these tell at INFO this server tells itself; httpx would write addresses of webhooks, which may hold a token.
    for name in ("uvicorn", "httpx", "alembic"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)


def _printable(value: object) -> str:
    """Give a value as text; one that may come from a client, such as a path, must not steer a terminal."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def _ids() -> dict[str, str]:
    """Give the ids of what is under way where the record is made."""
    ids = {"request_id": request_id_var.get(), "stream_id": stream_id_var.get()}
    if (span := request_span_var.get()) is not None:
        ids["trace_id"] = span.trace_id
    return {name: value for name, value in ids.items() if value is not None}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """Give the fields that the caller added."""
    return {name: value for name, value in record.__dict__.items() if name not in STANDARD_FIELDS}
