"""What the monitor says of itself: once a day whether it keeps up, and at once when a channel does not. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from monitor.courier.store import StoredChannel
from monitor.matching import Lag
from monitor.notice import Notice, Topic

FAILING_MS = 900_000  # a receiver that is restarted or moved answers again within this
STUCK_SECONDS = 900.0
MAX_TOLD = 20  # problems in a notice: there may be a thousand logs, and it is for people
BEHIND_ENTRIES = 100_000  # a watch that looks back reads some ten thousand entries a second


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel, and how many notices wait for it."""

    channel: StoredChannel
    waiting: int


@dataclass(frozen=True, slots=True)
class Health:
    """What is looked at."""

    channels: Sequence[ChannelState]
    watches: Sequence[Lag]
    logs: Mapping[str, int]
    """The size of the branch of each log."""


def problems(health: Health, now_ms: int) -> list[str]:
    """Say what does not keep up."""
    late = [
        f"the watch {one.watch} has looked at {one.position} of {one.size} entries of {one.origin}"
        + (f": {one.reason}" if one.reason else "")
        for one in health.watches
        if one.stuck_seconds >= STUCK_SECONDS or one.size - one.position > BEHIND_ENTRIES
    ]
    return late + [
        f"the channel {state.channel.name} has failed since {_time(state.channel.failing_since_ms)} with "
        f"{state.waiting} notices waiting: {state.channel.reason}"
        for state in health.channels
        if state.channel.failing_since_ms is not None and now_ms - state.channel.failing_since_ms >= FAILING_MS
    ]


def daily(health: Health, now_ms: int) -> Notice:
    """The notice of the day. Its key is the day: there is one, however often it is made."""
    found = problems(health, now_ms)
    told = found[:MAX_TOLD] if len(found) <= MAX_TOLD else [*found[:MAX_TOLD], f"and {len(found) - MAX_TOLD} more"]
    document: dict[str, object] = {
        "type": "health",
        "ok": not found,
        "text": "; ".join(told) or "all watches and channels keep up",
        "problems": told,
        "logs": len(health.logs),
        "entries": sum(health.logs.values()),
        "watches": len(health.watches),
        "channels": {
            state.channel.name: {"waiting": state.waiting, "failing_since_ms": state.channel.failing_since_ms}
            for state in health.channels[:MAX_TOLD]
        },
    }
    return Notice.of(Topic.HEALTH, f"health:day:{_time(now_ms)[:10]}", now_ms, document)


def failing(health: Health, now_ms: int) -> list[Notice]:
    """A notice for each channel that has failed for long, once for each time that it begins to: the others bring it."""
    return [
        Notice.of(
            Topic.HEALTH,
            f"health:channel:{state.channel.name}:{state.channel.failing_since_ms}",
            now_ms,
            {
                "type": "health",
                "ok": False,
                "text": f"the channel {state.channel.name} fails: {state.channel.reason}",
                "channel": state.channel.name,
                "waiting": state.waiting,
                "failing_since_ms": state.channel.failing_since_ms,
            },
        )
        for state in health.channels
        if state.channel.failing_since_ms is not None and now_ms - state.channel.failing_since_ms >= FAILING_MS
    ]


def _time(at_ms: int | None) -> str:
    return datetime.fromtimestamp((at_ms or 0) // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
