"""The monitor's loops: each has one thing to do, and a clock."""

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from gossip.envelope import MAX_ENVELOPE_BYTES
from gossip.shell import ENVELOPE_TYPE, Gossip, Reply, Unreachable
from monitor.alarms.book import Alarms
from monitor.alarms.core import CALM_SECONDS, Key
from monitor.alarms.kinds import DISK_FAILED
from monitor.look import look
from monitor.node import Monitor
from monitor.stage import Outage
from runtime.client import Client, FetchError

BUSY = 503  # what the peer itself says, too, when there is too much at once


async def watch(
    monitor: Monitor,
    gossip: Gossip,
    poll_interval: float,
    *more: Callable[[], Awaitable[None]],
    reachable: bool,
) -> None:
    """Follow every log and gossip with every peer, for ever; ``more`` begins when what was open is resumed."""
    async with trio.open_nursery() as tasks:
        monitor.connect(gossip, tasks)
        await monitor.resume()
        for origin, site in monitor.sites.items():
            tasks.start_soon(site.follower.run)
            tasks.start_soon(partial(poll, monitor, origin, poll_interval))
        tasks.start_soon(partial(gossip.run, hold_open=not reachable))
        for task in more:
            tasks.start_soon(task)


async def poll(monitor: Monitor, origin: bytes, interval: float) -> None:
    """Look at what a log shows, again and again."""
    while True:
        await look(monitor, origin)
        await trio.sleep(interval)


async def tell_outage(alarms: Alarms, outage: Outage | None) -> None:
    """Raise the alarm about an outage, which could not be written down while it lasted; end it when it stays over."""
    key = Key(DISK_FAILED, "", "the database")
    if outage is not None:
        await alarms.hold(key, outage.reason, seconds=int(trio.current_time() - outage.since))
    await trio.sleep(CALM_SECONDS)
    await alarms.end(key)


async def post(client: Client, url: str, body: bytes, seconds: float) -> Reply:
    """Post an envelope: the ``Post`` of the gossip shell. Whoever answers for a peer that is down is not the peer."""
    headers = {"content-type": ENVELOPE_TYPE}
    try:
        response = await client.fetch("POST", url, body=body, headers=headers, cap=MAX_ENVELOPE_BYTES, seconds=seconds)
    except FetchError as error:
        raise Unreachable(str(error)) from None
    if response.status >= 500 and response.status != BUSY:
        raise Unreachable(f"the answer is {response.status}")
    return Reply(response.status, response.body, _seconds(response.headers.get("retry-after", "")))


def _seconds(field: str) -> float | None:
    """Read a ``Retry-After``; a date, or what is none of the two, says nothing."""
    return float(field) if field.isascii() and field.isdecimal() and len(field) < 10 else None
