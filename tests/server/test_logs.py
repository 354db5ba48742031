"""The log: one JSON object a line, with the request's id; readable text on a terminal."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from loddis_server.logs import configure_logs, request_id_var, stream_id_var


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    root, uvicorn_logger = logging.getLogger(), logging.getLogger("uvicorn")
    before = root.handlers[:], root.level, uvicorn_logger.level
    yield
    root.handlers[:], root.level, uvicorn_logger.level = before
    logging.captureWarnings(capture=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_is_an_object_with_the_callers_fields() -> None:
    stream = io.StringIO()
    configure_logs("info", "auto", stream=stream)
    token = request_id_var.set("abc")
    logging.getLogger("loddis_server.test").info("frame %s", "seen", extra={"width": 640, "cause": ValueError("odd")})
    request_id_var.reset(token)
    logging.getLogger("loddis_server.test").debug("too quiet")
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields == {
        "level": "info",
        "logger": "loddis_server.test",
        "message": "frame seen",
        "request_id": "abc",
        "width": 640,
        "cause": "odd",
    }


def test_a_traceback_stays_within_its_line() -> None:
    stream = io.StringIO()
    configure_logs("info", "json", stream=stream)
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        logging.getLogger("loddis_server.test").exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ZeroDivisionError: by zero" in json.loads(line)["traceback"]


@pytest.mark.parametrize("log_format", ["auto", "console"])
def test_people_get_text(log_format: str) -> None:
    stream = Terminal()
    configure_logs("info", log_format, stream=stream)  # type: ignore[arg-type]
    logging.getLogger("loddis_server.test").warning("[bold] is no markup", extra={"width": 640})
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert "WARNING  [bold] is no markup width=640" in text


def test_uvicorn_tells_faults_only() -> None:
    stream = io.StringIO()
    configure_logs("debug", "json", stream=stream)
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").error("broken")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["broken"]


def test_a_line_of_a_stream_names_it() -> None:
    for log_format, shown in (("json", '"stream_id":"north-gate"'), ("console", "stream_id=north-gate")):
        stream = io.StringIO()
        configure_logs("info", log_format, stream=stream)  # type: ignore[arg-type]
        token = stream_id_var.set("north-gate")
        logging.getLogger("loddis_server.test").info("late")
        stream_id_var.reset(token)
        logging.getLogger("loddis_server.test").info("other")
        of_stream, other = stream.getvalue().splitlines()
        assert shown in re.sub(r"\x1b\[[0-9;]*m", "", of_stream)
        assert "stream_id" not in other


def test_what_a_client_chose_steers_no_terminal() -> None:
    stream = io.StringIO()
    configure_logs("info", "console", stream=stream)
    logging.getLogger("loddis_server.test").info("request", extra={"path": "/a\n12:00:00 INFO forged \x1b[2J"})
    (line,) = stream.getvalue().splitlines()
    assert "\x1b[2J" not in line
    assert r"path='/a\n12:00:00" in line
