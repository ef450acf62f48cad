"""What a witness does with a log that it has never cosigned, and with the empty tree.

All but one of these can be tried once: they are skipped as soon as the witness stands at a larger tree.
"""

from hashlib import sha256

from sameview.conformance.cases.case import Case
from sameview.conformance.outcomes import fail, skip
from sameview.conformance.session import SMALLEST, Session, read_size
from tlog.hashing import EMPTY_ROOT, Hash

OTHER_ROOT = Hash(sha256(b"not the empty tree").digest())
REFUSALS = (400, 403, 409, 422)  # what v1.0.0 leaves to the witness


async def first_contact(session: Session) -> None:
    first = session.first
    if first is None:
        raise AssertionError("the session was not opened")
    session.expect(first, 409, by="W-13")
    if read_size(first) > 0:
        skip("the witness has cosigned this log before: register a new log key to run this")


async def never_cosigned(session: Session) -> None:
    session.expect(await session.copy(f"{session.subject.origin} never cosigned"), 404, by="W-43")


async def empty_tree_other_root(session: Session) -> None:
    # Whoever stands at a larger size may say so first.
    statuses = (422,) if await session.learn() == 0 else (422, 409)
    wrong = session.draft(0, 0, root_hash=OTHER_ROOT)
    await session.refused(wrong.body(), *statuses, by="W-16", older=REFUSALS)


async def empty_tree(session: Session) -> None:
    await session.fresh()
    right = session.draft(0, 0, root_hash=EMPTY_ROOT)
    for _ in range(2):
        await session.cosigned(right, 0, by="W-16")


async def empty_tree_changed(session: Session) -> None:
    await session.fresh()
    wrong = session.draft(0, 0, root_hash=OTHER_ROOT)
    await session.refused(wrong.body(), 422, by="W-16", older=REFUSALS)


async def proof_from_zero(session: Session) -> None:
    await session.fresh()
    with_proof = session.draft(0, SMALLEST, path=session.tree.proof(5, SMALLEST))
    await session.refused(with_proof.body(), 422, by="W-18", older=REFUSALS)


async def growth_from_zero(session: Session) -> None:
    await session.fresh()
    answer = await session.add(session.draft(0, SMALLEST).body())
    session.expect(answer, 200, by="W-17")


async def learn_size(session: Session) -> None:
    size = await session.stand()
    answer = await session.add(session.draft(0, size + 1).body())
    session.expect(answer, 409, by="W-13")
    if read_size(answer) != size:
        fail("W-14", f"409 and {size}", "409 and another size")


CASES = (
    Case(
        "first-contact",
        ("W-13", "W-14"),
        "A log that was never cosigned starts from size 0: any other old size is answered 409 and 0.",
        first_contact,
    ),
    Case(
        "never-cosigned",
        ("W-43",),
        "There is no public copy, 404, where nothing was ever cosigned.",
        never_cosigned,
    ),
    Case(
        "empty-tree-other-root",
        ("W-16",),
        "A checkpoint of size 0 whose root hash is not that of the empty tree is answered 422.",
        empty_tree_other_root,
    ),
    Case(
        "empty-tree",
        ("W-16", "W-29"),
        "The empty tree is cosigned, and cosigned again.",
        empty_tree,
    ),
    Case(
        "empty-tree-changed",
        ("W-16", "W-19"),
        "The empty tree with another root hash is answered 422 after the right one was cosigned, too.",
        empty_tree_changed,
    ),
    Case(
        "proof-from-zero",
        ("W-17", "W-18"),
        "A proof from size 0 that is not empty is answered 422.",
        proof_from_zero,
    ),
    Case(
        "growth-from-zero",
        ("W-17", "W-21"),
        "A tree that grows from size 0 is cosigned with an empty proof.",
        growth_from_zero,
    ),
    Case(
        "learn-size",
        ("W-13", "W-14", "W-15"),
        "Whoever begins with old size 0 is told the size of the latest cosigned checkpoint, by 409.",
        learn_size,
    ),
)
