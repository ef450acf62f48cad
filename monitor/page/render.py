"""The page, as HTML: templates filled with an overview."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256

from monitor.page.document import Agreement, AlarmView, LogView, Mood, Overview, Sight, Verdict
from runtime.pages import Pages, Rendered
from runtime.wording import dated

MAX_PLOTTED = 12  # logs with plots on the page of all of them
MAX_COLUMNS = 32  # witnesses; more are in the JSON

_SIGNS = {Mood.GOOD: "✓", Mood.WARN: "!", Mood.BAD: "✗"}
_MOODS = {
    Verdict.CONVICTED: Mood.BAD,
    Verdict.ALARMED: Mood.WARN,
    Verdict.CONSISTENT: Mood.GOOD,
    Verdict.UNVERIFIED: Mood.WARN,
}
_MARKS = {
    Agreement.SAME: "✓",
    Agreement.OLDER: "✓",
    Agreement.NEWER: "↑",
    Agreement.CONTRADICTS: "✗",
    Agreement.UNHEARD: "·",
}
_WORDS = {
    Verdict.CONVICTED: "✗ convicted",
    Verdict.ALARMED: "! to look at",
    Verdict.CONSISTENT: "✓ consistent",
    Verdict.UNVERIFIED: "nothing verified yet",
}


def render(overview: Overview, distrusted: Mapping[str, int], now_ms: int) -> Rendered:
    """Fill the page in."""
    names = overview.witnesses
    return PAGES.render(
        "page.html",
        overview=overview,
        distrusted=distrusted,
        witnesses=names[:MAX_COLUMNS],
        more_witnesses=max(len(names) - MAX_COLUMNS, 0),
        plotted=MAX_PLOTTED,
        now_ms=now_ms,
    )


def render_log(overview: Overview, log: LogView, now_ms: int) -> Rendered:
    """Fill the page of one log in."""
    return PAGES.render("log.html", overview=overview, log=log, now_ms=now_ms)


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(dated(milliseconds) // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(alarm: AlarmView) -> str:
    """What tells an alarm from others, in a form that fits an attribute whatever its subject is."""
    return sha256(repr((alarm.kind, alarm.origin, alarm.subject)).encode("utf-8", "replace")).hexdigest()[:16]


def _kinds(alarms: Sequence[AlarmView]) -> list[tuple[str, list[AlarmView]]]:
    """The alarms by kind, in the order in which the kinds come first: what they mean is then told once."""
    found: dict[str, list[AlarmView]] = {}
    for alarm in alarms:
        found.setdefault(alarm.kind, []).append(alarm)
    return list(found.items())


def _named(sights: Sequence[Sight], name: str) -> Sight | None:
    return next((sight for sight in sights if sight.name == name), None)


PAGES = Pages(
    "monitor.page",
    iso=_iso,
    key=_key,
    named=_named,
    kinds=_kinds,
    signs=_SIGNS,
    marks=_MARKS,
    words=_WORDS,
    moods=_MOODS,
)
