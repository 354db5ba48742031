"""A browser on the console: Debian's Chromium, without a screen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

__all__ = ["chromium", "opened"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 20_000
expect.set_options(timeout=TIMEOUT_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the machine's Chromium; skip, or fail where CI asks for it, if it has none."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        missing = f"no browser: none of {', '.join(NAMES)} is on the path"
        if os.environ.get("LODDIS_REQUIRE_BROWSER"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        # Its own sandbox wants rights that a container does not have; it sees nothing but the server under test.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, url: str, *, expected: tuple[str, ...] = ()) -> Iterator[Page]:
    """Open a page of its own; at the end, nothing may have gone wrong in it.

    Args:
        browser: To open it in.
        url: Where.
        expected: Parts of what the browser may say went wrong, such as the status of a refusal.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    wrong = [fault for fault in faults if not any(text in fault for text in expected)]
    assert not wrong, wrong
