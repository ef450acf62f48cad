"""``sameview verify``: offline verdicts. Nothing here touches the network, and nothing heavy is imported to start.

Each command reads its files, makes a ``Trust`` of the options, and hands one check to ``conclude``, which prints the
verdict. What stands in the files is shown only once a trusted key has signed it; errors never repeat any of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from runtime.errors import UsageError
from sameview.commands.inputs import naming, observers_from, read_file, trust_from
from sameview.commands.verdicts import (
    Facts,
    Found,
    checkpoint_facts,
    checkpoint_words,
    completeness_facts,
    conclude,
    statement_words,
    view_facts,
    weight_words,
)
from tlog.errors import SignatureError
from tlog.hashing import leaf_hash
from tlog.keys import VerifierKey
from tlog.note import MAX_NOTE_BYTES, Note
from tlog.text import MAX_INTEGER
from tlog.tlog_proof import MAX_PROOF_BYTES, TlogProof

MAX_ENTRY_BYTES = 16 * 1024 * 1024  # an entry of a certificate log; ours are at most 65535 bytes
CLOCK_SKEW = 60  # seconds that a signer's clock may be ahead of ours: one that states more is not recent but wrong

FILE = click.argument("file", type=click.Path(dir_okay=False))
POLICY = click.option("--policy", metavar="FILE", type=click.Path(dir_okay=False), help="A tlog-policy.")
VKEYS = click.option(
    "--vkey", "vkeys", metavar="VKEY", multiple=True, help="A trusted key: the log's, or an accused's."
)
ORIGIN = click.option("--origin", metavar="ORIGIN", help="The log's origin, where it is not the name of its key.")
EXPLAIN = click.option("--explain", is_flag=True, help="Say which keys, groups and ages counted.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

_KINDS = {
    b"c2sp.org/tlog-proof@v1": "proof",
    b"tlog-evidence@v1": "evidence",
    b"tlog-view@v1": "view",
    b"tlog-completeness@v1": "completeness",
    b"tlog-testimony@v1": "testimony",
}
_WRONG_ENTRY = "  either the file is not the entry that the proof is of, or the proof was altered"


@click.group()
def verify() -> None:
    """Verify a checkpoint, a proof, evidence, or what monitors and witnesses said, offline.

    Say whom you trust with --policy, --vkey or both: then the policy judges the witnesses and --vkey names the log.

    Exit code 0: it holds. 1: it was checked and does not hold. 2: bad usage, or an input is malformed.
    """


@verify.command(short_help="Verify a signed checkpoint.")
@FILE
@POLICY
@VKEYS
@ORIGIN
@click.option("--max-age", metavar="SECONDS", type=click.IntRange(min=0), help="Only signatures this recent count.")
@EXPLAIN
@JSON
def checkpoint(
    file: str,
    policy: str | None,
    vkeys: tuple[str, ...],
    origin: str | None,
    max_age: int | None,
    explain: bool,
    as_json: bool,
) -> int:
    """Verify a signed checkpoint: the log's signature and, under a policy, the witnesses'."""
    trust = trust_from(vkeys, origin, policy)
    raw = read_file(file, MAX_NOTE_BYTES)
    with _reading(file, raw, "checkpoint"):
        judged = trust.open(raw, *_recent(max_age))

    def check() -> Found:
        judged.require()
        return Found("the checkpoint holds")

    return conclude(
        check, checkpoint_facts(judged), judged.explain() if explain else None, as_json, words=checkpoint_words(judged)
    )


@verify.command(short_help="Verify that an entry is in a log.")
@FILE
@click.option("--entry", metavar="FILE", required=True, type=click.Path(dir_okay=False), help="The entry's bytes.")
@POLICY
@VKEYS
@ORIGIN
@EXPLAIN
@JSON
def proof(
    file: str,
    entry: str,
    policy: str | None,
    vkeys: tuple[str, ...],
    origin: str | None,
    explain: bool,
    as_json: bool,
) -> int:
    """Verify a .tlog-proof: that the entry is in the log, in a tree that its witnesses saw."""
    trust = trust_from(vkeys, origin, policy)
    raw, leaf = read_file(file, MAX_PROOF_BYTES), leaf_hash(read_file(entry, MAX_ENTRY_BYTES))
    with _reading(file, raw, "proof"):
        parsed = TlogProof.parse(raw)
        judged = trust.open(parsed.checkpoint_note)

    def check() -> Found:
        parsed.verify(leaf, trust)
        return Found(f"the entry is number {parsed.index} of the log", {"index": parsed.index})

    explanation = judged.explain() if explain else None
    return conclude(
        check, checkpoint_facts(judged), explanation, as_json, words=checkpoint_words(judged), hint=_WRONG_ENTRY
    )


@verify.command(short_help="Verify that a key contradicted itself.")
@FILE
@POLICY
@VKEYS
@ORIGIN
@EXPLAIN
@JSON
def evidence(
    file: str, policy: str | None, vkeys: tuple[str, ...], origin: str | None, explain: bool, as_json: bool
) -> int:
    """Verify a .tlog-evidence: that a trusted key contradicted itself. Exit code 0 convicts it."""
    from tlog.evidence import MAX_EVIDENCE_BYTES, NO_CHECKPOINTS, Evidence, verify_evidence

    trust = trust_from(vkeys, origin, policy)
    raw = read_file(file, MAX_EVIDENCE_BYTES)
    with _reading(file, raw, "evidence"):
        parsed = Evidence.parse(raw)

    def check() -> Found:
        conviction = verify_evidence(parsed, trust.keys, trust.policy, trust.origin)
        type_, accused = conviction.type, conviction.accused
        facts: Facts = {
            "type": type_.value,
            "accused": accused.format(),
            "origin": conviction.origin,
            "id": conviction.id.hex(),
            "statements": [statement_words(stated) for stated in conviction.statements],
            **({"cosigned_both": list(conviction.cosigners)} if conviction.cosigners else {}),
        }
        return Found(f"{type_}: the key {accused.name} contradicted itself: {type_.shows}", facts)

    if not explain:
        return conclude(check, {}, None, as_json)
    numbered = list(enumerate(parsed.notes, 1))
    if parsed.type in NO_CHECKPOINTS:
        explanation = [f"statement {number}: {line}" for number, note in numbered for line in _lines(note, trust.keys)]
    else:
        explanation = [
            f"checkpoint {number}: {line}" for number, note in numbered for line in trust.open(note).explain()
        ]
    return conclude(check, {}, explanation, as_json)


@verify.command(short_help="Verify that others see a checkpoint too.")
@FILE
@click.option(
    "--policy", metavar="FILE", required=True, type=click.Path(dir_okay=False), help="The monitors, as witness lines."
)
@click.option("--max-age", metavar="SECONDS", type=click.IntRange(min=0), help="Only views this recent count.")
@EXPLAIN
@JSON
def view(file: str, policy: str, max_age: int | None, explain: bool, as_json: bool) -> int:
    """Verify a .tlog-view: that as many monitors as the policy asks for see the checkpoint in it too.

    The policy's witness lines are the monitors' observer keys, its log line is the log's.
    """
    from tlog.view import MAX_VIEW_BYTES, View, judge

    observers = observers_from(policy)
    raw = read_file(file, MAX_VIEW_BYTES)
    with _reading(file, raw, "view"):
        parsed = View.parse(raw)
    since, until = _recent(max_age)
    judged = judge(parsed, observers, since or 0, until)

    def check() -> Found:
        judged.require()
        return Found("the monitors see this checkpoint too")

    return conclude(check, view_facts(judged), judged.explain() if explain else None, as_json)


@verify.command(short_help="Verify up to when nothing else can have been shown.")
@FILE
@click.option("--policy", metavar="FILE", required=True, type=click.Path(dir_okay=False), help="The clients' policy.")
@VKEYS
@ORIGIN
@click.option(
    "--liars",
    metavar="B",
    type=click.IntRange(0, MAX_INTEGER),
    help="How many lying witnesses it has to survive; otherwise as many as it says itself.",
)
@click.option("--max-age", metavar="SECONDS", type=click.IntRange(min=0), help="Its time has to be this recent.")
@EXPLAIN
@JSON
def completeness(
    file: str,
    policy: str,
    vkeys: tuple[str, ...],
    origin: str | None,
    liars: int | None,
    max_age: int | None,
    explain: bool,
    as_json: bool,
) -> int:
    """Verify a .tlog-completeness: that clients who follow the policy were shown nothing but beginnings of one tree.

    This holds for every checkpoint whose cosignatures are all of before the time that is printed, if at most so many
    of the policy's witnesses lie as the certificate survives.
    """
    from tlog.completeness import MAX_COMPLETENESS_BYTES, Completeness, judge

    trust = trust_from(vkeys, origin, policy)
    if trust.policy is None:
        raise AssertionError("a policy was asked for")
    raw = read_file(file, MAX_COMPLETENESS_BYTES)
    with _reading(file, raw, "completeness"):
        parsed = Completeness.parse(raw)
        keys = trust.open(parsed.frontier).log_keys if vkeys else None
    # Without a limit no age is too much; but its time has to have come.
    since, until = _recent(MAX_INTEGER if max_age is None else max_age)
    judged = judge(parsed, trust.policy, keys, liars)

    def check() -> Found:
        frontier = judged.require()
        if origin not in (None, frontier.origin):
            raise SignatureError("the frontier is of another log")
        if parsed.time > until:
            raise SignatureError("it states a time that has not come yet")
        if max_age is not None and parsed.time < (since or 0):
            raise SignatureError(f"it is {(since or 0) - parsed.time} seconds too old")
        return Found("clients of this policy were shown nothing but this tree before the time, unless more lie")

    return conclude(check, completeness_facts(judged), judged.explain() if explain else None, as_json)


@verify.command(short_help="Count who says that a log withholds a tree.")
@FILE
@click.option("--vkey", "vkeys", metavar="VKEY", multiple=True, required=True, help="The peer key of a monitor.")
@JSON
def testimony(file: str, vkeys: tuple[str, ...], as_json: bool) -> int:
    """Verify a .tlog-testimony: count the monitors that say of one head, and of one time, that nobody serves it.

    This is no proof. Silence proves nothing, and monitors may agree on a lie: exit code 0 says that at least one of
    the keys did state this, and no more.
    """
    from gossip.testimony import (
        MAX_TESTIMONIES,
        MAX_TESTIMONY_BYTES,
        Testimony,
        open_testimony,
        parse_testimonies,
        weigh_testimony,
    )

    keys = trust_from(vkeys, None).keys
    raw = read_file(file, MAX_TESTIMONIES * (MAX_TESTIMONY_BYTES + len(b"--\n")))
    with _reading(file, raw, "testimony"):
        notes = [Note.parse(note) for note in parse_testimonies(raw)]
        for note in notes:
            Testimony.parse(note.text)

    def check() -> Found:
        stated = [open_testimony(note.format(), keys) for note in notes if _names(note, keys)]
        if not stated:
            raise SignatureError("none of the keys stated any of this")
        weights = [weight_words(weight) for weight in weigh_testimony(stated, {key: key.name for key in keys})]
        return Found("testimony, which is no proof: monitors said that nobody serves this", {"unserved": weights})

    return conclude(check, {}, None, as_json)


@verify.command(short_help="Verify who says how reliable witnesses are.")
@FILE
@VKEYS
@JSON
def scorecard(file: str, vkeys: tuple[str, ...], as_json: bool) -> int:
    """Verify scorecards of witnesses, as a monitor serves them at /v1/scorecards, against its peer key.

    Exit code 0 says that the monitor did say this. It is what one monitor saw, from where it stands.
    """
    from tlog.scorecard import MAX_SCORECARDS_BYTES, describe, verify_scorecards

    keys = trust_from(vkeys, None).keys
    raw = read_file(file, MAX_SCORECARDS_BYTES)

    def check() -> Found:
        for key in keys:
            try:
                document = verify_scorecards(raw, key)
            except SignatureError:
                continue
            return Found(f"{key.name} says this of the witnesses", {"witnesses": list(describe(document))})
        raise SignatureError("none of the keys has signed these scorecards")

    with naming(file):
        return conclude(check, {}, None, as_json)


@contextmanager
def _reading(file: str, raw: bytes, kind: str) -> Iterator[None]:
    """Say of which file it is that its bytes are malformed, and if it is one of another kind, what verifies that."""
    try:
        with naming(file):
            yield
    except UsageError:
        found = _KINDS.get(raw.partition(b"\n")[0], kind)
        if found == kind:
            raise
        raise UsageError(f"{file}: this is for `sameview verify {found}`, not for `sameview verify {kind}`") from None


def _lines(note: Note, keys: Sequence[VerifierKey]) -> Iterator[str]:
    """Say of each line whether its key is trusted."""
    known = {(key.name, key.id) for key in keys}
    for line in note.signatures:
        trusted = (line.name, line.key_id) in known
        yield f"a line that names the key {line.name}" if trusted else "a line of a key that is not trusted"


def _names(note: Note, keys: Sequence[VerifierKey]) -> bool:
    """Tell whether one of the keys seems to have signed; who else did is none of our business."""
    return any((line.name, line.key_id) == (key.name, key.id) for line in note.signatures for key in keys)


def _recent(max_age: int | None) -> tuple[int | None, int]:
    """The times between which a signature is recent, if that was asked for."""
    if max_age is None:
        return None, MAX_INTEGER
    from runtime.clock import SystemClock

    now = SystemClock().now()
    return max(1, now - max_age), now + CLOCK_SKEW  # time 0 says nothing about the time
