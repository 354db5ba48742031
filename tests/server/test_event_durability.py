"""`kill -9` in the middle of storing and delivering: nothing that was confirmed is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loddis_server.events import EventFilter, EventLog, EventSettings
from loddis_server.metrics import Metrics
from support.events import WebhookServer, webhook_settings
from support.live_server import wait_until

ROUNDS = 4
EVENTS_A_ROUND = 60

# Stores events as fast as it can, and prints the ids of those that are confirmed.
CHILD = """
import sys
import time
from loddis_server.events import EventLog, EventSettings
from loddis_server.metrics import Metrics
from support.events import make_event, webhook_settings

url, hook = sys.argv[1:]
log = EventLog(EventSettings(database_url=url, webhooks=(webhook_settings(hook),)), Metrics())
log.on_stored = lambda events: print(*(event.id for event in events), sep="\\n", flush=True)
log.start()
number = 0
while True:
    log.record(make_event(number), b"x" * 2000)
    number += 1
    while log.status.store.waiting > 20:
        time.sleep(0.001)
"""


@contextmanager
def child(url: str, hook: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, url, hook], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_nothing_confirmed_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    confirmed: list[str] = []
    with WebhookServer() as server:
        for turn in range(ROUNDS):
            wanted = len(confirmed) + random.Random(turn).randrange(1, EVENTS_A_ROUND)
            already = len(server.requests)
            with child(url, server.url) as process:
                assert process.stdout is not None
                while len(confirmed) < wanted:
                    confirmed.append(process.stdout.readline().strip())
                wait_until(lambda already=already: len(server.requests) > already)  # type: ignore[misc]
                process.send_signal(signal.SIGKILL)
                confirmed += process.stdout.read().split()
        settings = EventSettings(database_url=url, webhooks=(webhook_settings(server.url),))
        log = EventLog(settings, Metrics())
        log.start()
        try:
            stored = [event.id for event in log.store.query(EventFilter(), limit=1_000_000)]
            wait_until(lambda: set(stored) <= set(server.ids))
        finally:
            log.stop(timeout_s=5)
    assert len(confirmed) == len(set(confirmed))
    assert set(confirmed) <= set(stored)
    # In the order in which they were stored; an event may come twice, where a process was killed before it could note
    # that it had been delivered.
    first_times = list(dict.fromkeys(server.ids))
    assert [event_id for event_id in first_times if event_id in set(confirmed)] == confirmed
    assert len(server.ids) - len(first_times) <= ROUNDS
