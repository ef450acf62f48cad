"""How soon a person sees the page of a monitor that follows 100 logs with ten witnesses each, in a real browser.

The monitor is a process of its own, which goes on polling its logs meanwhile. Each visit is a new browser context with
nothing cached; between two visits lies more than the second for which a page is kept, so the monitor makes it anew.
``first_paint_ms`` is the browser's own "first-contentful-paint" since the visit began. Other work on the machine adds
to it; ``page_cpu_ms`` is processor time: what the monitor spends on a page, and the browser's main thread until all is
loaded. Where nothing else runs, the first paint is before the sum of both.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.request import Request, urlopen

from tests.e2e.browser import MISSING, Process, browser, configure, running, serving
from tests.fakes_log import FakeLog, policy, signer
from tlog.keys import KeyType

LOGS = 100
WITNESSES = 10
TARGET_MS = 300
POLL_SECONDS = 10.0
IDLE_SECONDS = 5
PAINT = """() => new Promise((resolve) => {
  const found = () => performance.getEntriesByName("first-contentful-paint")[0];
  if (found()) resolve(found().startTime);
  else new PerformanceObserver((_, observer) => { if (found()) { observer.disconnect(); resolve(found().startTime); } })
    .observe({ type: "paint", buffered: true });
})"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a quick look instead of a measurement")
    short = parser.parse_args(arguments).short
    document: dict[str, object] = {"bench": "monitor_page", "target_first_paint_ms": TARGET_MS}
    if MISSING and os.environ.get("CI") == "true":
        raise SystemExit(f"nothing may be skipped in CI: {MISSING}")
    if MISSING:
        document["skipped"] = MISSING
    else:
        count = 20 if short else LOGS
        document |= {"logs": count, "witnesses": WITNESSES, "figures": measure(count, 3 if short else 15)}
    print(json.dumps(document))


def measure(count: int, visits: int) -> dict[str, float]:
    """Visit a monitor again and again."""
    witnesses = [signer(f"witness.example/w{number}", KeyType.COSIGNATURE_ED25519) for number in range(WITNESSES)]
    logs = [FakeLog(origin=f"log.example/{number:03}") for number in range(count)]
    for log in logs:
        log.add(300)
        log.publish(witnesses=witnesses, time=int(time.time()))
    with tempfile.TemporaryDirectory() as name, serving(logs) as served_at:
        folder = Path(name)
        config = configure(folder, logs, served_at, POLL_SECONDS)
        (folder / "policy.txt").write_bytes(policy(logs[0].key, witnesses, 7).format())
        with running(config) as monitor:
            monitor.wait_until(lambda found: found["totals"]["entries"] == 300 * count)
            figures = {**in_browser(monitor, count, visits), **over_http(monitor, visits)}
            return {**figures, "page_cpu_ms": round(figures["browser_cpu_ms"] + figures["monitor_cpu_ms"], 1)}


def in_browser(monitor: Process, count: int, visits: int) -> dict[str, float]:
    paints, loads, busy = [], [], []
    with browser() as chromium:
        for _ in range(visits + 1):
            context = chromium.new_context()
            page = context.new_page()
            session = context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.goto(f"{monitor.url}/", wait_until="load")
            assert page.get_by_role("rowheader").count() == count
            paints.append(page.evaluate(PAINT))
            loads.append(page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"))
            found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            busy.append(found["ThreadTime"] * 1000)
            context.close()
            time.sleep(1.1)
    return {
        "first_paint_ms_first_visit": round(paints[0], 1),
        "first_paint_ms_median": round(statistics.median(paints[1:]), 1),
        "first_paint_ms_worst": round(max(paints[1:]), 1),
        "document_ready_ms_median": round(statistics.median(loads[1:]), 1),
        "browser_cpu_ms": round(statistics.median(busy[1:]), 1),
        "visits": visits,
    }


def over_http(monitor: Process, visits: int) -> dict[str, float]:
    """Of that, what the monitor takes to make the document; and how large it is."""
    idle = cpu_ms(monitor)
    time.sleep(IDLE_SECONDS)
    a_second = (cpu_ms(monitor) - idle) / IDLE_SECONDS
    began, before = time.perf_counter(), cpu_ms(monitor)
    made, size = [], 0
    for _ in range(visits):
        time.sleep(1.1)
        started = time.perf_counter()
        with urlopen(Request(f"{monitor.url}/", headers={"accept-encoding": "gzip"})) as answer:
            size = len(answer.read())
        made.append((time.perf_counter() - started) * 1000)
    spent = cpu_ms(monitor) - before - a_second * (time.perf_counter() - began)
    return {
        "document_ms_median": round(statistics.median(made), 1),
        "document_bytes_compressed": size,
        "monitor_cpu_ms": round(spent / visits, 1),
    }


def cpu_ms(monitor: Process) -> float:
    """The processor time that the monitor has used so far."""
    fields = Path(f"/proc/{monitor.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(sys.argv[1:])
