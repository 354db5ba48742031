"""The picture of the web console in the documentation: three generated cameras, seen by Chromium.

python benchmarks/console_picture.py docs/images/console.png
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

CAMERAS = Path(__file__).parents[1] / "demo" / "cameras.py"
SIZE = {"width": 1100, "height": 520}
TIMEOUT_MS = 60_000
POLL_MS = 100


def main() -> None:
    """Start the cameras, wait until each has a target, take the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("picture", type=Path, help="PNG to write")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not on the path")
    with (
        subprocess.Popen([sys.executable, CAMERAS], stdout=subprocess.PIPE, text=True) as cameras,
        sync_playwright() as p,
    ):
        try:
            (url,) = re.findall(r"http://[0-9.:]+", cameras.stdout.readline() if cameras.stdout else "")
            browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE, color_scheme="dark")  # type: ignore[arg-type]
            page.goto(url)
            cards = page.locator(".card")
            expect(cards.filter(has_text=re.compile("[1-9] track"))).to_have_count(3, timeout=TIMEOUT_MS)
            while not page.evaluate("[...document.querySelectorAll('.card img')].every((one) => one.naturalWidth > 0)"):
                page.wait_for_timeout(POLL_MS)
            notices = page.locator("#notices .notice")
            expect(notices.first).to_be_visible(timeout=TIMEOUT_MS)
            expect(notices).to_have_count(0, timeout=TIMEOUT_MS)  # they go by themselves
            page.screenshot(path=options.picture)
            browser.close()
        finally:
            cameras.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
