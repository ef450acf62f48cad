"""The lines of a 200: whose they are, what they sign, and when."""

from collections.abc import Iterable

from sameview.conformance.cases.case import Case
from sameview.conformance.outcomes import fail, skip
from sameview.conformance.session import Cosigned, Session, fact
from tlog.checkpoint import Checkpoint
from tlog.cosignature import parse_timestamped
from tlog.errors import FormatError, TlogError
from tlog.keys import KeyType, VerifierKey
from tlog.note import Note, SignatureLine, open_note

MAX_SKEW = 300  # seconds between the witness's clock and ours: beyond it a cosignature says little about today
EXTENSION = b"sameview conformance"


async def cosignatures_verify(session: Session) -> None:
    cosigned = await session.grow()
    verify(cosigned, session.subject.vkeys, cosigned.draft.text)


async def all_keys_sign(session: Session) -> None:
    cosigned = await session.grow()
    found = {(line.name, line.key_id) for line in cosigned.lines()}
    missing = [key for key in session.subject.vkeys if (key.name, key.id) not in found]
    if missing:
        fail("W-22", "a line of each --vkey", "none of " + ", ".join(f"{key.name}+{key.id.hex()}" for key in missing))


async def own_lines_only(session: Session) -> None:
    cosigned = await session.grow()
    own = {(key.name, key.id) for key in session.subject.vkeys}
    names = {key.name for key in session.subject.vkeys}
    for line in cosigned.lines():
        if line.name not in names:
            fail("W-22", "only lines of the witness's keys", f"a line of {fact(line.name)}")
    for line in cosigned.lines():
        if (line.name, line.key_id) not in own:
            # It may well be the witness's: only whoever has the vkey can tell.
            skip(f"there is a line of the witness's key {line.key_id.hex()}: give its --vkey to have it verified")


async def one_line_a_key(session: Session) -> None:
    lines = (await session.grow()).lines()
    if len({(line.name, line.key_id) for line in lines}) != len(lines):
        fail("W-22", "one line of each key", "several lines of one key")


async def mldsa44(session: Session) -> None:
    keys = _of_type(session, KeyType.COSIGNATURE_MLDSA44)
    if not keys:
        skip("none of the --vkey is an ML-DSA-44 key: such keys are advised, not demanded")
    cosigned = await session.grow()
    found = {(line.name, line.key_id) for line in cosigned.lines()}
    if not any((key.name, key.id) in found for key in keys):
        fail("W-23", "an ML-DSA-44 line", "none")
    verify(cosigned, keys, cosigned.draft.text, by="W-24")


async def time_not_zero(session: Session) -> None:
    if 0 in times(session, await session.grow()):
        fail("W-25", "a time that is not zero", "zero")


async def time_recent(session: Session) -> None:
    cosigned = await session.grow()
    now = session.clock.now()
    for time in times(session, cosigned):
        if time == 0:
            skip("a line states no time: time-not-zero says so")
        if abs(time - now) > MAX_SKEW:
            where = "behind" if time < now else "ahead of"
            fail("W-29", f"a time within {MAX_SKEW} s of ours", f"{abs(time - now)} s {where} our clock")


async def refresh_time(session: Session) -> None:
    size = await session.stand()
    answer = await session.add(session.draft(size, size).body())
    if answer.status != 200:
        skip("the latest checkpoint is not cosigned again: refresh says so")
    before = Cosigned(session.checkpoint(size), session.draft(size, size), answer.body)
    after = await session.refresh(size)
    if max(times(session, after)) < max(times(session, before)):
        fail("W-29", "a time that is not before the last one", "an earlier time")


async def extension_lines(session: Session) -> None:
    if not session.subject.prose_only:
        skip("the log's key signs no extension lines: give an Ed25519 --log-key")
    size = await session.stand()
    draft = session.draft(size, size + 1, extensions=(EXTENSION,))
    answer = await session.add(draft.body())
    if 400 <= answer.status <= 499 and answer.status != 409:
        return  # a witness may refuse what its keys do not sign
    session.expect(answer, 200, 400, by="CS-11")
    cosigned = Cosigned(Checkpoint.parse(draft.text), draft, answer.body)
    if _lines_of(cosigned, _of_type(session, KeyType.COSIGNATURE_MLDSA44)):
        fail("CP-10", "no line of a key that does not sign extension lines", "an ML-DSA-44 line")
    verify(cosigned, _of_type(session, KeyType.COSIGNATURE_ED25519), draft.text, by="CS-11")


def verify(cosigned: Cosigned, keys: Iterable[VerifierKey], text: bytes, by: str = "W-22") -> None:
    """Verify every line of the witness's keys, of which there has to be one."""
    try:
        open_note(Note(text, cosigned.lines()), keys)
    except TlogError as error:
        fail(by, "cosignatures on the checkpoint as it was submitted", str(error))


def times(session: Session, cosigned: Cosigned) -> list[int]:
    """The times that the witness's lines state."""
    lines = _lines_of(cosigned, session.subject.vkeys)
    if not lines:
        fail("W-22", "a line of one of the --vkey", "none")
    return [_time(line) for line in lines]


def _time(line: SignatureLine) -> int:
    try:
        return parse_timestamped(line.body, None)[0]
    except FormatError as error:
        fail("CS-7", "a time before the signature", str(error))


def _lines_of(cosigned: Cosigned, keys: Iterable[VerifierKey]) -> list[SignatureLine]:
    known = {(key.name, key.id) for key in keys}
    return [line for line in cosigned.lines() if (line.name, line.key_id) in known]


def _of_type(session: Session, type: KeyType) -> list[VerifierKey]:
    return [key for key in session.subject.vkeys if key.type is type]


CASES = (
    Case(
        "cosignatures-verify",
        ("W-22", "CS-7", "CS-9"),
        "The cosignatures verify under the witness's keys on the checkpoint as it was submitted.",
        cosignatures_verify,
    ),
    Case(
        "all-keys-sign",
        ("W-22",),
        "Every key that the witness is known by cosigns.",
        all_keys_sign,
    ),
    Case(
        "own-lines-only",
        ("W-22",),
        "An answer holds lines of the witness's keys and no others, not even the log's.",
        own_lines_only,
    ),
    Case(
        "one-line-a-key",
        ("W-22", "CP-13"),
        "No key has two lines in an answer.",
        one_line_a_key,
    ),
    Case(
        "ml-dsa-44",
        ("W-23", "W-24", "CS-17"),
        "One of the cosignatures is ML-DSA-44's, on the whole tree from 0 to its size.",
        mldsa44,
    ),
    Case(
        "time-not-zero",
        ("W-25", "CS-20"),
        "A cosignature states a time.",
        time_not_zero,
    ),
    Case(
        "time-recent",
        ("W-29",),
        f"The time of a cosignature is that of the answer, give or take {MAX_SKEW} seconds.",
        time_recent,
    ),
    Case(
        "refresh-time",
        ("W-29",),
        "A second cosignature on one checkpoint is not dated before the first.",
        refresh_time,
    ),
    Case(
        "extension-lines",
        ("CS-11", "CP-10"),
        "Extension lines are refused, or cosigned as submitted by Ed25519 keys and by no others.",
        extension_lines,
    ),
)
