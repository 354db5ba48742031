"""The web console as its users see it, in a browser."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from loddis_server.events import Event, EventFilter
from loddis_server.keys import ApiKey
from support.browser import chromium, opened
from support.bundles import write_spot_bundle
from support.events import WebhookServer, make_event, webhook_settings
from support.frame_files import png_file, raw_headers, spot_frame
from support.live_server import LiveServer, settings_for, wait_until
from support.moving import moving_spot

KEYS = ("guard:detect:eye", "ops:detect+manage:hand")
FPS = 30
BLOB = re.compile("^blob:")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the folder of images `clip`: a target that crosses the scene."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "clip").mkdir()
    for index, frame in enumerate(moving_spot(120, velocity_xy=(0.5, 0.2))):
        (folder / "clip" / f"{index:03d}.png").write_bytes(png_file(frame))
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, clips: Path) -> Iterator[LiveServer]:
    sources = {"folders": (clips,), "devices": ("/dev/loddis-absent",)}
    with LiveServer(settings_for(repository, sources=sources)) as running:
        yield running


@contextmanager
def camera(server: LiveServer, stream_id: str, **headers: str) -> Iterator[None]:
    """Send frames with a target that goes to and fro, until the block ends."""
    over = threading.Event()

    def send() -> None:
        there = list(moving_spot(60, velocity_xy=(1.0, 0.2)))
        with httpx.Client(base_url=server.url, trust_env=False, headers=headers) as http:
            for frame in itertools.cycle([*there, *reversed(there)]):
                sent = {**raw_headers(frame), "X-Stream-Id": stream_id}
                http.post("/v1/detect", content=frame.tobytes(), headers=sent)
                if over.wait(1 / FPS):
                    return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        httpx.delete(f"{server.url}/v1/streams/{stream_id}", trust_env=False, headers=headers)


def shows_a_picture(page: Page, selector: str) -> bool:
    """Tell whether a canvas or image has something bright in it."""
    drawn: Any = page.evaluate(
        """selector => {
            const element = document.querySelector(selector);
            const canvas = new OffscreenCanvas(96, 64), context = canvas.getContext("2d");
            try { context.drawImage(element, 0, 0, 96, 64); } catch { return 0; }
            return Math.max(...context.getImageData(0, 0, 96, 64).data.filter((_, at) => at % 4 < 3));
        }""",
        selector,
    )
    return int(drawn) > 100


def test_streams_are_seen_at_a_glance_and_closely(server: LiveServer, browser: Browser) -> None:
    with camera(server, "mast-3"), opened(browser, server.url) as page:
        card = page.locator(".card", has_text="mast-3")
        expect(card.locator(".badge").first).to_have_text("receiving")
        expect(card).to_contain_text("1 track")
        wait_until(lambda: shows_a_picture(page, ".card img"), timeout_s=20)
        card.click()
        expect(page.locator("h1")).to_contain_text("mast-3")
        wait_until(lambda: shows_a_picture(page, ".stream canvas"), timeout_s=20)
        expect(page.locator(".stream tbody tr")).to_contain_text(["confirmed"])
        expect(page.locator("dl")).to_contain_text("spot:1")
        stream = server.service.streams.find("mast-3")
        wait_until(lambda: len(stream.hub) == 1)  # of the six connections that a browser has for all of its tabs
        page.locator("nav").get_by_text("Models").click()
        wait_until(lambda: len(stream.hub) == 0)  # who leaves the page leaves no connection behind


def test_a_tab_that_nobody_sees_holds_no_connection(server: LiveServer, browser: Browser) -> None:
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with camera(server, "mast-4"), opened(browser, f"{server.url}/#/streams/mast-4") as page:
        expect(page.locator(".stream tbody tr")).to_contain_text(["confirmed"])
        stream = server.service.streams.find("mast-4")
        page.evaluate(hide, True)
        wait_until(lambda: len(stream.hub) == 0)
        page.evaluate(hide, False)
        wait_until(lambda: len(stream.hub) == 1)


@pytest.mark.parametrize(("retry_failed_s", "next_try"), [(1000, r"tried again \d"), (0, "not tried again")])
def test_a_camera_that_fails_says_whether_it_is_tried_again(
    server: LiveServer, browser: Browser, retry_failed_s: float, next_try: str
) -> None:
    wanted = {"stream_id": "lost", "source": {"device": "/dev/loddis-absent", "retry_failed_s": retry_failed_s}}
    assert httpx.post(f"{server.url}/v1/streams", json=wanted, trust_env=False).status_code == 201
    with opened(browser, server.url) as page:
        card = page.locator(".card", has_text="lost")
        expect(card.locator(".badge").first).to_have_text("failed")
        expect(card.locator(".signs")).to_have_text(re.compile(f"there is no /dev/loddis-absent; {next_try}"))
    httpx.delete(f"{server.url}/v1/streams/lost", trust_env=False)


def test_a_stream_that_has_ended_says_so_once(server: LiveServer, browser: Browser, clips: Path) -> None:
    source = {"path": str(clips / "clip"), "realtime": True, "frame_rate_hz": 60}
    wanted = {"stream_id": "short", "source": source}
    with opened(browser, f"{server.url}/#/streams/short", expected=("status of 404",)) as page:
        expect(page.locator("main > .fault").nth(1)).to_contain_text("no stream 'short'")
        assert httpx.post(f"{server.url}/v1/streams", json=wanted, trust_env=False).status_code == 201
        ends = page.locator(".lines li", has_text="the stream ended")
        expect(ends).to_have_count(1)
        expect(page.locator("h1 .badge")).to_have_text("ended")
        for _ in range(3):
            page.wait_for_event("response", lambda response: response.url.endswith("/v1/streams/short"))
        expect(ends).to_have_count(1)
        assert shows_a_picture(page, ".stream canvas")  # the last one
        httpx.delete(f"{server.url}/v1/streams/short", trust_env=False)
        expect(page.locator("h1 .badge")).to_be_empty()


def test_many_cameras_need_few_connections(server: LiveServer, browser: Browser) -> None:
    names = [f"camera-{number:02d}" for number in range(12)]
    frame = spot_frame((40, 30))
    for name in names:
        sent = {**raw_headers(frame), "X-Stream-Id": name}
        assert httpx.post(f"{server.url}/v1/detect", content=frame.tobytes(), headers=sent, trust_env=False).is_success
    with opened(browser, server.url) as page:
        expect(page.locator(".card")).to_have_count(len(names))
        for number in range(len(names)):
            page.locator(".card").nth(number).scroll_into_view_if_needed()
            expect(page.locator(".card img").nth(number)).to_have_attribute("src", BLOB)
    for name in names:
        httpx.delete(f"{server.url}/v1/streams/{name}", trust_env=False)


def test_a_stream_is_added_and_ended(server: LiveServer, browser: Browser, clips: Path) -> None:
    with opened(browser, server.url, expected=("status of 403", "status of 404")) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Add a stream").click()
        page.get_by_label("Name").fill("replay")
        page.get_by_label("Source").select_option("File or folder")
        page.get_by_label("Where it is").fill("/etc/passwd")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("/etc/passwd")
        page.get_by_label("Where it is").fill(str(clips / "clip"))
        page.get_by_label("Play at its own pace").check()
        page.get_by_label("False alarms an hour").fill("2")
        page.get_by_role("button", name="Add", exact=True).click()
        card = page.locator(".card", has_text="replay")
        expect(card).to_contain_text("2 false alarms an hour")
        assert server.service.streams.find("replay").settings.alarms is not None
        card.click()
        page.get_by_role("button", name="End the stream").click()
        expect(page.locator(".card", has_text="replay")).to_have_count(0)
        expect(page.locator("h1")).to_have_text("Streams")


def test_an_alarm_is_told_on_every_page_and_kept(server: LiveServer, browser: Browser) -> None:
    with opened(browser, f"{server.url}/#/models") as page:
        expect(page.locator("h2")).to_have_text("spot:1")
        with camera(server, "harbour"):
            notice = page.locator("#notices .notice", has_text="harbour")
            expect(notice.first).to_be_visible()
            wait_until(lambda: shows_a_picture(page, "#notices img"), timeout_s=20)
        page.locator("nav").get_by_text("Events").click()
        page.get_by_label("Stream").fill("harbour")
        page.get_by_label("Stream").press("Enter")
        page.get_by_label("Kind").select_option("target found")
        rows = page.locator("tbody tr")
        expect(rows.first).to_contain_text("target found at")
        expect(page.locator("tbody")).not_to_contain_text("target lost")
        details = rows.first.get_by_role("button", name="Details")
        details.focus()
        server.service.events.record(make_event(1, stream_id="harbour", occurred_at=datetime.now(UTC)))
        expect(rows.first).not_to_contain_text("SNR")  # the new one
        expect(rows.nth(1).get_by_role("button", name="Details")).to_be_focused()
        rows.nth(1).get_by_role("button", name="Details").click()
        expect(page.get_by_role("dialog")).to_contain_text('"stream_id": "harbour"')
        page.go_back()
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_alarms_are_told_once_late_ones_too_and_old_ones_not(
    repository: Path, browser: Browser, tmp_path: Path
) -> None:
    now = datetime.now(UTC)

    def event(number: int, seconds: float) -> Event:
        made = make_event(number, kind="track.confirmed", stream_id=f"camera-{number}")
        return made.model_copy(update={"occurred_at": now + timedelta(seconds=seconds)})

    with (
        LiveServer(settings_for(repository)) as server,
        contextlib.ExitStack() as stack,
    ):
        record = server.service.events.record
        for number in (1, 2):
            record(event(number, 0))  # at once: both are known when the page opens
        wait_until(lambda: len(server.service.events.store.query(EventFilter(), limit=9)) == 2)
        page = stack.enter_context(opened(browser, f"{server.url}/#/models", expected=("status of 500",)))
        with page.expect_response(lambda response: "/v1/events" in response.url and "oldest" in response.url):
            pass
        notices = page.locator("#notices .notice")
        record(event(3, 5))
        expect(notices).to_have_text([re.compile("camera-3")])
        record(event(4, 4))  # captured before the one that is known, stored after it
        expect(notices).to_have_text([re.compile("camera-4"), re.compile("camera-3")])
        notices.first.get_by_role("button", name="Close").click()
        expect(notices).to_have_text([re.compile("camera-3")])
        page.keyboard.press("Escape")
        expect(notices).to_have_count(0)
        broken = re.compile("cursor=")  # a page of what is new that fails loses nothing of the pages before
        page.route(broken, lambda route: route.fulfill(status=500, body="no"), times=1)
        for number in range(10, 140):
            record(event(number, 6))
        expect(notices).to_have_count(5)
        expect(notices.last).to_have_text(re.compile("and 126 more targets"))


def test_older_events_come_once(repository: Path, browser: Browser) -> None:
    with LiveServer(settings_for(repository)) as server:
        for number in range(120):
            server.service.events.record(make_event(number))
        wait_until(lambda: len(server.service.events.store.query(EventFilter(), limit=200)) == 120)
        with opened(browser, f"{server.url}/#/events") as page:
            rows = page.locator("tbody tr")
            expect(rows).to_have_count(50)
            page.get_by_role("button", name="Older ones").dblclick()
            expect(rows).to_have_count(100)
            page.get_by_role("button", name="Older ones").click()
            expect(rows).to_have_count(120)
            expect(page.get_by_role("button", name="Older ones")).to_be_hidden()


@pytest.mark.parametrize("place", ["#/streams/%", "#/nothing", "#/constructor/x", "#//"])
def test_odd_addresses_leave_a_console(server: LiveServer, browser: Browser, place: str) -> None:
    with opened(browser, f"{server.url}/{place}", expected=("status of 404", "status of 422")) as page:
        expect(page.locator("h1")).to_be_visible()
        expect(page.locator("#server")).to_contain_text("ready")


def test_a_receiver_that_refuses_is_seen_and_gets_its_events_once_mended(
    repository: Path, browser: Browser, tmp_path: Path
) -> None:
    answers = [422]
    with WebhookServer(lambda _: answers[-1]) as hook:
        events = {
            "database_url": f"sqlite:///{tmp_path}/events.db",
            "webhooks": (webhook_settings(hook.url, name="control-room", max_refusals=1),),
        }
        with (
            LiveServer(settings_for(repository, events=events)) as server,
            opened(browser, f"{server.url}/#/events") as page,
        ):
            receiver = page.locator(".deliveries p", has_text="control-room")
            expect(receiver).to_contain_text("idle")
            server.service.events.record(make_event(1))
            expect(receiver).to_contain_text("1 set aside")
            answers.append(204)
            receiver.get_by_role("button", name="Deliver again").click()
            expect(receiver).not_to_contain_text("set aside")
            wait_until(lambda: len(hook.ids) == 2, timeout_s=20)
            page.get_by_role("button", name="Details").click()
            expect(page.get_by_role("dialog")).to_contain_text("nothing")


def test_a_key_is_asked_for_and_stands_in_no_address(repository: Path, browser: Browser) -> None:
    keys = tuple(ApiKey.model_validate(key) for key in KEYS)
    hand = {"X-API-Key": "hand"}
    with (
        LiveServer(settings_for(repository, api_keys=keys)) as server,
        camera(server, "gate", **hand),
        opened(browser, server.url, expected=("status of 401", "status of 403")) as page,
    ):
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("API key")
        dialog.get_by_label("Key", exact=True).fill("wrong")
        dialog.get_by_role("button", name="Use it").click()
        expect(dialog.get_by_role("alert")).to_contain_text("not one of this server's")
        dialog.get_by_label("Key", exact=True).fill("schl\u00fcssel bund")
        dialog.get_by_role("button", name="Use it").click()
        expect(dialog.get_by_role("alert")).to_contain_text("ASCII")
        dialog.get_by_label("Key", exact=True).fill("eye")
        dialog.get_by_role("button", name="Use it").click()
        page.locator(".card", has_text="gate").click()
        wait_until(lambda: shows_a_picture(page, ".stream canvas"), timeout_s=20)
        page.on("dialog", lambda asked: asked.accept())
        page.get_by_role("button", name="End the stream").click()
        refusal = page.locator("main > .fault").first
        expect(refusal).to_contain_text("scope manage")
        for _ in range(2):  # what goes well meanwhile does not take it away
            page.wait_for_event("response", lambda response: response.url.endswith("/v1/streams/gate"))
        expect(refusal).to_contain_text("scope manage")
        expect(dialog).to_have_count(0)  # another key is not what is asked for
        page.reload()
        wait_until(lambda: shows_a_picture(page, ".stream canvas"), timeout_s=20)  # the tab has kept the key
        assert not [address for address in addresses if "eye" in address or "wrong" in address]
        assert page.context.cookies() == []
        page.get_by_role("button", name="Key").click()
        dialog.get_by_label("Key", exact=True).fill("")
        dialog.get_by_role("button", name="Use it").click()
        expect(dialog).to_contain_text("The server asks for a key")  # the one there was is forgotten
        page.keyboard.press("Escape")
        for _ in range(2):
            page.wait_for_event("response", lambda response: response.status == 401)
        expect(dialog).to_have_count(0)  # who does not want to is not asked again and again


def test_models_are_loaded_and_unloaded(tmp_path: Path, browser: Browser) -> None:
    for version in ("1", "2"):
        write_spot_bundle(tmp_path / "models", version=version)
    with (
        LiveServer(settings_for(tmp_path / "models", models=("spot:1",))) as server,
        opened(browser, f"{server.url}/#/models", expected=("status of 409",)) as page,
    ):
        rows = page.locator("tbody tr", has_text="spot")
        first, second = (rows.filter(has=page.get_by_text(version, exact=True)) for version in "12")
        expect(second).to_contain_text("available")
        second.get_by_role("button", name="Load").click()
        expect(second).to_contain_text("ready")
        expect(second).to_contain_text("newest, default")
        first.get_by_role("button", name="Unload").click()
        expect(first).to_contain_text("available")
        second.get_by_role("button", name="Unload").click()
        expect(page.locator("main > .fault").first).to_contain_text("spot:2")


def test_a_frame_and_a_broken_one_are_tried(server: LiveServer, browser: Browser) -> None:
    with opened(browser, f"{server.url}/#/try", expected=("status of 422",)) as page:
        choose = page.locator("input[type=file]")
        frame = spot_frame((40, 30), dtype=np.uint16)
        choose.set_input_files({"name": "frame.png", "mimeType": "image/png", "buffer": png_file(frame)})
        expect(page.locator("tbody tr")).to_contain_text(["target"])
        expect(page.locator("main")).to_contain_text("96 × 64 uint16")
        wait_until(lambda: shows_a_picture(page, ".picture img"), timeout_s=20)
        choose.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"})
        expect(page.locator("main > .fault").first).to_contain_text("notes.txt is no file of a kind")
        broken = png_file(frame)[:-40]
        choose.set_input_files({"name": "broken.png", "mimeType": "image/png", "buffer": broken})
        expect(page.locator("main > .fault").first).not_to_be_empty()
        expect(page.locator("tbody tr")).to_have_count(0)


def test_what_others_named_is_shown_as_text(tmp_path: Path, browser: Browser) -> None:
    name = "<img src=x onerror=alert(1)>"
    write_spot_bundle(tmp_path / "models", classes=(name,))
    with (
        LiveServer(settings_for(tmp_path / "models")) as server,
        opened(browser, f"{server.url}/#/try") as page,
    ):
        frame = png_file(spot_frame((40, 30)))
        page.locator("input[type=file]").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": frame})
        expect(page.locator("tbody tr td").first).to_have_text(name)
        expect(page.locator("tbody tr td *")).to_have_count(0)  # and not as what it says


def test_a_server_that_goes_and_comes_back_is_seen(repository: Path, browser: Browser) -> None:
    with LiveServer(settings_for(repository)) as server, opened(browser, server.url, expected=("ERR_FAILED",)) as page:
        badge = page.locator("#server")
        expect(badge).to_contain_text("ready")
        page.route("**/*", lambda route: route.abort())
        expect(badge).to_have_text("cannot be reached")
        page.unroute("**/*")
        expect(badge).to_contain_text("ready", timeout=40_000)
