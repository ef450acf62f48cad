"""The public copies: what monitors read of a witness.

A copy may lag, by an hour at most. The kit waits as long as it was told to, by default not at all: a cosignature that a
submitter holds is worth most when every monitor can see it.
"""

from hashlib import sha256

import trio

from runtime.client import Response
from sameview.conformance.cases.case import Case
from sameview.conformance.outcomes import CaseEnded, Differs, Text, fail, skip
from sameview.conformance.session import POLL_SECONDS, Cosigned, Session, status
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, TlogError
from tlog.note import Note, SignatureLine, open_note
from tlog.signed_checkpoint import open_checkpoint


async def public_copy(session: Session) -> None:
    await session.grow()
    await _copy(session)


async def public_copy_log_signature(session: Session) -> None:
    await session.grow()
    raw = (await _copy(session)).body
    try:
        opened = open_checkpoint(raw, session.subject.log_vkeys)
    except TlogError as error:
        fail("W-42", "a checkpoint with the log's signature", str(error))
    if opened.origin != session.subject.origin:
        fail("W-41", "the checkpoint of the origin that was hashed", "one of another origin")


async def public_copy_cosigned(session: Session) -> None:
    await session.grow()
    _open(session, (await _copy(session)).body)


async def public_copy_current(session: Session) -> None:
    grown = await session.grow()
    if not await _shows(session, grown):
        fail("W-44", f"the newest checkpoint within {session.subject.lag:g} s of the answer", "an older one")


async def public_copy_same_lines(session: Session) -> None:
    grown = await session.grow()
    if not await _shows(session, grown):
        skip("the public copy is not the newest: public-copy-current says so")
    shown = set(_note((await _copy(session)).body).signatures)
    missing = [line for line in grown.lines() if line not in shown]
    if missing:
        fail("W-42", "every cosignature that add-checkpoint returned", f"{len(missing)} of them not")


async def public_copy_second_log_key(session: Session) -> None:
    if len(session.subject.log_keys) == 1:
        skip("needs a second key registered for the log: give it as a second --log-key")
    size = await session.stand()
    draft = session.draft(size, size + 1)
    line = session.line(session.subject.log_keys[1], draft.text, session.checkpoint(size + 1))
    grown = await session.cosigned(draft.also_signed(line), size + 1)
    if not await _shows(session, grown):
        skip("the public copy is not the newest: public-copy-current says so")
    if line not in _note((await _copy(session)).body).signatures:
        fail("W-42", "the signatures of both log keys, which were verified", "one of them is missing")


async def public_copy_lowercase(session: Session) -> None:
    await session.grow()
    upper = sha256(session.subject.origin.encode()).hexdigest().upper()
    answer = await session.fetch("GET", session.copy_url(upper))
    if not 400 <= answer.status <= 499:
        fail("W-41", "404 for the hash in upper case", status(answer))


async def forged_own_line(session: Session) -> None:
    own = session.subject.vkeys[0]
    size = await session.stand()
    forged = SignatureLine(own.name, own.id, bytes(8) + bytes(64))
    draft = session.draft(size, size + 1).also_signed(forged).also_signed(forged, first=True)
    grown = await session.cosigned(draft, size + 1, by="W-9")
    if await _shows(session, grown):
        copy = await _copy(session)
        _open(session, copy.body)
        if forged in _note(copy.body).signatures:
            fail("W-42", "the cosignatures that the witness made", "the forged line too")
    # A witness that kept the forged line can no longer open what it stored.
    await session.grow()


async def refused_not_published(session: Session) -> None:
    size = (await session.grow()).checkpoint.size
    before = await _copy(session)
    fork = session.draft(size, size + 1, root_hash=session.fork.head(size + 1).root_hash)
    if (await session.add(fork.body())).status == 200:
        skip("another history is cosigned: new-root-other says so")
    if await session.learn() != size:
        fail("W-20", "a refusal that leaves the record as it was", "the witness stands at another size")
    after = await _copy(session)
    head = Checkpoint.parse(_note(after.body).text).head
    if head not in (session.tree.head(head.size), Checkpoint.parse(_note(before.body).text).head):
        fail("W-20", "the checkpoint that was cosigned", "the one that was refused")


async def _copy(session: Session) -> Response:
    """The public copy of the kit's log, which was cosigned."""
    deadline = trio.current_time() + session.subject.lag
    answer = await session.copy(session.subject.origin)
    while answer.status == 404 and trio.current_time() < deadline:
        await trio.sleep(POLL_SECONDS)  # not even the first one need be there yet
        answer = await session.copy(session.subject.origin)
    if answer.status != 200 and session.subject.text is Text.V1:
        raise CaseEnded(Differs("W-40", "200", status(answer)))
    session.expect(answer, 200, by="W-40")
    return answer


async def _shows(session: Session, cosigned: Cosigned) -> bool:
    """Whether the public copy is this checkpoint, within the time that it may lag."""
    deadline = trio.current_time() + session.subject.lag
    while _note((await _copy(session)).body).text != cosigned.draft.text:
        if trio.current_time() >= deadline:
            return False
        await trio.sleep(POLL_SECONDS)
    return True


def _note(raw: bytes) -> Note:
    try:
        note = Note.parse(raw)
        Checkpoint.parse(note.text)
    except FormatError as error:
        fail("W-42", "a signed checkpoint", f"200 with something else: {error}")
    return note


def _open(session: Session, raw: bytes) -> None:
    try:
        open_note(_note(raw), session.subject.vkeys)
    except TlogError as error:
        fail("W-42", "a checkpoint with the witness's cosignatures", str(error))


CASES = (
    Case(
        "public-copy",
        ("W-40", "W-41"),
        "A checkpoint of a cosigned log is served under the SHA-256 of its origin.",
        public_copy,
    ),
    Case(
        "public-copy-log-signature",
        ("W-41", "W-42"),
        "The public copy carries the log's signature.",
        public_copy_log_signature,
    ),
    Case(
        "public-copy-cosigned",
        ("W-42",),
        "The public copy carries the witness's cosignatures, and they verify.",
        public_copy_cosigned,
    ),
    Case(
        "public-copy-current",
        ("W-40", "W-44"),
        "The public copy is the newest checkpoint as soon as its submitter has the answer, or within --lag.",
        public_copy_current,
    ),
    Case(
        "public-copy-same-lines",
        ("W-42",),
        "The public copy holds the very cosignatures that add-checkpoint returned.",
        public_copy_same_lines,
    ),
    Case(
        "public-copy-second-log-key",
        ("W-42",),
        "The public copy holds the signatures of all log keys that the witness verified.",
        public_copy_second_log_key,
    ),
    Case(
        "public-copy-lowercase",
        ("W-41",),
        "The hash of the origin is written in lower case and served under no other spelling.",
        public_copy_lowercase,
    ),
    Case(
        "forged-own-line",
        ("W-9", "W-42"),
        "A forged line under the witness's own name and key ID is ignored, and never kept nor shown.",
        forged_own_line,
    ),
    Case(
        "refused-not-published",
        ("W-20", "W-42"),
        "A checkpoint that was refused moves nothing and is not shown as cosigned.",
        refused_not_published,
    ),
)
