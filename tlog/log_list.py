"""Lists of logs that witnesses may take up, as the witness network publishes them: c2sp.org/tlog-list, ``logs/v0``.

    logs/v0

    vkey <vkey>
    origin <origin>        omitted where it is the name of the key
    qpd <number>           add-checkpoint requests per day
    contact <text>         how to reach the operator

Nobody signs these lists, and whoever serves one may change it. So ``merge`` only ever adds logs: a list can never
remove a log from a witness, change its key, or take the name of the witness itself.

Lines are stripped of spaces and tabs. Lines with an unknown keyword are skipped, ``qpd`` and ``contact`` may be
missing: real lists have both, and other witnesses accept them. The order is strict. ``format`` writes the canonical
spelling without comments, so that ``parse(format(x)) == x``.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tlog.errors import FormatError
from tlog.keys import VerifierKey
from tlog.policy import LOG_KEY_TYPES
from tlog.text import parse_decimal, parse_origin, parse_utf8

MAX_LIST_BYTES = 32 * 1024 * 1024  # the largest kind of list announced is for 40,000 logs, some 300 bytes each

MAX_QPD = 2**31 - 1

_HEADER = b"logs/v0"
_FIELDS = (b"vkey", b"origin", b"qpd", b"contact")
_BLANKS = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True)
class ListedLog:
    """One log of a list; ``qpd`` and ``contact`` are None where the list does not say."""

    key: VerifierKey
    origin: str
    qpd: int | None = None
    contact: str | None = None

    def __post_init__(self) -> None:
        if self.qpd is not None and not 1 <= self.qpd <= MAX_QPD:
            raise ValueError("qpd is not 1 to 2^31 - 1")
        for text in (self.origin, self.contact):
            if text is not None and (not text.strip(" \t") or text != text.strip(" \t") or "\n" in text):
                raise ValueError("origin or contact cannot stand on a line of a log list")


@dataclass(frozen=True, slots=True)
class LogList:
    """A log list, in the order it was published."""

    logs: tuple[ListedLog, ...]

    @classmethod
    def parse(cls, data: bytes) -> "LogList":
        """Read a list."""
        lines = _meaningful(data)
        # SPEC: L-1 The list starts with a single line declaring the list format.
        if next(lines, None) != _HEADER:
            raise FormatError("a log list does not start with the line logs/v0")
        logs = [_parse_log(fields) for fields in _blocks(lines)]
        # SPEC: L-5 Two logs MUST NOT share the same origin.
        if len({log.origin for log in logs}) != len(logs):
            raise FormatError("two logs of a log list have the same origin")
        return cls(tuple(logs))

    def format(self) -> bytes:
        """Write the canonical list."""
        return b"\n".join([_HEADER + b"\n", *map(_format_log, self.logs)])


@dataclass(frozen=True, slots=True)
class Merge:
    """What a list means for a witness: the logs it does not know yet, and those that contradict what it knows."""

    added: tuple[ListedLog, ...]
    conflicts: tuple[ListedLog, ...]


def merge(known: Mapping[str, Collection[VerifierKey]], found: LogList, own_names: Collection[str] = ()) -> Merge:
    """Decide what to take over from a list, given the keys of the logs known by origin and the witness's own names.

    A log that is known by another key is a conflict and changes nothing, and so is a log by the name of the witness:
    its checkpoints would be signed under a name that means a cosignature.
    """
    added, conflicts = [], []
    for log in found.logs:
        if log.origin in own_names or log.key.name in own_names:
            conflicts.append(log)
        elif log.origin not in known:
            added.append(log)
        # SPEC: L-9 An already configured log is never removed or changed because of a list.
        elif log.key not in known[log.origin]:
            conflicts.append(log)
    return Merge(tuple(added), tuple(conflicts))


def _meaningful(data: bytes) -> Iterator[bytes]:
    # SPEC: L-7 Lines have all leading and trailing SP and TAB removed; blank lines and lines that start with "#" are
    # ignored.
    for line in data.split(b"\n"):
        stripped = line.strip(b" \t")
        if stripped and not stripped.startswith(b"#"):
            yield stripped


def _blocks(lines: Iterable[bytes]) -> list[dict[bytes, bytes]]:
    """Cut the lines into logs, each of which begins with its vkey."""
    blocks: list[dict[bytes, bytes]] = []
    for line in lines:
        keyword, *value = _BLANKS.split(line, maxsplit=1)
        if keyword == _HEADER:
            raise FormatError("a log list has more than one line logs/v0")
        # SPEC: L-9 Unknown keywords are ignored.
        if keyword not in _FIELDS:
            continue
        if not value:
            raise FormatError("a line of a log list has a keyword and no value")
        if keyword == _FIELDS[0]:
            # SPEC: L-3 Each log can have only one vkey, so each vkey begins another log.
            blocks.append({})
        # SPEC: L-2 The order of key-value lines is strict.
        elif not blocks or _FIELDS.index(keyword) <= _FIELDS.index(next(reversed(blocks[-1]))):
            raise FormatError("a line of a log list is out of order: vkey, then origin, qpd and contact")
        blocks[-1][keyword] = value[0]
    return blocks


def _parse_log(fields: Mapping[bytes, bytes]) -> ListedLog:
    key = VerifierKey.parse(parse_utf8(fields[b"vkey"], "vkey"))
    # SPEC: PO-7 as in a policy: a vkey that can only cosign is not that of a log.
    if key.type not in LOG_KEY_TYPES:
        raise FormatError("the key type of a listed log is that of a witness")
    # SPEC: L-4 If omitted, the log's origin line defaults to the vkey's key name.
    origin = parse_origin(fields.get(b"origin", key.name.encode()))
    qpd, contact = fields.get(b"qpd"), fields.get(b"contact")
    return ListedLog(
        key, origin, None if qpd is None else _parse_qpd(qpd), None if contact is None else _parse_contact(contact)
    )


def _parse_qpd(field: bytes) -> int:
    # SPEC: L-6 It MUST be a number in the range [1, 2^31) in ASCII decimal with no leading zeroes.
    qpd = parse_decimal(field, "qpd")
    if not 1 <= qpd <= MAX_QPD:
        raise FormatError("qpd is not 1 to 2^31 - 1")
    return qpd


def _parse_contact(field: bytes) -> str:
    parse_utf8(field.replace(b"\t", b" "), "contact")  # an arbitrary string, so tabs inside it stand
    return field.decode()


def _format_log(log: ListedLog) -> bytes:
    lines = [f"vkey {log.key}"]
    if log.origin != log.key.name:
        lines.append(f"origin {log.origin}")
    if log.qpd is not None:
        lines.append(f"qpd {log.qpd}")
    if log.contact is not None:
        lines.append(f"contact {log.contact}")
    return "".join(line + "\n" for line in lines).encode()
