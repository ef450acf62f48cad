"""Makes the picture of the page in the documentation: ``python -m tests.e2e.picture [FILE]``.

What it shows is made up (tests/overviews.py), the page is the real one; without its script, so that it shows the same
each time. Needs what the tests of the page need.
"""

import sys
from dataclasses import replace
from io import BytesIO
from math import sin
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.page.plots import Plot, draw
from monitor.page.render import PAGES, render
from monitor.samples import MINUTE_MS, Sample
from tests.e2e.browser import MISSING, browser
from tests.overviews import NOW_MS, trouble
from tests.repo.checkout import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Route

PICTURE = ROOT / "docs" / "figures" / "monitor-page.png"
SILENT = range(420, 540)  # minutes


def day() -> list[Sample]:
    """A day in which too few witnesses were heard for two hours."""
    samples = []
    for minute in range(0, 1440, 6):
        at_ms = (NOW_MS // MINUTE_MS - 1440 + minute) * MINUTE_MS
        size = 5_300_000 + 14 * minute + int(2500 * sin(minute / 180))
        behind = 40 + (minute - SILENT.start) * 60 * (minute in SILENT)
        shown = size + 900 * (minute in range(900, 960))
        lag = 6 + int(3 * sin(minute / 90) + 3 * sin(minute / 17))
        samples.append(Sample("log", at_ms, size, shown, at_ms // 1000 - behind, 1, at_ms - lag * 1000, 0, 0))
    return samples


def picture() -> bytes:
    """The page as a PNG."""
    seen = trouble()
    seen = replace(seen, alarms=seen.alarms[:2], totals=replace(seen.totals, open_alarms=2))
    page = render(seen, {"logs": 1, "cosigners": 0}, NOW_MS)
    samples = day()

    def serve(route: "Route") -> None:
        path = route.request.url.removeprefix("http://m1.example").partition("?")[0]
        if path == "/":
            route.fulfill(body=page.body, content_type="text/html; charset=utf-8")
        elif path.startswith("/v1/plots/"):
            plot = Plot(path.rpartition("/")[2].removesuffix(".svg"))
            route.fulfill(body=draw(plot, samples), content_type="image/svg+xml")
        else:
            asset = PAGES.assets[path]
            route.fulfill(body=asset.content.body, content_type=asset.kind)

    with browser() as chromium:
        context = chromium.new_context(viewport={"width": 1120, "height": 2300}, java_script_enabled=False)
        window = context.new_page()
        window.route("**/*", serve)
        window.goto("http://m1.example/", wait_until="networkidle")
        cut = window.locator("#plots details").nth(1).bounding_box()
        if cut is None:
            raise AssertionError("the page has no second log")
        return _smaller(window.screenshot(clip={"x": 0, "y": 0, "width": 1120, "height": cut["y"]}))


def _smaller(png: bytes) -> bytes:
    """The same picture in 128 colours: a third of the bytes."""
    from PIL import Image

    written = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        written, "PNG", optimize=True
    )
    return written.getvalue()


if __name__ == "__main__":
    if MISSING:
        sys.exit(MISSING)
    (Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE).write_bytes(picture())
