"""Well-formed submissions that must not be cosigned: unknown, unsigned, or not shown to extend what is known."""

from collections.abc import Callable
from dataclasses import replace

from sameview.conformance.cases.case import Case
from sameview.conformance.outcomes import skip
from sameview.conformance.session import Draft, Session
from tlog.hashing import Hash, leaf_hash
from tlog.note import Note, SignatureLine

UNSAID = (400, 403, 409)  # v1.0.0 names no status
STEP = 7  # entries to add: a proof of more than one hash


async def unknown_origin(session: Session) -> None:
    size = await session.stand()
    draft = session.draft(size, size + 1, origin=f"{session.subject.origin} unknown")
    await session.refused(draft.body(), 404, by="W-10")


async def unsigned(session: Session) -> None:
    size = await session.stand()
    stranger = SignatureLine("stranger.example/log", b"abcd", bytes(64))
    draft = replace(session.draft(size, size + 1), signatures=stranger.format())
    await session.refused(draft.body(), 403, by="W-11")


async def wrong_key(session: Session) -> None:
    size = await session.stand()
    draft = session.draft(size, size + 1)
    (line,) = _lines(draft)
    other = replace(line, key_id=bytes(255 - byte for byte in line.key_id))
    await session.refused(replace(draft, signatures=other.format()).body(), 403, by="W-11")


async def bad_signature(session: Session) -> None:
    size = await session.stand()
    draft = session.draft(size, size + 1)
    (line,) = _lines(draft)
    await session.refused(replace(draft, signatures=_broken(line).format()).body(), 403, by="W-11")


async def signature_of_another_checkpoint(session: Session) -> None:
    size = await session.stand()
    draft = replace(session.draft(size, size + 1), signatures=session.draft(size, size + 2).signatures)
    await session.refused(draft.body(), 403, by="W-11")


async def known_key_fails(session: Session) -> None:
    if len(session.subject.log_keys) == 1:
        skip("needs a second key registered for the log: give it as a second --log-key")
    size = await session.stand()
    draft = session.draft(size, size + 1)
    good = session.line(session.subject.log_keys[1], draft.text, session.checkpoint(size + 1))
    draft = draft.also_signed(_broken(good))
    await session.refused(draft.body(), 403, by="W-11", older=(200, *UNSAID))


async def old_above_size(session: Session) -> None:
    size = await session.stand()
    draft = session.draft(size - 1, size - 1)
    await session.refused(replace(draft, old_line=b"old %d" % size).body(), 400, by="W-12")


async def proof_missing(session: Session) -> None:
    await _refuse_path(session, lambda _: ())


async def proof_truncated(session: Session) -> None:
    await _refuse_path(session, lambda path: path[:-1])


async def proof_extended(session: Session) -> None:
    await _refuse_path(session, lambda path: (*path, leaf_hash(b"one more")))


async def proof_wrong(session: Session) -> None:
    await _refuse_path(session, lambda path: (*path[:-1], leaf_hash(b"another")))


async def same_size_with_proof(session: Session) -> None:
    size = await session.stand()
    draft = session.draft(size, size, path=(leaf_hash(b"one more"),))
    await session.refused(draft.body(), 422, by="W-18")


async def new_root_other(session: Session) -> None:
    size = await session.stand()
    draft = session.draft(size, size + STEP, root_hash=session.fork.head(size + STEP).root_hash)
    await session.refused(draft.body(), 422, by="W-18")


async def other_history(session: Session) -> None:
    size = await session.stand()
    fork = session.fork
    draft = session.draft(
        size, size + STEP, root_hash=fork.head(size + STEP).root_hash, path=fork.proof(size, size + STEP)
    )
    await session.refused(draft.body(), 422, by="W-18")


async def same_size_other_root(session: Session) -> None:
    size = await session.stand()
    draft = session.draft(size, size, root_hash=session.fork.head(size).root_hash)
    await session.refused(draft.body(), 422, by="W-19", older=(409,))


async def _refuse_path(session: Session, change: Callable[[tuple[Hash, ...]], tuple[Hash, ...]]) -> None:
    """Submit the honest next tree with a proof that is not its own."""
    size = await session.stand()
    draft = session.draft(size, size + STEP, path=change(session.tree.proof(size, size + STEP)))
    await session.refused(draft.body(), 422, by="W-18")


def _lines(draft: Draft) -> tuple[SignatureLine, ...]:
    return Note.parse(draft.note).signatures


def _broken(line: SignatureLine) -> SignatureLine:
    """The same line with another last bit."""
    return replace(line, body=line.body[:-1] + bytes([line.body[-1] ^ 1]))


CASES = (
    Case(
        "unknown-origin",
        ("W-10",),
        "A checkpoint of an origin that the witness does not know is answered 404.",
        unknown_origin,
    ),
    Case(
        "unsigned",
        ("W-9", "W-11"),
        "A checkpoint that only a stranger signed is answered 403.",
        unsigned,
    ),
    Case(
        "wrong-key",
        ("W-9", "W-11", "SN-6"),
        "A signature under the log's name with another key ID counts for nothing, 403.",
        wrong_key,
    ),
    Case(
        "bad-signature",
        ("W-11", "SN-7"),
        "A signature of the log's key that does not verify is answered 403.",
        bad_signature,
    ),
    Case(
        "signature-of-another-checkpoint",
        ("W-11", "SN-7"),
        "The log's signature on another checkpoint is answered 403.",
        signature_of_another_checkpoint,
    ),
    Case(
        "known-key-fails",
        ("W-11", "SN-8"),
        "A signature of a known key that fails next to a good one is answered 403.",
        known_key_fails,
    ),
    Case(
        "old-above-size",
        ("W-12",),
        "An old size above the checkpoint's is answered 400.",
        old_above_size,
    ),
    Case(
        "proof-missing",
        ("W-17", "W-18"),
        "A larger tree without a proof is answered 422.",
        proof_missing,
    ),
    Case(
        "proof-truncated",
        ("W-17", "W-18"),
        "A proof that lacks its last hash is answered 422.",
        proof_truncated,
    ),
    Case(
        "proof-extended",
        ("W-17", "W-18"),
        "A proof with one hash more is answered 422.",
        proof_extended,
    ),
    Case(
        "proof-wrong",
        ("W-17", "W-18"),
        "A proof with another last hash is answered 422.",
        proof_wrong,
    ),
    Case(
        "same-size-with-proof",
        ("W-17", "W-18"),
        "The latest checkpoint with a proof that is not empty is answered 422.",
        same_size_with_proof,
    ),
    Case(
        "new-root-other",
        ("W-18", "W-20"),
        "A larger tree with another root hash than the proof leads to is answered 422.",
        new_root_other,
    ),
    Case(
        "other-history",
        ("W-18", "W-20"),
        "A larger tree of another history, with that history's proof, is answered 422.",
        other_history,
    ),
    Case(
        "same-size-other-root",
        ("W-19", "W-20"),
        "Another root hash of the latest size is answered 422.",
        same_size_other_root,
    ),
)
