"""The monitor's page in a real browser, over a real monitor process."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from monitor.samples import MINUTE_MS, Sample
from tests.e2e.browser import MISSING, PATIENCE, Process, browser, configure, past, running, serving
from tests.fakes_log import WITNESSES, FakeLog, policy, signer
from tlog.hashing import leaf_hashes

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

HOSTILE = "log.example/<img src=x onerror=alert(1)><script>alert(2)</script>\u202e"
HOSTILE_ENTRY = (
    b"our-product <img src=x onerror=alert(3)><script>alert(4)</script>{{ 98765*7 }} \xe2\x80\xae\x1b[2J \xff"
)
WATCHES = """
[[watch]]
name = "our product"
regex = "our-product.*"
since = 0

[[watch]]
name = "<b>nothing</b>"
substring = "nobody has logged this"
since = 0
"""
MANY = 100
MILLISECONDS = PATIENCE * 1000
SHOTS = os.environ.get("SAMEVIEW_SCREENSHOTS")  # a folder, to look at what the tests see


@dataclass(slots=True)
class Place:
    """A monitor that follows a log that everybody sees alike, one that will lie, and one with a hostile name."""

    folder: Path
    monitor: Process
    logs: list[FakeLog]
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("page")
    logs = [FakeLog(), FakeLog(origin="log.example/two"), FakeLog(origin=HOSTILE, key=signer("log.example/three"))]
    for log in logs:
        log.add(300)
        log.publish(time=now())
    logs[1].entries[7] = HOSTILE_ENTRY
    logs[1].leaves = leaf_hashes(logs[1].entries)
    logs[1].publish(time=now())
    with serving(logs) as served_at:
        config = configure(folder, logs, served_at)
        with config.open("a") as file:
            file.write(WATCHES)
        (folder / "two.txt").write_bytes(policy(logs[1].key).format())
        past(folder, [sample for log in logs for sample in a_day_of(log)])
        with running(config) as monitor:
            monitor.wait_until(lambda found: all(log["size"] == 300 for log in found["logs"]))
            yield Place(folder, monitor, logs)


def now() -> int:
    return int(time.time())  # noqa: TID251 # what is signed now should look so to the monitor


def a_day_of(log: FakeLog) -> list[Sample]:
    """A day in which the witnesses were silent for two hours."""
    minute = now() // 60
    samples = []
    for ago in range(1, 1441):
        at = (minute - ago) * 60
        silent = max(0, 600 - ago) if 480 < ago < 600 else 0
        samples.append(
            Sample(
                log.origin, at * 1000, 300 - ago // 5, 300 - ago // 5, at - 40 - silent * 60, 1, at * 1000 - 5000, 0, 0
            )
        )
    return [one for one in samples if one.at_ms % MINUTE_MS == 0]


@pytest.fixture
def page(chromium: "Browser", place: Place, request: pytest.FixtureRequest) -> Iterator["Page"]:
    """A window of its own; a test says which kind by ``window``."""
    context = chromium.new_context(**getattr(request, "param", {}))
    found = context.new_page()
    found.set_default_timeout(MILLISECONDS)
    place.errors, place.asked = [], []
    found.on("console", lambda message: place.errors.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: place.errors.append(str(error)))
    found.on("dialog", lambda dialog: place.errors.append(f"dialog: {dialog.message}"))
    found.on("request", lambda asked: place.asked.append(asked.url))
    yield found
    if SHOTS:
        name = re.sub(r"\W+", "-", request.node.name)
        found.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)
    context.close()


def window(**options: object) -> pytest.MarkDecorator:
    """What the browser of a test is like."""
    return pytest.mark.parametrize("page", [options], indirect=True, ids=["-".join(options)])


PHONE = window(viewport={"width": 360, "height": 760}, is_mobile=True, has_touch=True)


def open_(page: "Page", place: Place) -> None:
    page.goto(f"{place.monitor.url}/", wait_until="networkidle")


def test_it_loads_without_an_error_and_asks_nobody_else(page: "Page", place: Place) -> None:
    open_(page, place)
    page.get_by_text("log.example/two").first.wait_for()
    assert place.errors == []
    assert [url for url in place.asked if not url.startswith(f"{place.monitor.url}/")] == []
    assert any(url.endswith(".js") for url in place.asked)


def test_it_shows_the_matrix_and_the_plots(page: "Page", place: Place) -> None:
    open_(page, place)
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader").filter(has_text="log.example/one"))
    cells = row.get_by_role("cell").all_inner_texts()
    assert len(cells) == 3 + len(WITNESSES)
    assert [cell for cell in cells[3:] if "✓" not in cell or "same" not in cell] == []
    plots = page.locator("figure img")
    for number in range(3):
        plots.nth(number).scroll_into_view_if_needed()
        page.wait_for_function("(at) => document.querySelectorAll('figure img')[at].naturalWidth > 0", arg=number)
    assert plots.count() == 9
    assert place.errors == []


def test_the_name_of_a_log_leads_to_its_page(page: "Page", place: Place) -> None:
    open_(page, place)
    page.get_by_role("link", name="log.example/two").click()
    page.get_by_role("heading", name="log.example/two").wait_for()
    page.locator("figure img").nth(2).scroll_into_view_if_needed()
    page.wait_for_function("Array.from(document.querySelectorAll('figure img')).every((one) => one.naturalWidth > 0)")
    assert page.get_by_role("row").filter(has_text="witness.example").count() == len(WITNESSES)
    assert place.errors == []


def test_a_reader_sees_a_log_grow_without_reloading(page: "Page", place: Place) -> None:
    page.clock.install()
    open_(page, place)
    page.evaluate("window.here = true")
    page.locator("details.plots summary").last.click()
    opened = page.locator("details.plots[open]").count()
    place.logs[1].add(1200)
    place.logs[1].publish(time=now())
    place.monitor.wait_until(lambda found: any(log["size"] == 1500 for log in found["logs"]))
    page.clock.fast_forward(6000)
    page.get_by_text("1,500", exact=True).first.wait_for()
    assert page.evaluate("window.here") is True  # it is the same document,
    assert page.locator("details.plots[open]").count() == opened  # and what the reader did to it stays
    assert place.errors == []


def test_a_page_whose_monitor_does_not_answer_says_so(page: "Page", place: Place) -> None:
    page.clock.install()
    open_(page, place)
    page.get_by_text("Live: refreshed").wait_for()
    page.route("**/*", lambda route: route.abort())
    page.clock.fast_forward(30_000)
    page.get_by_text(re.compile("Not reached for .* what you see is old")).wait_for()


@window(java_script_enabled=False)
def test_it_is_readable_without_javascript(page: "Page", place: Place) -> None:
    drawn: list[int] = []
    page.on("response", lambda answer: drawn.append(answer.status) if ".svg?at=" in answer.url else None)
    open_(page, place)
    assert "Reload the page for news" in page.locator("header").inner_text()
    assert page.get_by_role("rowheader").count() >= 3
    page.locator("figure").first.scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    assert set(drawn) == {200}
    assert page.locator("button").filter(visible=True).count() == 0  # what would need a script is not there


@PHONE
def test_a_phone_never_scrolls_sideways(page: "Page", place: Place) -> None:
    open_(page, place)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.querySelector('.matrix').getBoundingClientRect().right") <= 360
    assert page.get_by_role("rowheader").count() >= 3  # it looks like cards, and is a table to whoever hears it
    assert page.get_by_role("cell").filter(has_text="same").count() >= len(WITNESSES)


# The text on the page that stands out least from what is behind it: how much, and which it is.
CONTRAST = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (one) => one / 255 <= .03928 ? one / 255 / 12.92 : ((one / 255 + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const found = parts(getComputedStyle(one).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const worded = (one) => Array.from(one.childNodes).some((child) => child.nodeType === 3 && child.nodeValue.trim());
  const found = [];
  for (const one of document.querySelectorAll("body *")) {
    if (!worded(one) || one.closest(".hidden, style, script")) continue;
    const pair = [light(parts(getComputedStyle(one).color)), light(behind(one))];
    found.push([(Math.max(...pair) + .05) / (Math.min(...pair) + .05), one.nodeName, one.textContent.slice(0, 40)]);
  }
  return found.sort((one, other) => one[0] - other[0])[0];
}"""


@pytest.mark.parametrize(
    "page", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True, ids=["light", "dark"]
)
def test_every_word_can_be_read_in_light_and_in_dark(
    page: "Page", place: Place, request: pytest.FixtureRequest
) -> None:
    open_(page, place)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == ("[light]" in request.node.name)
    contrast = page.evaluate(CONTRAST)
    assert contrast[0] >= 4.5, contrast  # WCAG 2.2, 1.4.3


def test_names_that_others_chose_stay_text(page: "Page", place: Place) -> None:
    open_(page, place)
    shown = page.get_by_role("rowheader").filter(has_text="onerror").inner_text()
    assert "<script>alert(2)</script>" in shown.replace("\n", "")
    assert r"\u202e" in shown
    assert page.locator("main script, main img[src=x]").count() == 0
    assert place.errors == []


def open_operator(page: "Page", place: Place) -> None:
    """The operator's page, once the watches have found what there is."""
    place.monitor.wait_until(lambda _: json.loads(urlopen(f"{place.monitor.operator}/v1/matches").read())["matches"])
    page.goto(f"{place.monitor.operator}/", wait_until="networkidle")
    page.get_by_role("heading", name="What watches found").wait_for()


def test_the_operator_sees_what_watches_found_and_its_proof_verifies(page: "Page", place: Place) -> None:
    open_operator(page, place)
    row = page.locator("#watches").get_by_role("row").filter(has_text="log.example/two")
    for name in ("proof", "entry"):
        save(page, row.get_by_role("link", name=name), place.folder)
    assert (place.folder / "1.entry").read_bytes() == HOSTILE_ENTRY
    done = pasted("sameview verify proof 1.tlog-proof --entry 1.entry --policy two.txt", place.folder)
    assert (done.returncode, "index: 7" in done.stdout) == (0, True), done.stdout + done.stderr
    assert place.errors == []
    open_(page, place)
    assert page.locator("#watches").count() == 0  # nobody else is to know what is looked for


@pytest.mark.parametrize("page", [{}, {"java_script_enabled": False}], indirect=True, ids=["live", "without-a-script"])
def test_what_is_in_a_hostile_entry_stays_text(page: "Page", place: Place) -> None:
    open_operator(page, place)
    shown = page.locator("#watches").inner_text()
    assert "<script>alert(4)</script>{{ 98765*7 }}" in shown.replace("\n", "")
    assert ("<b>nothing</b> 0 matches" in shown, "\u202e" in shown, "\x1b" in shown) == (True, False, False)
    assert page.locator("main script, main img[src=x], main b:text-is('nothing')").count() == 0
    assert place.errors == []


@PHONE
def test_matches_fit_a_phone(page: "Page", place: Place) -> None:
    open_operator(page, place)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_watermark_s_certificate_verifies_by_the_command_shown(page: "Page", place: Place) -> None:
    open_(page, place)
    details = page.locator("details.plots").filter(has_text="log.example/two")
    for name in ("download it", "the policy"):
        save(page, details.get_by_role("link", name=name), place.folder)
    done = pasted(details.locator(".command code").inner_text(), place.folder)
    assert (done.returncode, "origin: log.example/two" in done.stdout) == (0, True), done.stdout + done.stderr


def save(page: "Page", link: "Locator", folder: Path) -> None:
    """Download what a link leads to, under the name that the page gives it."""
    with page.expect_download() as waiting:
        link.click()
    waiting.value.save_as(folder / waiting.value.suggested_filename)


def pasted(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run what the page shows as a person does who pastes it into a shell."""
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs}
    return subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, env=environment)


def test_an_alarm_appears_and_its_evidence_verifies_by_the_command_shown(page: "Page", place: Place) -> None:
    open_(page, place)
    assert page.locator("#evidence").count() == 0
    liar = place.logs[0].fork(200)
    liar.add(100, "other")
    assert place.monitor.ask("/v1/ask", liar.sign(300, ()))["verdict"] == "fork"
    page.locator("[data-alarm='convicted about log.example/one']").wait_for()
    assert "1 of 3 logs signed two histories" in page.locator("#verdict").inner_text()
    assert "convicted" in (page.locator("#news").text_content() or "")  # what a screen reader says
    assert page.title().startswith("(1) ")
    save(page, page.get_by_role("link", name="Download the evidence"), place.folder)
    done = pasted(page.locator("#evidence .command code").inner_text(), place.folder)
    assert (done.returncode, "contradicted itself" in done.stdout) == (0, True), done.stderr
    assert place.errors == []


def test_a_hundred_logs_are_one_page(chromium: "Browser", tmp_path: Path) -> None:
    logs = [FakeLog(origin=f"log.example/{number:03}") for number in range(MANY)]
    for log in logs:
        log.add(3)
        log.publish(time=now())
    with serving(logs) as served_at, running(configure(tmp_path, logs, served_at, 5.0)) as monitor:
        monitor.wait_until(lambda found: all(log["size"] == 3 for log in found["logs"]))
        context = chromium.new_context()
        page = context.new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"{monitor.url}/", wait_until="networkidle")
        assert page.get_by_role("rowheader").count() == MANY
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") is True
        assert errors == []
        context.close()
