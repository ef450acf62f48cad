"""What a monitor counts, and what its state amounts to."""

from collections.abc import Iterable
from functools import partial

from gossip.core import Ignored
from monitor.alarms.kinds import KINDS
from monitor.node import Monitor
from monitor.sentry import Sentry
from monitor.site import Site
from monitor.witnesses import Bearer
from runtime.metrics import Metrics


class MonitorMetrics:
    """The metrics of a monitor, with one series for each configured log."""

    def __init__(self, metrics: Metrics, origins: Iterable[str]) -> None:
        names = list(origins)
        self._metrics = metrics
        self._statements = metrics.gauge("monitor_statements", "Timestamped statements of keys that are kept")
        self._links = metrics.gauge("monitor_links", "Peers that are dialled")
        meaning = "Messages and heads that were ignored, by reason"
        self._ignored = metrics.counters("monitor_ignored", meaning, "reason", list(Ignored))
        self._size = metrics.gauges("monitor_size", "Entries re-hashed", "origin", names)
        self._confirmed = metrics.gauges(
            "monitor_confirmed_seconds", "Unix time at which the log showed the branch's head", "origin", names
        )
        self._pending = metrics.gauges("monitor_pending_heads", "Signed heads not yet explained", "origin", names)
        self._convicted = metrics.gauges("monitor_convictions", "Evidence against the log", "origin", names)
        self._alarms = metrics.gauges("monitor_open_alarms", "Alarms about the log that are open", "origin", names)
        self._testimony = metrics.gauges("monitor_testimony", "Testimony of peers that is held", "origin", names)
        self._dropped = metrics.gauge("monitor_dropped_messages", "Messages that peers were too slow to take")

    def ignored(self, what: Ignored) -> None:
        """Count something that was ignored."""
        self._ignored[what].inc()

    def watch(self, monitor: Monitor, bearers: Iterable[Bearer] = ()) -> None:
        """Read the state of a monitor, once it is connected, whenever somebody looks."""
        brought = list(bearers)
        self._statements.set_function(partial(_statements, monitor))
        self._links.set_function(partial(_links, monitor))
        self._metrics.measured(
            "monitor_undelivered_evidence",
            "Evidence that a witness has yet to take",
            ["witness"],
            lambda: [((bearer.name,), float(bearer.left)) for bearer in brought],
        )
        self._metrics.counted(
            "monitor_busy",
            "Requests of peers that were told to come later",
            ["reason"],
            lambda: [((reason,), float(count)) for reason, count in monitor.gossip.busy.items()],
        )
        self._dropped.set_function(partial(_dropped, monitor))
        for origin, site in monitor.sites.items():
            name = site.log.origin
            self._size[name].set_function(partial(_size, monitor, origin))
            self._confirmed[name].set_function(partial(_confirmed, site))
            self._pending[name].set_function(partial(_pending, monitor, origin))
            self._convicted[name].set_function(partial(_convicted, monitor, origin))
            self._alarms[name].set_function(partial(_alarms, monitor, name))
            self._testimony[name].set_function(partial(_testimony, monitor, origin))


def _dropped(monitor: Monitor) -> float:
    return monitor.gossip.dropped


def _statements(monitor: Monitor) -> float:
    return len(monitor.ledger)


def _links(monitor: Monitor) -> float:
    return len(monitor.gossip.state.outbound)


def _size(monitor: Monitor, origin: bytes) -> float:
    return monitor.branch(origin).size


def _confirmed(site: Site) -> float:
    return site.confirmed or 0


def _pending(monitor: Monitor, origin: bytes) -> float:
    return len(monitor.branch(origin).pending)


def _convicted(monitor: Monitor, origin: bytes) -> float:
    return len(monitor.branch(origin).convicted)


def _testimony(monitor: Monitor, origin: bytes) -> float:
    return len(monitor.gossip.state.testimony.get(origin, ()))


def _alarms(monitor: Monitor, origin: str) -> float:
    return len(monitor.alarms.about(origin))


def watch_sentry(metrics: Metrics, sentry: Sentry) -> None:
    """Show the open alarms by kind, and what found no room."""
    alarms = sentry.monitor.alarms
    metrics.measured(
        "monitor_alarms",
        "Alarms that are open, by kind",
        ["kind"],
        lambda: [((kind,), float(sum(key.kind == kind for key in alarms.open()))) for kind in KINDS],
    )
    metrics.counted(
        "monitor_alarms_without_room",
        "Alarms that were not raised because too many of their kind about the same log are open",
        [],
        lambda: [((), float(alarms.refused))],
    )
    metrics.counted(
        "monitor_sightings_without_room",
        "Heads shown by peers and clients that were not archived",
        [],
        lambda: [((), float(sentry.archive.dropped))],
    )
    metrics.measured(
        "monitor_vantage_unexplained_seconds",
        "How long a tree seen from elsewhere has not been explained",
        ["origin"],
        lambda: [((one.origin,), float(one.unexplained_seconds() or 0)) for one in sentry.lookouts],
    )
