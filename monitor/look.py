"""Looks at what a log shows now: whether it answers, what it signs, and how that relates to the branch.

That a log is silent for a while, shows what is refused, or shows less than before is an alarm until it is over. While
it shows the branch itself, the observer says again and again that this is the largest tree it has seen.
"""

from collections.abc import Sequence

from monitor.alarms.kinds import BAD_CHECKPOINT, LOG_STALE, LOG_UNREACHABLE, WRONG_CHAIN
from monitor.archive import LOG
from monitor.core import UNREACHABLE_SECONDS
from monitor.node import Monitor
from monitor.site import Site
from monitor.sources.source import NotServed
from tlog.hashing import TreeHead

REFRESH_SECONDS = 10  # between two observer signatures of the same tree: a view is at most this much older than a poll

SHOWS_LESS = "the log shows less"


async def look(monitor: Monitor, origin: bytes) -> None:
    """Look at what the log shows now."""
    site = monitor.sites[origin]
    now = monitor.clock.now()
    site.began = site.began or now
    try:
        note = await site.source.checkpoint()
    except NotServed as error:
        if now - (site.reached or site.began) >= UNREACHABLE_SECONDS:
            await monitor.alarm(LOG_UNREACHABLE, origin, "its checkpoint", str(error))
        return
    site.reached = now
    await monitor.clear(LOG_UNREACHABLE, origin)
    await _complain(monitor, site, site.source.complaints())
    refusals = await monitor.submit(origin, note, LOG)
    if refusals:
        await monitor.alarm(BAD_CHECKPOINT, origin, "its checkpoint", refusals[0])
        return
    await monitor.clear(BAD_CHECKPOINT, origin)
    # What is not refused is not thereby signed: a key may be unknown, and of a convicted log nothing is looked at.
    shown = monitor.shown.shown(site.log.origin, LOG)
    if shown is not None:
        await _compare(monitor, site, shown.head)


async def _complain(monitor: Monitor, site: Site, complaints: Sequence[str]) -> None:
    """Hold the alarms about what no tree commits to, and end those that are over."""
    for alarm in monitor.alarms.about(site.log.origin):
        if alarm.kind == WRONG_CHAIN and alarm.subject not in complaints:
            await monitor.alarms.end(alarm.key)
    for sentence in complaints:
        await monitor.alarm(WRONG_CHAIN, site.log.id, sentence)


async def _compare(monitor: Monitor, site: Site, shown: TreeHead) -> None:
    """Look at how the head that the log shows now relates to the branch."""
    origin = site.log.id
    branch = monitor.branch(origin)
    if branch.signed is None or branch.convicted:
        return
    if shown.size < branch.size:
        # No size in the subject: while others bring larger heads, each of them would be another alarm.
        await monitor.alarm(LOG_STALE, origin, SHOWS_LESS, f"than the {branch.size} entries it showed before")
        return
    await monitor.clear(LOG_STALE, origin, SHOWS_LESS)
    if shown == branch.signed.head:
        site.confirmed = monitor.clock.now()
        if site.confirmed - site.signed_at >= REFRESH_SECONDS:
            await monitor.refresh(origin)
