"""Requests made up from the OpenAPI document, and answers held against it: statuses, media types, headers, schemas.

The number of examples an operation comes from `LODDIS_API_EXAMPLES`; the long form is

    LODDIS_API_EXAMPLES=1000 pytest tests/server/test_openapi_conformance.py --timeout 3600

Routes whose answers may go on without end say so by `openapi_extra={"x-endless": True}`, and are left out here: their
own tests end them.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from loddis_server.app import create_app
from loddis_server.events import ID_PATTERN, RECEIVER_NAME
from loddis_server.settings import ServerSettings
from loddis_server.streams.settings import STREAM_ID
from support.events import make_event, webhook_settings
from support.frame_files import jpeg_file, npy_file, pgm_file, png_file, spot_frame, tiff_file
from support.live_server import LiveServer, settings_for, wait_until
from support.moving import moving_spot
from support.recordings import video

KEY = "the-key"
STREAM = "mast-3"
EVENT = make_event()
RECEIVER = webhook_settings("http://127.0.0.1:9/", kinds=["drift"])  # of which there is none: nothing fails meanwhile
PATTERNS = {"stream_id": STREAM_ID.pattern, "event_id": ID_PATTERN, "receiver": RECEIVER_NAME}
EXAMPLES = int(os.environ.get("LODDIS_API_EXAMPLES", "30"))
TIMEOUT_S = 15.0
ENDLESS = "x-endless"
ENDLESS_MEDIA = ("text/event-stream", "multipart/x-mixed-replace")
EXPECTED_SERVER_ERRORS = (501, 503)  # what this release lacks, and an overload; where the document has them

RAW_MEDIA = (None, "application/json", "application/octet-stream")
FRAME = spot_frame((8, 8), size_hw=(16, 16))
FILES = {
    "image/png": png_file(FRAME),
    "image/jpeg": jpeg_file(FRAME),
    "image/tiff": tiff_file(FRAME),
    "image/x-portable-graymap": pgm_file(FRAME),
    "application/x-npy": npy_file(FRAME.astype(np.uint16)),
    "application/octet-stream": png_file(FRAME),
    "video/*": video(list(moving_spot(2))),
}
for media_type, whole in FILES.items():
    # Noise alone is never a frame, and would leave all answers but refusals unseen.
    schemathesis.openapi.media_type(media_type, st.just(whole) | st.binary(max_size=200))


@pytest.fixture(scope="module")
def guarded(repository: Path) -> Iterator[LiveServer]:
    """Give a server with a key, so that the security that the document states is there to be checked."""
    database = repository.parent / "conformance" / "events.db"
    events = {"database_url": f"sqlite:///{database}", "webhooks": (RECEIVER,)}
    settings = settings_for(repository, api_key=KEY, max_frame_pixels=2**20, max_body_bytes=2**21, events=events)
    with LiveServer(settings) as server:
        httpx.post(
            f"{server.url}/v1/detect", content=png_file(FRAME), headers={"X-Stream-Id": STREAM, "X-API-Key": KEY}
        )
        server.service.events.record(EVENT)
        wait_until(lambda: server.service.events.status.store.waiting == 0)
        yield server


# No model decides what the document says; requests go to another server, which has a small one.
DOCUMENT = create_app(ServerSettings(models=("sky-nano",))).openapi()
api = schemathesis.openapi.from_dict(DOCUMENT, config=schemathesis.Config.from_dict({"request-timeout": TIMEOUT_S}))


@api.hook
def map_path_parameters(context: schemathesis.HookContext, values: dict[str, Any]) -> dict[str, Any]:
    """Ask for what exists about every other time: names made up are never those of a model, a stream or a problem."""
    return {name: _existing(name, value) for name, value in values.items()} if values else values


@api.hook
def map_query(context: schemathesis.HookContext, values: dict[str, Any]) -> dict[str, Any]:
    """As `map_path_parameters`."""
    return {name: _existing(name, value) for name, value in values.items()} if values else values


def _existing(name: str, value: Any) -> Any:
    known = {
        "name": "spot",
        "version": "1",
        "model": "spot:1",
        "slug": "overloaded",
        "stream_id": STREAM,
        "event_id": EVENT.id,
        "receiver": RECEIVER.name,
    }
    if name not in known or not isinstance(value, str) or zlib.crc32(value.encode("utf-8", "replace")) % 2 == 0:
        return value
    # What is made up to be refused stays as it is.
    return known[name] if re.fullmatch(PATTERNS.get(name, ".*"), value, re.DOTALL) else value


finite = api.exclude(lambda context: context.operation.definition.raw.get(ENDLESS, False))


@finite.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
def test_answers_are_what_the_document_says(case: schemathesis.Case, guarded: LiveServer) -> None:
    response = case.call(guarded.url, headers={"Authorization": f"Bearer {KEY}"})
    assert response.status_code < 500 or response.status_code in EXPECTED_SERVER_ERRORS
    unchecked = [not_a_server_error, positive_data_acceptance]
    if case.media_type not in RAW_MEDIA:
        unchecked.append(negative_data_rejection)  # headers that describe raw pixels say nothing of a file
    case.validate_response(response, excluded_checks=unchecked)


def test_whoever_answers_without_end_says_so() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            kinds = {kind for answer in operation["responses"].values() for kind in answer.get("content", {})}
            if kinds & set(ENDLESS_MEDIA):
                assert operation.get(ENDLESS), f"{method} {path} lacks {ENDLESS}"
