"""``sameview monitor status``: what a monitor sees, asked over its public interface and shown as on its page.

Nothing here is verified: it is the monitor's word. A conviction can be, by anybody: the command is told.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitor.page.document import (
    Agreement,
    AlarmView,
    EvidenceView,
    LogView,
    Overview,
    Sight,
    Verdict,
    WatchView,
    verify_command,
)
from runtime.client import Client, FetchError
from runtime.clock import Clock, SystemClock
from runtime.errors import DOES_NOT_HOLD, HOLDS, CannotTell, UsageError
from runtime.foreground import run_foreground
from runtime.wording import age, counted, grouped, shell, span
from sameview.urls import checked_url
from tlog.policy import printable

ASK_SECONDS = 20
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_PAGES = 100  # of a hundred logs each: more than a monitor follows
NARROWEST = 80  # columns
WIDEST = 160  # where there is no terminal to ask
MAX_COLUMNS = 8  # witnesses and peers with a column each; of more those who differ are named

_VERDICTS = {
    Verdict.CONVICTED: "CONVICTED",
    Verdict.ALARMED: "to look at",
    Verdict.CONSISTENT: "consistent",
    Verdict.UNVERIFIED: "nothing verified yet",
}
_AGREE = (Agreement.SAME, Agreement.OLDER)


def show_status(url: str, as_json: bool, clock: Clock | None = None) -> int:
    """Ask a monitor for all it sees, and show it.

    Raises:
        CannotTell: it cannot be reached.
        UsageError: this is no URL, or what answers there is no monitor.
    """
    url = checked_url(url, "what to ask")
    overview = run_foreground(partial(_ask_all, url))
    if as_json:
        document: dict[str, object] = msgspec.to_builtins(overview)
        click.echo(json.dumps({"url": url, "convicted": overview.convicts, **document}))
    else:
        _Screen(url, (clock or SystemClock()).now_ms()).show(overview)
    return DOES_NOT_HOLD if overview.convicts else HOLDS


async def _ask_all(url: str) -> Overview:
    """Ask for every page of logs; what else there is stands on each."""
    async with Client() as client:
        first = await _ask(client, url, 1)
        logs = list(first.logs)
        for page in range(2, min(first.pages, MAX_PAGES) + 1):
            logs += (await _ask(client, url, page)).logs
    return replace(first, logs=tuple({log.id: log for log in logs}.values()))


async def _ask(client: Client, url: str, page: int) -> Overview:
    try:
        answer = await client.fetch("GET", f"{url}/v1/overview?page={page}", cap=MAX_ANSWER_BYTES, seconds=ASK_SECONDS)
    except FetchError as error:
        raise CannotTell(f"the monitor cannot be asked: {error}; does it serve at this URL?") from None
    if answer.status >= 500 or answer.status == 429:
        raise CannotTell(f"the monitor answered {answer.status}: try again later")
    if answer.status != 200:
        raise UsageError(f"the answer was {answer.status}: give the public URL of a monitor")
    try:
        return msgspec.json.decode(answer.body, type=Overview)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the last of lists in lists in lists
        raise UsageError("the answer is not that of a monitor: give the public URL of one") from None


@dataclass(frozen=True, slots=True)
class _Screen:
    """Tables for a person."""

    url: str
    now_ms: int

    def show(self, overview: Overview) -> None:
        totals = overview.totals
        complete = self._ago(totals.watermark_ms, totals.no_watermark)
        if totals.only_partly_claimed:
            complete += f" (not claimed of {counted(totals.unclaimed, 'log')}: quorum none)"
        click.echo(f"{printable(overview.monitor)}: {overview.headline}")
        click.echo(
            f"{counted(totals.logs, 'log')}, {counted(totals.entries, 'entry', 'entries')} re-hashed, "
            f"complete up to: {complete}, {counted(totals.open_alarms, 'open alarm')}\n"
        )
        self._matrix(overview)
        self._table(
            ("peer", "operator", "heard", "address"),
            [
                (peer.name, peer.operator or "-", self._ago(peer.heard_ms, "never"), peer.url or "calls us")
                for peer in overview.peers
            ],
        )
        self._table(
            ("watch", "matches", "newest"),
            [(watch.name, grouped(watch.matches), self._newest(watch)) for watch in overview.watches],
        )
        for alarm in overview.alarms:
            self._alarm(alarm)
        for proof in overview.evidence:
            self._evidence(proof)
        if overview.convicts:
            click.echo("CONVICTED: somebody contradicted themselves; verify it with the commands above")
        else:
            click.echo("OK: this monitor has convicted nobody")

    def _matrix(self, overview: Overview) -> None:
        witnesses, peers = overview.witnesses, [peer.name for peer in overview.peers]
        wide = len(witnesses) + len(peers) <= MAX_COLUMNS
        columns = ["log", "size", "verdict", "shown", "complete"]
        columns += [*witnesses, *peers] if wide else ["witnesses", "peers"]
        rows = []
        for log in overview.logs:
            seen = self._columns(log, witnesses, peers) if wide else _counts(log)
            rows.append((log.origin, grouped(log.size), _verdict(log), *self._ages(log), *seen))
        self._table(columns, rows)

    def _ages(self, log: LogView) -> tuple[str, str]:
        watermark = log.watermark
        complete = "-" if watermark is None else self._age(watermark.time_ms, "not yet")
        counting = "" if watermark is None else f", by {watermark.counting} of {watermark.witnesses}"
        return self._age(log.confirmed_ms, "never"), complete + counting

    def _columns(self, log: LogView, witnesses: Sequence[str], peers: Sequence[str]) -> list[str]:
        seen = {("witness", one.name): one for one in log.witnesses} | {("peer", one.name): one for one in log.peers}
        places = [*(("witness", name) for name in witnesses), *(("peer", name) for name in peers)]
        return [self._sight(seen[place], log.size) if place in seen else "" for place in places]

    def _sight(self, sight: Sight, size: int) -> str:
        said = sight.beside(size)
        word = said.upper() if sight.agreement is Agreement.CONTRADICTS else said
        return word if sight.time_ms is None else f"{word}, {age(sight.time_ms, self.now_ms)}"

    def _alarm(self, alarm: AlarmView) -> None:
        about = f" about {printable(alarm.origin)}" if alarm.origin else ""
        detail = f": {printable(alarm.detail)}" if alarm.detail else ""
        click.echo(f"{'PROOF' if alarm.proof else 'ALARM'} {printable(alarm.kind)}{about}, {self._ago(alarm.since_ms)}")
        click.echo(f"  {printable(alarm.subject)}{detail}")
        click.echo(f"  {printable(alarm.means)}\n  What to do: {printable(alarm.next)}\n")

    def _evidence(self, proof: EvidenceView) -> None:
        who = printable(proof.accused.partition("+")[0])
        what = f"{printable(proof.type)} against {who}, {self._ago(proof.convicted_ms)}: {printable(proof.shows)}"
        click.echo(f"EVIDENCE {what}")
        # Not the monitor's command: nobody should paste what a stranger wrote into a shell.
        origin = proof.origin if proof.names_origin else None
        click.echo(f"  {shell(['curl', '-o', proof.file, self.url + proof.path])}")
        if proof.policy_path is not None and proof.policy_file is not None:
            click.echo(f"  {shell(['curl', '-o', proof.policy_file, self.url + proof.policy_path])}")
        click.echo(f"  {verify_command(proof.file, proof.accused, origin, proof.policy_file)}\n")

    def _table(self, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
        if not rows:
            return
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for name in columns:
            table.add_column(Text(printable(name)), overflow="fold", justify="right" if name == "size" else "left")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        console = Console(highlight=False)
        console.width = max(NARROWEST, console.width) if console.is_terminal else WIDEST
        console.print(table)
        console.print()

    def _newest(self, watch: WatchView) -> str:
        if not watch.newest:
            return "-"
        match = watch.newest[0]
        return f"entry {grouped(match.index)} of {match.origin}, {self._ago(match.found_ms)}"

    def _age(self, time_ms: int | None, otherwise: str) -> str:
        return otherwise if time_ms is None else age(time_ms, self.now_ms)

    def _ago(self, time_ms: int | None, otherwise: str = "never") -> str:
        return otherwise if time_ms is None else f"{age(time_ms, self.now_ms)} ago"


def _verdict(log: LogView) -> str:
    said = _VERDICTS[log.verdict]
    if log.alarms and log.verdict is Verdict.ALARMED:
        said += f": {', '.join(log.alarms)}"
    if log.pending:
        said += f"; not yet settled: {', '.join(grouped(head.size) for head in log.pending)}"
    if log.catch_up is not None:
        left = log.catch_up.seconds_left
        about = "" if left is None else f", about {span(left)} left"
        said += f"; re-hashing {grouped(log.catch_up.done)} of {grouped(log.catch_up.target)}{about}"
    return said


def _counts(log: LogView) -> list[str]:
    """How many agree, and who does not."""
    return [_count(log.witnesses, log.size), _count(log.peers, log.size)]


def _count(sights: Sequence[Sight], size: int) -> str:
    others = [f"{one.name} {one.beside(size)}" for one in sights if one.agreement not in _AGREE]
    agree = f"{len(sights) - len(others)} of {len(sights)} agree"
    return f"{agree}; {', '.join(others)}" if others else agree
