"""``sameview monitor status``: what a monitor sees, asked over its public interface and shown as tables.

Nothing here is verified: it is the monitor's word. A conviction can be, by anybody: the bundle is named.
"""

import json
from dataclasses import dataclass
from functools import partial

import click
import msgspec
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.client import Client, FetchError
from runtime.clock import Clock, SystemClock
from runtime.errors import DOES_NOT_HOLD, HOLDS, CannotTell, UsageError
from runtime.foreground import run_foreground
from sameview.urls import checked_url
from tlog.policy import printable

ASK_SECONDS = 20
MAX_ANSWER_BYTES = 16 * 1024 * 1024
LISTS = ("heads", "peers", "alarms", "evidence")
NARROWEST = 80  # columns
WIDEST = 160  # where there is no terminal to ask


class Pending(msgspec.Struct, frozen=True):
    """A head that was seen and is not yet known to be part of the log."""

    size: int


class Head(msgspec.Struct, frozen=True):
    """How far a log has been verified."""

    origin: str
    size: int
    confirmed_ms: int | None
    convicted: bool
    pending: list[Pending]


class Peer(msgspec.Struct, frozen=True):
    """Another monitor that this one compares views with."""

    name: str
    operator: str
    url: str | None
    heard_ms: int | None


class Alarm(msgspec.Struct, frozen=True):
    """Something that an operator should look at; cleared when it has passed."""

    kind: str
    origin: str | None
    first_seen_ms: int
    cleared_ms: int | None


class Conviction(msgspec.Struct, frozen=True):
    """Evidence, without the bundle."""

    type: str
    origin: str
    accused: str
    convicted_ms: int
    bundle: str


class Lists(msgspec.Struct, frozen=True):
    """What the monitor answered."""

    heads: list[Head]
    peers: list[Peer]
    alarms: list[Alarm]
    evidence: list[Conviction]

    @property
    def convicts(self) -> bool:
        """Whether the monitor has convicted somebody."""
        return bool(self.evidence) or any(head.convicted for head in self.heads)


def show_status(url: str, as_json: bool, clock: Clock | None = None) -> int:
    """Ask a monitor for all it sees, and show it.

    Raises:
        CannotTell: it cannot be reached.
        UsageError: this is no URL, or what answers there is no monitor.
    """
    url = checked_url(url, "what to ask")
    documents = run_foreground(partial(_ask_all, url))
    try:
        lists = msgspec.convert(documents, Lists)
    except msgspec.ValidationError:
        raise UsageError("the answer is not that of a monitor: give the public URL of one") from None
    if as_json:
        click.echo(json.dumps({"url": url, "convicted": lists.convicts, **documents}))
    else:
        _Screen(url, (clock or SystemClock()).now_ms()).show(lists)
    return DOES_NOT_HOLD if lists.convicts else HOLDS


async def _ask_all(url: str) -> dict[str, object]:
    documents: dict[str, object] = dict.fromkeys(LISTS)  # in this order
    async with Client() as client, trio.open_nursery() as nursery:
        for name in LISTS:
            nursery.start_soon(_ask, client, url, name, documents)
    return documents


async def _ask(client: Client, url: str, name: str, documents: dict[str, object]) -> None:
    try:
        answer = await client.fetch("GET", f"{url}/v1/{name}", cap=MAX_ANSWER_BYTES, seconds=ASK_SECONDS)
    except FetchError as error:
        raise CannotTell(f"the monitor cannot be asked: {error}; does it serve at this URL?") from None
    if answer.status >= 500:
        raise CannotTell(f"the monitor answered {answer.status}: try again later")
    if answer.status != 200:
        raise UsageError(f"the answer was {answer.status}: give the public URL of a monitor")
    try:
        documents[name] = msgspec.json.decode(answer.body, type=dict[str, object])[name]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError):  # the last of lists in lists in lists
        raise UsageError("the answer is not that of a monitor: give the public URL of one") from None


@dataclass(frozen=True, slots=True)
class _Screen:
    """Tables for a person."""

    url: str
    now_ms: int

    def show(self, lists: Lists) -> None:
        heads, peers, evidence = lists.heads, lists.peers, lists.evidence
        open_alarms = [alarm for alarm in lists.alarms if alarm.cleared_ms is None]
        self._table(
            "log size confirmed view",
            [(head.origin, f"{head.size:,}", self._ago(head.confirmed_ms), _view(head)) for head in heads],
        )
        self._table(
            "peer operator heard url",
            [(peer.name, peer.operator or "-", self._ago(peer.heard_ms), peer.url or "calls us") for peer in peers],
        )
        self._table(
            "alarm log since",
            [(alarm.kind, alarm.origin or "-", self._ago(alarm.first_seen_ms)) for alarm in open_alarms],
        )
        self._table(
            "evidence accused log convicted bundle",
            [
                (
                    one.type,
                    one.accused.partition("+")[0],
                    one.origin,
                    self._ago(one.convicted_ms),
                    self.url + one.bundle,
                )
                for one in evidence
            ],
        )
        if lists.convicts:
            click.echo("CONVICTED: verify a bundle yourself with `sameview verify evidence FILE --vkey VKEY`")
        else:
            click.echo("OK: this monitor has convicted nobody")

    def _table(self, columns: str, rows: list[tuple[str, ...]]) -> None:
        if not rows:
            return
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for name in columns.split(" "):
            table.add_column(name.upper(), overflow="fold", justify="right" if name == "size" else "left")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        console = Console(highlight=False)
        console.width = max(NARROWEST, console.width) if console.is_terminal else WIDEST
        console.print(table)
        console.print()

    def _ago(self, time_ms: int | None) -> str:
        if time_ms is None:
            return "never"
        seconds = max(0, self.now_ms - time_ms) // 1000
        for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
            if seconds >= 2 * length:
                return f"{seconds // length} {unit} ago"
        return f"{seconds} s ago"


def _view(head: Head) -> str:
    if head.convicted:
        return "CONVICTED"
    if head.pending:
        sizes = ", ".join(f"{one.size:,}" for one in head.pending)
        return f"agrees so far; not yet settled: {sizes}"
    return "nothing verified yet" if head.confirmed_ms is None else "agrees"
