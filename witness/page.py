"""What a witness says of itself to everybody: a status document, the same as a page, and who runs what here.

The page is one HTML document without scripts, made of the values of the JSON document. Everything that comes from
elsewhere is escaped in ``_cell`` and ``_link``. Both show so many logs at a time, so that asking for them stays cheap.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import quote

from runtime.wording import utc
from tlog.advance import Statement
from tlog.text import encode_base64
from witness.cosigner import Cosigner

MAX_ROWS = 500  # logs in one answer: a few milliseconds of work

_PAGE = Template(files("witness").joinpath("templates/status.html").read_text(encoding="utf-8"))
_STYLE = files("runtime").joinpath("pages/static/base.css").read_text(encoding="utf-8")  # as a monitor's page looks


@dataclass(frozen=True, slots=True)
class LogStatus:
    """One log as the witness sees it. ``answers`` counts requests that the log signed, by outcome."""

    origin: str
    checkpoint: str
    size: int | None
    root_hash: str | None
    time: int | None
    age: int | None
    answers: Mapping[str, int]
    conflicts: int
    convicted: bool


@dataclass(frozen=True, slots=True)
class Status:
    """The witness, and some of its logs in the order of their origins; ``next`` leads to those after them."""

    name: str
    time: int
    signing: bool
    keys: Mapping[str, int | None]
    logs: tuple[LogStatus, ...]
    next: str | None


async def status(cosigner: Cosigner, after: str = "") -> Status:
    """Look at the witness, and at the logs whose origins come after this one."""
    now = cosigner.clock.now()
    answers: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (origin, outcome), count in cosigner.tally.answers.items():
        answers[origin][outcome] = count
    shown, following = turn(cosigner, after)
    logs = [_log(cosigner, origin, await cosigner.head(origin), now, answers.get(origin, {})) for origin in shown]
    keyring = cosigner.keyring
    return Status(
        name=keyring.keys[0].vkey.name,
        time=now,
        signing=cosigner.hold is None,
        keys={vkey: key.retires for vkey, key in keyring.recorded.items()},
        logs=tuple(logs),
        next=following,
    )


def turn(cosigner: Cosigner, after: str) -> tuple[list[str], str | None]:
    """The origins that one answer is about, and after which of them the next one begins if there are more."""
    remaining = sorted(origin for origin in cosigner.logs if origin > after)
    shown = remaining[:MAX_ROWS]
    return shown, shown[-1] if len(remaining) > len(shown) else None


def about(cosigner: Cosigner, url: str, version: str) -> dict[str, object]:
    """Who this is, in the form in which the witness network publishes it: ``witness.v0.json``."""
    keys = [key.vkey for key in cosigner.keyring.keys if key.retires is None or key.retires > cosigner.clock.now()]
    # SPEC: W-1 The same value may serve as submission and monitoring prefix.
    return {
        "name": cosigner.keyring.keys[0].vkey.name,
        "submission_url": f"{url}/",
        "monitoring_url": f"{url}/",
        "verifier_keys": [key.format() for key in keys],
        "software": {"name": "sameview", "version": version},
    }


def page(shown: Status) -> str:
    """Render the page."""
    convicted = sum(log.convicted for log in shown.logs)
    return _PAGE.substitute(
        style=_STYLE,
        name=escape(shown.name),
        mood="good" if shown.signing and not convicted else "bad",
        summary=_summary(shown, convicted),
        keys="\n".join(_key(vkey, retires) for vkey, retires in shown.keys.items()),
        logs="\n".join(map(_row, shown.logs)),
        next="" if shown.next is None else f"<p>{_link('/?after=' + quote(shown.next, safe=''), 'More logs')}</p>",
    )


def _log(cosigner: Cosigner, origin: str, head: Statement | None, now: int, answers: Mapping[str, int]) -> LogStatus:
    return LogStatus(
        origin=origin,
        checkpoint=f"/{sha256(origin.encode()).hexdigest()}/checkpoint",
        size=None if head is None else head.size,
        root_hash=None if head is None else encode_base64(head.root_hash).decode(),
        time=None if head is None else head.time,
        age=None if head is None else max(0, now - head.time),
        answers=answers,
        conflicts=cosigner.conflicts.count(origin),
        convicted=origin in cosigner.conflicts.convicted,
    )


def _summary(shown: Status, convicted: int) -> str:
    if not shown.signing:
        return "This witness signs nothing at present: its operator is told why."
    if convicted:
        return f"{convicted} of the logs below contradicted themselves and get no cosignature any more."
    return f"This witness cosigns. It is {_time(shown.time)}."


def _key(vkey: str, retires: int | None) -> str:
    until = "" if retires is None else f" signs until {_time(retires)}"
    return f"<li><code>{escape(vkey)}</code>{until}</li>"


def _row(log: LogStatus) -> str:
    if log.convicted:
        state = '<td data-title="State" class="bad">convicted</td>'
    elif log.size is None:
        state = '<td data-title="State">nothing cosigned yet</td>'
    else:
        state = '<td data-title="State" class="good">cosigned</td>'
    size = "" if log.size is None else str(log.size)
    last = "never" if log.time is None else f"{_time(log.time)}, {log.age} s ago"
    answers = ", ".join(f"{outcome} {count}" for outcome, count in sorted(log.answers.items()))
    name = escape(log.origin) if log.size is None else _link(log.checkpoint, log.origin)
    cells = (
        f'<td data-title="Log">{name}</td>',
        state,
        _cell("Size", size),
        _cell("Cosigned last", last),
        _cell("Requests since the start", answers or "none"),
        _cell("Refused heads", str(log.conflicts)),
    )
    return f"<tr>{''.join(cells)}</tr>"


def _cell(title: str, value: str) -> str:
    return f'<td data-title="{title}">{escape(value)}</td>'


def _link(path: str, text: str) -> str:
    return f'<a href="{escape(path)}">{escape(text)}</a>'


def _time(seconds: int) -> str:
    return utc(seconds * 1000)
