"""Submissions that have to be cosigned, and what moves then."""

import trio

from runtime.client import Response
from sameview.conformance.cases.case import Case
from sameview.conformance.outcomes import fail, skip
from sameview.conformance.session import Session, fact, status
from tlog.add_checkpoint import SIZE_MEDIA_TYPE
from tlog.note import SignatureLine

AT_ONCE = 20
OVERLOADED = (429, 500, 502, 503, 504)
ED25519_BYTES = 64
MLDSA44_COSIGNATURE_BYTES = 8 + 2420


async def growth(session: Session) -> None:
    size = await session.stand()
    for step in (1, 2, 7):
        await session.cosigned(session.draft(size, size + step), size + step)
        size += step


async def record_moves(session: Session) -> None:
    grown = (await session.grow()).checkpoint
    answer = await session.add(session.draft(grown.size - 1, grown.size + 1).body())
    session.expect(answer, 409, by="W-21")
    if await session.learn() != grown.size:
        fail("W-21", f"the witness stands at {grown.size}", "it says another size")


async def refresh(session: Session) -> None:
    await session.refresh(await session.stand())


async def conflict_body(session: Session) -> None:
    size = await session.stand()
    answer = await _conflict(session, size)
    if answer.body != b"%d\n" % size:
        fail("W-14", f"the {len(str(size)) + 1} bytes of {size} and a line feed", f"{len(answer.body)} other bytes")


async def conflict_media_type(session: Session) -> None:
    answer = await _conflict(session, await session.stand())
    found = answer.headers.get("content-type")
    if found != SIZE_MEDIA_TYPE:
        said = "no Content-Type" if found is None else f"Content-Type {fact(found)}"
        fail("W-14", f"Content-Type {SIZE_MEDIA_TYPE}, without parameters", said)


async def unknown_keys(session: Session) -> None:
    size = await session.stand()
    own = session.subject.log_vkeys[0]
    draft = session.draft(size, size + 1)
    strangers = (
        _line("stranger.example/log", b"abcd"),
        _line(own.name, bytes(255 - byte for byte in own.id)),  # only the name is a known one
        _line("stranger.example/log", own.id),  # only the id is
    )
    for line in strangers:
        draft = draft.also_signed(line, first=True)
    await session.cosigned(draft, size + 1, by="W-9")


async def many_signatures(session: Session) -> None:
    size = await session.stand()
    draft = session.draft(size, size + 1)
    for line in large_signatures():
        draft = draft.also_signed(line)
    await session.cosigned(draft, size + 1, by="SN-5")


async def second_log_key(session: Session) -> None:
    if len(session.subject.log_keys) == 1:
        skip("needs a second key registered for the log: give it as a second --log-key")
    size = await session.stand()
    draft = session.draft(size, size + 1)
    line = session.line(session.subject.log_keys[1], draft.text, session.checkpoint(size + 1))
    await session.cosigned(draft.also_signed(line), size + 1, by="W-8")


async def concurrency(session: Session) -> None:
    size = await session.stand()
    answers: list[Response] = []

    async def submit(new: int) -> None:
        answers.append(await session.add(session.draft(size, new).body()))

    async with trio.open_nursery() as nursery:
        for number in range(1, AT_ONCE + 1):
            nursery.start_soon(submit, size + number)
    won = [answer for answer in answers if answer.status == 200]
    if len(won) != 1:
        fail("W-27", f"one of {AT_ONCE} submissions from one size is cosigned", f"{len(won)} were")
    for answer in answers:
        if answer.status not in (200, 409, *OVERLOADED):
            fail("W-13", "409 to those that lost", status(answer))


async def concurrent_refresh(session: Session) -> None:
    size = await session.stand()
    answers: list[Response] = []

    async def submit() -> None:
        answers.append(await session.add(session.draft(size, size).body()))

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(submit)
    for answer in answers:
        if answer.status not in (200, *OVERLOADED):
            fail("W-29", "200 to each", status(answer))
    if not any(answer.status == 200 for answer in answers):
        fail("W-29", "200", status(answers[0]))


def large_signatures() -> list[SignatureLine]:
    """Sixteen signatures of nobody's, each as large as they get."""
    # SPEC: SN-5 at least 16 signatures MUST be accepted, also post-quantum ones
    return [_line(f"{number:02}.example/{'x' * 244}", b"none", MLDSA44_COSIGNATURE_BYTES) for number in range(16)]


async def _conflict(session: Session, size: int) -> Response:
    answer = await session.add(session.draft(size - 1, size + 1).body())
    session.expect(answer, 409, by="W-13")
    return answer


def _line(name: str, key_id: bytes, length: int = ED25519_BYTES) -> SignatureLine:
    return SignatureLine(name, key_id, bytes(length))


CASES = (
    Case(
        "growth",
        ("W-4", "W-5", "W-12", "W-13", "W-17", "W-21"),
        "A tree that is proven to extend the latest cosigned one is cosigned.",
        growth,
    ),
    Case(
        "record-moves",
        ("W-13", "W-21"),
        "After an answer 200 the witness stands at the new size, and the old one is answered 409.",
        record_moves,
    ),
    Case(
        "refresh",
        ("W-19", "W-29"),
        "The latest checkpoint with an empty proof is cosigned again.",
        refresh,
    ),
    Case(
        "conflict-body",
        ("W-13", "W-14"),
        "The body of a 409 is the witness's size in decimal and a line feed.",
        conflict_body,
    ),
    Case(
        "conflict-media-type",
        ("W-14",),
        "The Content-Type of a 409 is text/x.tlog.size and nothing after it, because clients compare it as a whole.",
        conflict_media_type,
    ),
    Case(
        "unknown-keys",
        ("W-8", "W-9", "SN-6"),
        "Signatures of unknown keys are ignored, also if only the name or only the ID is the log's.",
        unknown_keys,
    ),
    Case(
        "many-signatures",
        ("W-8", "SN-5"),
        "Sixteen more signatures of the size of ML-DSA-44's are accepted.",
        many_signatures,
    ),
    Case(
        "second-log-key",
        ("W-8", "W-9"),
        "A checkpoint that two of the log's keys signed is cosigned.",
        second_log_key,
    ),
    Case(
        "concurrency",
        ("W-13", "W-27"),
        "Of twenty submissions at once from one size exactly one is cosigned.",
        concurrency,
    ),
    Case(
        "concurrent-refresh",
        ("W-27", "W-29"),
        "Twenty refreshes at once are all cosigned: they do not contradict each other.",
        concurrent_refresh,
    ),
)
