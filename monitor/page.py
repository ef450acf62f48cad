"""The status page: one HTML document without scripts, made of the same values as the JSON documents.

Everything that comes from elsewhere is escaped in one place, ``_cell``.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template

from monitor.views import Document, Views

_PAGE = Template(files("monitor").joinpath("templates/status.html").read_text(encoding="utf-8"))


async def status_page(name: str, views: Views) -> str:
    """Render the page."""
    heads = await views.heads()
    convicted = [head for head in heads if head["convicted"]]
    open_alarms = [alarm for alarm in await views.alarms() if alarm["cleared_ms"] is None]
    return _PAGE.substitute(
        name=escape(name),
        mood="bad" if convicted else "good",
        summary=_summary(len(heads), len(convicted)),
        logs="\n".join(_log_row(head) for head in heads),
        alarms=_table(("Kind", "Log", "What", "Since"), [_alarm_row(alarm) for alarm in open_alarms]),
        evidence=_table(("Type", "Log", "Convicted", "Evidence"), [_proof_row(one) for one in await views.evidence()]),
        distrust=_distrust(views.distrust()),
        testimony=_testimony(len(await views.testimony())),
        peers=_table(("Name", "Operator", "Last heard"), [_peer_row(peer) for peer in await views.peer_list()]),
    )


def _summary(logs: int, convicted: int) -> str:
    if convicted:
        return f"{convicted} of {logs} logs signed two histories. The evidence is below; anybody can check it."
    return f"No log of {logs} contradicted itself as far as this monitor and its peers were shown."


def _distrust(distrusted: Mapping[str, Sequence[Document]]) -> str:
    logs, cosigners = (_count(len(distrusted[kind]), kind[:-1]) for kind in ("logs", "cosigners"))
    return f"To be distrusted: {logs} and {cosigners}."


def _testimony(count: int) -> str:
    return f"{_count(count, 'statement')} of monitors that nobody serves what a log signed. That is no proof."


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _log_row(head: Document) -> str:
    verdict = '<td class="bad">convicted</td>' if head["convicted"] else '<td class="good">consistent</td>'
    if head["root_hash"] is None:
        verdict = "<td>nothing verified yet</td>"
    cells = (_cell(head["size"]), _code(head["root_hash"]), _cell(_time(head["confirmed_ms"])))
    return f"<tr>{_cell(head['origin'])}{verdict}{''.join(cells)}</tr>"


def _alarm_row(alarm: Document) -> str:
    cells = (
        _cell(alarm["kind"]),
        _cell(alarm["origin"]),
        _code(alarm["subject"]),
        _cell(_time(alarm["first_seen_ms"])),
    )
    return f"<tr>{''.join(cells)}</tr>"


def _proof_row(proof: Document) -> str:
    link = f'<td><a href="{escape(str(proof["bundle"]))}"><code>{escape(str(proof["id"]))}</code></a></td>'
    cells = (_cell(proof["type"]), _cell(proof["origin"]), _cell(_time(proof["convicted_ms"])))
    return f"<tr>{''.join(cells)}{link}</tr>"


def _peer_row(peer: Document) -> str:
    return f"<tr>{_cell(peer['name'])}{_cell(peer['operator'])}{_cell(_time(peer['heard_ms']))}</tr>"


def _table(titles: Sequence[str], rows: Sequence[str]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "\n".join(rows)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def _cell(value: object) -> str:
    return f"<td>{escape('' if value is None else str(value))}</td>"


def _code(value: object) -> str:
    return f"<td><code>{escape('' if value is None else str(value))}</code></td>"


def _time(milliseconds: object) -> str:
    if not isinstance(milliseconds, int):
        return "never"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
