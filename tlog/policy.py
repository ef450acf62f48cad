"""Whose signatures make a checkpoint valid: the trust policy file of c2sp.org/tlog-policy.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> (all | any | <k>) <name>...
    quorum <name>                              exactly once; ``none`` asks for no cosignatures

A checkpoint is valid if any one of the logs signed it and witnesses cosigned it as the quorum demands. Only spaces and
tabs separate items, lines that begin with ``#`` are comments (and nothing else is), names are opaque octets. A file
that breaks a rule is refused, never repaired: a policy that is read more generously than it was written trusts more
than its author did.

``parse(format(p)) == p`` for every policy. ``format`` writes the one canonical spelling, without comments and with the
logs before the witnesses before the groups before the quorum.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from tlog.errors import FormatError
from tlog.keys import KeyType, VerifierKey
from tlog.quorum import Group, Rule
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import MAX_INTEGER, parse_decimal, parse_origin, parse_utf8, split_lines

__all__ = ["Group", "GroupVerdict", "Policy", "PolicyLog", "PolicyWitness", "Verdict", "WitnessVerdict"]

NONE = "none"

# SPEC: PO-7 Log and witness keys must use a signature type appropriate to their function. A log may sign with any
# algorithm of signed notes; 0x04 is the one that only ever meant a cosignature by somebody else.
LOG_KEY_TYPES = frozenset(KeyType) - {KeyType.COSIGNATURE_ED25519}
WITNESS_KEY_TYPES = frozenset({KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44})

MAX_POLICY_BYTES = 1024 * 1024  # hundreds of ML-DSA-44 witness lines; for whoever reads one from a file

# SPEC: PO-2 The allowed octets are 0x09, 0x0A, 0x20-0x7E and 0x80-0xFF.
_TEXT = re.compile(rb"[\t\n\x20-\x7e\x80-\xff]*")
_ITEM = re.compile(rb"[\x21-\x7e\x80-\xff]+")
_BLANKS = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log whose checkpoints are accepted. Its origin is the name of its key."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness key and the name by which groups and the quorum refer to it; the URL is the submission prefix."""

    name: str
    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class WitnessVerdict:
    """What became of one witness line: the time it cosigned at, if it did, and why that counts for nothing, if so."""

    witness: PolicyWitness
    time: int | None
    objection: str | None = None

    @property
    def counts(self) -> bool:
        """Tell whether this line helps to reach the quorum."""
        return self.time is not None and self.objection is None

    def explain(self) -> str:
        """Say it in a sentence."""
        who = f"witness {printable(self.witness.name)} ({printable(self.witness.key.name)})"
        if self.time is None:
            return f"{who}: no cosignature"
        if self.objection is not None:
            return f"{who}: not counted, {self.objection}"
        return f"{who}: cosigned at Unix time {self.time}"


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """How far one group got: which of its members witnessed the checkpoint."""

    group: Group
    reached: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Tell whether that is enough of them."""
        return len(self.reached) >= self.group.threshold

    def explain(self) -> str:
        """Say it in a sentence."""
        count = f"{len(self.reached)} of {len(self.group.members)} members, {self.group.threshold} needed"
        names = f" ({', '.join(map(printable, self.reached))})" if self.reached else ""
        return f"group {printable(self.group.name)}: {count}{names}: {'met' if self.met else 'not met'}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a policy judges a signed checkpoint: the logs of the policy that signed it, and how far the quorum got."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[WitnessVerdict, ...]
    groups: tuple[GroupVerdict, ...]
    quorum: str | None
    met: bool

    def explain(self) -> tuple[str, ...]:
        """Say it in sentences: every witness, every group, then the quorum."""
        parts: tuple[WitnessVerdict | GroupVerdict, ...] = (*self.witnesses, *self.groups)
        name = NONE if self.quorum is None else printable(self.quorum)
        return (*(part.explain() for part in parts), f"quorum {name}: {'met' if self.met else 'not met'}")


@dataclass(frozen=True, slots=True)
class Policy:
    """A trust policy. Groups only name witnesses and earlier groups; ``quorum`` is None for ``quorum none``."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[Group, ...]
    quorum: str | None

    def __post_init__(self) -> None:
        draft = _Draft()
        try:
            for log in self.logs:
                draft.add_log(log)
            for witness in self.witnesses:
                draft.add_witness(witness)
            for group in self.groups:
                draft.add_group(group)
            draft.set_quorum(NONE if self.quorum is None else self.quorum)
        except FormatError as error:
            raise ValueError(str(error)) from None

    @classmethod
    def parse(cls, data: bytes) -> "Policy":
        """Read a policy file. Errors name the line."""
        if not _TEXT.fullmatch(data):
            raise FormatError("a policy contains a control character; lines end with LF alone, not CR LF")
        draft = _Draft()
        # SPEC: PO-1 The policy file is line based, where each line is terminated by ASCII newline.
        for number, line in enumerate(split_lines(data, "a policy"), start=1):
            try:
                _read_line(draft, line.strip(b" \t"))
            except FormatError as error:
                raise FormatError(f"policy line {number}: {error}") from None
        return draft.policy()

    def format(self) -> bytes:
        """Write the canonical policy file."""
        lines = [_line("log", str(log.key), log.url) for log in self.logs]
        lines += [_line("witness", witness.name, str(witness.key), witness.url) for witness in self.witnesses]
        lines += [_line("group", group.name, _format_threshold(group), *group.members) for group in self.groups]
        return b"".join([*lines, _line("quorum", NONE if self.quorum is None else self.quorum)])

    def log_keys(self, origin: str) -> tuple[VerifierKey, ...]:
        """Return the keys that may sign as the log of this origin."""
        # SPEC: PO-6 The key name of a log's vkey MUST correspond to the log's origin line.
        return tuple(log.key for log in self.logs if log.key.name == origin)

    @property
    def witness_keys(self) -> tuple[VerifierKey, ...]:
        """The keys of all witness lines."""
        return tuple(witness.key for witness in self.witnesses)

    def satisfied_by(self, names: Collection[str]) -> bool:
        """Tell whether the quorum is met when these witness lines have cosigned."""
        return self._judge(names)[1]

    def cosigned(self, opened: SignedCheckpoint, since: int = 0, until: int = MAX_INTEGER) -> Verdict:
        """Judge a checkpoint that was opened with this policy's keys (and any others).

        Cosignatures from before ``since`` or after ``until`` (Unix seconds) do not count.
        """
        witnesses = tuple(_judge_witness(witness, opened, since, until) for witness in self.witnesses)
        groups, met = self._judge([verdict.witness.name for verdict in witnesses if verdict.counts])
        # SPEC: PO-12 A checkpoint is valid if it is signed by any one of the listed logs and cosigned by the quorum.
        logs = tuple(log for log in self.logs if log.key.name == opened.origin and opened.signed_by(log.key))
        return Verdict(logs, witnesses, groups, self.quorum, met)

    def groups_reached(self, names: Collection[str]) -> tuple[GroupVerdict, ...]:
        """Tell how far each group gets when these witness lines have cosigned."""
        return self._judge(names)[0]

    def minq(self) -> int:
        """Count the parties of the cheapest quorum."""
        return self._rule().minq()

    def inter(self) -> int:
        """Count the parties that any two quorums share: fewer liars cannot split the view of two clients."""
        return self._rule().inter()

    def block(self) -> int:
        """Count the parties whose silence makes the quorum unreachable; one more than exist if none can."""
        return self._rule().block()

    def cost(self, excluded: Collection[str]) -> int:
        """Count the parties that have to join the excluded witnesses to make a quorum."""
        return self._rule().cost(excluded)

    def margin(self, heard: Collection[str]) -> int:
        """Count the lying parties that a view survives on which these witnesses were heard; below 0 it has no claim."""
        return self._rule().margin(heard)

    def _judge(self, names: Collection[str]) -> tuple[tuple[GroupVerdict, ...], bool]:
        """Walk the groups from the leaves up, the order they stand in, and see whether the quorum is reached."""
        reached = {witness.name for witness in self.witnesses} & set(names)
        verdicts = []
        for group in self.groups:
            verdict = GroupVerdict(group, tuple(member for member in group.members if member in reached))
            verdicts.append(verdict)
            if verdict.met:
                reached.add(group.name)
        return tuple(verdicts), self.quorum is None or self.quorum in reached

    def _rule(self) -> Rule:
        # Witness lines whose vkeys carry the same key name are one party.
        return Rule({witness.name: witness.key.name for witness in self.witnesses}, self.groups, self.quorum)


def printable(text: str) -> str:
    """Make opaque octets harmless on a terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _judge_witness(witness: PolicyWitness, opened: SignedCheckpoint, since: int, until: int) -> WitnessVerdict:
    signature = opened.signed_by(witness.key)
    time = None if signature is None else signature.timestamp
    objection = None if time is None else _objection(witness, opened.origin, time, since, until)
    return WitnessVerdict(witness, time, objection)


def _objection(witness: PolicyWitness, origin: str, time: int, since: int, until: int) -> str | None:
    if witness.key.name == origin:
        return "a log does not witness itself"
    # SPEC: CS-20 The timestamp of a witness's cosignature MUST NOT be zero: zero says nothing about the largest tree.
    if not time:
        return "the cosignature states no time"
    # SPEC: P-11 Timestamps are ignored unless the application asks for recent ones.
    if time > until:
        return "the cosignature states a time that has not come yet"
    return f"the cosignature is {since - time} seconds too old" if time < since else None


class _Draft:
    """A policy in the making: every rule about what may stand in one, checked line by line."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self._has_quorum = False
        self._selectors: dict[tuple[str, bytes], VerifierKey] = {}
        self._names: set[str] = set()
        self._members: set[str] = set()

    def add_log(self, log: PolicyLog) -> None:
        if log.key.type not in LOG_KEY_TYPES:
            raise FormatError("the key type is that of a witness, not of a log")
        parse_origin(log.key.name.encode())
        # SPEC: PO-8 Multiple log lines with the same public key are not allowed, whatever their key names and IDs.
        if any(log.key.public_key == other.key.public_key for other in self.logs):
            raise FormatError("an earlier log line has the same public key")
        self._require_unambiguous(log.key)
        _require_url(log.url)
        self.logs.append(log)

    def add_witness(self, witness: PolicyWitness) -> None:
        self._define(witness.name)
        if witness.key.type not in WITNESS_KEY_TYPES:
            raise FormatError("the key type is not one that cosigns: a witness's vkey has type 0x04 or 0x06")
        # SPEC: PO-8 Multiple witness lines with the same public key are not allowed.
        if any(witness.key.public_key == other.key.public_key for other in self.witnesses):
            raise FormatError("an earlier witness line has the same public key")
        self._require_unambiguous(witness.key)
        _require_url(witness.url)
        self.witnesses.append(witness)

    def add_group(self, group: Group) -> None:
        for member in group.members:
            # SPEC: PO-9 "none" is invalid as a group member. SPEC: PO-5 Members are defined on preceding lines.
            self._require_defined(member)
            # SPEC: PO-11 Each defined name can be listed as a group member at most once.
            if member in self._members:
                raise FormatError("a member is listed twice, or in two groups")
            self._members.add(member)
        # SPEC: PO-10 At least one member must be listed, and it is required that 1 <= k <= n.
        if not 1 <= group.threshold <= len(group.members):
            raise FormatError("the threshold of a group is not 1 to the number of its members")
        self._define(group.name)
        self.groups.append(group)

    def set_quorum(self, name: str) -> None:
        # SPEC: PO-4 A policy file must include exactly one quorum line.
        if self._has_quorum:
            raise FormatError("there is more than one quorum line")
        if name != NONE:
            self._require_defined(name)
            self.quorum = name
        self._has_quorum = True

    def policy(self) -> Policy:
        if not self._has_quorum:
            raise FormatError('a policy has no quorum line; "quorum none" asks for no cosignatures')
        return Policy(tuple(self.logs), tuple(self.witnesses), tuple(self.groups), self.quorum)

    def _define(self, name: str) -> None:
        _require_item(name)
        # SPEC: PO-9 Witnesses and groups share a single namespace, in which "none" is predefined.
        if name == NONE or name in self._names:
            raise FormatError("the name is already taken")
        self._names.add(name)

    def _require_unambiguous(self, key: VerifierKey) -> None:
        # SPEC: SN-19 Two different keys never share name and ID: a signature line could not tell whose it is. Four
        # bytes of hash do not prevent that, so whoever makes up a key to this end is refused here.
        if self._selectors.setdefault((key.name, key.id), key) != key:
            raise FormatError("another line has a different key with the same key name and key ID")

    def _require_defined(self, name: str) -> None:
        # SPEC: PO-5 Only names of groups and witnesses defined on preceding lines can be referenced.
        if name not in self._names:
            raise FormatError("a name is not that of a witness or group on a preceding line")


def _read_line(draft: _Draft, line: bytes) -> None:
    # SPEC: PO-3 Empty lines and lines whose first non-blank is "#" are ignored. A "#" further on is no comment.
    if not line or line.startswith(b"#"):
        return
    match _BLANKS.split(line):
        case [b"log", vkey, *url] if len(url) <= 1:
            draft.add_log(PolicyLog(_parse_vkey(vkey), *map(_decode, url)))
        case [b"witness", name, vkey, *url] if len(url) <= 1:
            draft.add_witness(PolicyWitness(_decode(name), _parse_vkey(vkey), *map(_decode, url)))
        case [b"group", name, threshold, *members]:
            draft.add_group(Group(_decode(name), _parse_threshold(threshold, members), tuple(map(_decode, members))))
        case [b"quorum", name]:
            draft.set_quorum(_decode(name))
        case _:
            raise FormatError("not a log, witness, group or quorum line; a comment needs a line of its own")


def _parse_vkey(field: bytes) -> VerifierKey:
    return VerifierKey.parse(parse_utf8(field, "vkey"))


def _parse_threshold(field: bytes, members: list[bytes]) -> int:
    match field:
        case b"any":
            return 1
        case b"all":
            return len(members)
        case _:
            return parse_decimal(field, "the threshold of a group")


def _format_threshold(group: Group) -> str:
    if group.threshold == len(group.members):
        return "all"
    return "any" if group.threshold == 1 else str(group.threshold)


def _line(*items: str | None) -> bytes:
    return b" ".join(_encode(item) for item in items if item is not None) + b"\n"


def _decode(field: bytes) -> str:
    # SPEC: PO-2 Octets with the high bit set are opaque: whatever is not UTF-8 survives as surrogates.
    return field.decode("utf-8", "surrogateescape")


def _encode(item: str) -> bytes:
    return item.encode("utf-8", "surrogateescape")


def _require_item(item: str) -> None:
    """Refuse what would not be read back as the same single item; only values built by hand can fail here."""
    try:
        field = _encode(item)
    except UnicodeEncodeError:
        raise FormatError("a name or URL is not made of octets") from None
    if not _ITEM.fullmatch(field) or _decode(field) != item:
        raise FormatError("a name or URL contains a character that cannot stand in a policy")


def _require_url(url: str | None) -> None:
    if url is not None:
        _require_item(url)
