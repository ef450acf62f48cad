"""What a check of a file has found, as a verdict that is printed for a person or for a program, and as an exit code."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import click

from runtime.errors import DOES_NOT_HOLD, HOLDS
from tlog.errors import ProofError, SignatureError
from tlog.policy import printable
from tlog.text import encode_base64
from tlog.trust import Judged

if TYPE_CHECKING:
    from gossip.testimony import Weight
    from tlog.completeness import JudgedCompleteness
    from tlog.evidence import Stated, StatedRotation, StatedSubtree
    from tlog.view import JudgedView

Facts = Mapping[str, str | int | list[str]]

_TIMES = frozenset({"as_of", "time"})
_UNIX_TIME = re.compile(r"(?:\bUnix time|, time) ([0-9]{1,20})(?: to ([0-9]{1,20}))?\b")


@dataclass(frozen=True, slots=True)
class Found:
    """What a check that held has found."""

    verdict: str
    facts: Facts | None = None


def conclude(
    check: Callable[[], Found],
    facts: Facts,
    explanation: Sequence[str] | None,
    as_json: bool,
    *,
    words: Facts | None = None,
    hint: str = "",
) -> int:
    """Make a check, print how it went, and return the exit code: 0 if it holds, 1 if it does not.

    A person is shown the ``words`` instead of the facts of the same names, and the hint below a proof that fails.
    """
    hints: tuple[str, ...] = ()
    try:
        found, holds = check(), True
    except (SignatureError, ProofError) as error:
        found, holds = Found(str(error)), False
        hints = (hint,) if hint and isinstance(error, ProofError) else ()
    facts = {**(found.facts or {}), **facts}
    if as_json:
        _print_json({"holds": holds, "verdict": found.verdict, **facts}, explanation)
    else:
        verdict = f"{'OK' if holds else 'FAILED'}: {found.verdict}"
        _print_text((verdict, *hints), {**facts, **(words or {})}, explanation or ())
    return HOLDS if holds else DOES_NOT_HOLD


def _print_json(document: Mapping[str, object], explanation: Sequence[str] | None) -> None:
    import json

    explained = {} if explanation is None else {"explanation": list(explanation)}
    click.echo(json.dumps({**document, **explained}))


def _print_text(verdict: Sequence[str], facts: Facts, explanation: Sequence[str]) -> None:
    """Print it for a person, with the date beside each Unix time."""
    from runtime.wording import utc

    lines = list(verdict)
    for name, value in facts.items():
        dated = f" ({utc(value * 1000)})" if name in _TIMES and isinstance(value, int) else ""
        shown = value if isinstance(value, list) else [value]
        lines += [f"  {name.replace('_', ' ')}: {one}{dated}" for one in shown]
    for line in (*lines, *(f"  - {sentence}" for sentence in explanation)):
        click.echo(printable(_UNIX_TIME.sub(_with_date, line)))


def _with_date(stated: re.Match[str]) -> str:
    """Put the date beside a Unix time, or the two of a span."""
    from runtime.wording import utc

    dates = " to ".join(utc(int(seconds) * 1000) for seconds in stated.groups() if seconds)
    return f"{stated[0]} ({dates})"


def checkpoint_facts(judged: Judged) -> Facts:
    """What a checkpoint says, if anybody who is trusted signed it."""
    seen = judged.seen
    if not seen.signatures:
        return {}
    return {
        "origin": seen.origin,
        "size": seen.size,
        "root_hash": encode_base64(seen.root_hash).decode(),
        "signed_by": [signature.key.name for signature in seen.signatures],
    }


def checkpoint_words(judged: Judged) -> Facts:
    """The same for a person, who would take two keys of one name for one line twice."""
    signed_by = [f"{one.key.name} ({one.key.type.name.lower().replace('_', ' ')})" for one in judged.seen.signatures]
    return {"signed_by": signed_by} if signed_by else {}


def view_facts(judged: "JudgedView") -> Facts:
    """What a view says, if it is one of a checkpoint that the log signed."""
    if judged.checkpoint is None:
        return {}
    head = judged.checkpoint
    facts: dict[str, str | int | list[str]] = {
        "origin": head.origin,
        "size": head.size,
        "root_hash": encode_base64(head.root_hash).decode(),
        "agreeing": list(judged.agreeing),
    }
    return facts if judged.as_of is None else {**facts, "as_of": judged.as_of}


def completeness_facts(judged: "JudgedCompleteness") -> Facts:
    """What a certificate says, if the log signed its frontier."""
    if judged.frontier is None:
        return {}
    return {
        "origin": judged.frontier.origin,
        "size": judged.frontier.size,
        "root_hash": encode_base64(judged.frontier.root_hash).decode(),
        "time": judged.certificate.time,
        "survives_liars": judged.margin,
        "heard": list(judged.heard),
    }


def weight_words(weight: "Weight") -> str:
    """What is said of one head, by how many."""
    root_hash = encode_base64(weight.head.root_hash).decode()
    count = f"{len(weight.operators)} {'monitor' if len(weight.operators) == 1 else 'monitors'}"
    when = f"from Unix time {weight.since} to {weight.until}"
    return (
        f"{weight.origin} at size {weight.head.size}, root {root_hash}: {count} ({', '.join(weight.operators)}) {when}"
    )


def statement_words(statement: "Stated | StatedSubtree | StatedRotation") -> str:
    """One signed statement that evidence is about."""
    from tlog.evidence import Stated, StatedRotation, StatedSubtree

    match statement:
        case Stated(size, root_hash, time):
            stated = f", time {time}" if time else ""
            return f"size {size}, root {_base64(root_hash)}{stated}"
        case StatedSubtree(start, end, hash):
            return f"entries {start} to {end - 1}, hash {_base64(hash)}"
        case StatedRotation(number, new, size, root_hash):
            return f"rotation {number} to {new} from size {size}, root {_base64(root_hash)}"
        case _:
            assert_never(statement)


def _base64(hash: bytes) -> str:
    return encode_base64(hash).decode()
