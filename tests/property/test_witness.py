"""A witness beside a plain reference: whatever comes, over restarts and clock changes, both give the same answers."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeClock
from tests.forks import Tree
from tests.keys import log_key
from tests.nodes import make_witness, witness_settings
from tests.witness_logs import FORK, HONEST, KEYS, LOG, LOGS, ORIGIN, PUBLIC, VERIFIERS, signed, submission
from tests.witness_record import Record
from tlog.advance import ClockBehind, Inconsistent, Malformed, Stale
from tlog.evidence import same_size
from tlog.hashing import EMPTY_ROOT, Hash, leaf_hash
from tlog.signed_checkpoint import open_checkpoint
from witness.__main__ import opened
from witness.core import NotSigned
from witness.cosigner import Answer, ConvictedLog, Cosigned

STRANGER = log_key(ORIGIN, seed=7)
WRONG_EMPTY = leaf_hash(b"not empty")
STATUS = {
    Cosigned: 200,
    Malformed: 400,
    NotSigned: 403,
    ConvictedLog: 403,
    Stale: 409,
    Inconsistent: 422,
    ClockBehind: 503,
}


@dataclass(frozen=True, slots=True)
class Submit:
    """A request; the old size is given relative to what the witness has."""

    tree: int
    new: int
    off: int
    junk: bool
    forged: bool


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: int


@dataclass(frozen=True, slots=True)
class Restart:
    pass


@dataclass(frozen=True, slots=True)
class Convict:
    pass


Event = Submit | Wait | Restart | Convict
SELDOM = st.sampled_from([False, False, False, False, False, True])
EVENTS = st.one_of(
    st.builds(Submit, st.integers(0, 1), st.integers(0, 12), st.sampled_from([0, 0, 0, 0, -1, 1]), SELDOM, SELDOM),
    st.builds(Wait, st.integers(-90, 90)),
    st.just(Restart()),
    SELDOM.map(lambda now: Convict() if now else Wait(1)),
)


@dataclass(slots=True)
class Reference:
    """What the specification says, in the fewest words: no parsing, no keys, no disk."""

    now: int
    size: int = 0
    time: int = 0
    tree: set[int] = field(default_factory=lambda: {0, 1})
    convicted: bool = False

    def status(self, event: Submit) -> int:
        old = self.size + event.off
        if event.forged or self.convicted:
            return 403
        if old > event.new:
            return 400
        if event.off:
            return 409
        # Both trees are the same up to their third leaf, so up to there either is the other.
        possible = self.tree & ({0, 1} if event.new <= 3 else {event.tree})
        if event.junk or not possible:
            return 422
        if self.time - self.now > 60:
            return 503
        self.size, self.time, self.tree = event.new, max(self.now, self.time), possible
        return 200


def request(event: Submit, known: int) -> bytes:
    tree: Tree = (HONEST, FORK)[event.tree]
    old = max(known + event.off, 0)
    path: tuple[Hash, ...] | None = None
    if event.junk:
        path = (leaf_hash(b"junk"),)
    elif old > event.new:
        path = ()
    root = EMPTY_ROOT if event.new == 0 else None
    return submission(old, event.new, tree, path=path, root_hash=root, key=STRANGER if event.forged else LOG)


async def compare(directory: Path, events: list[Event]) -> None:
    clock, record = FakeClock(), Record(HONEST, FORK)
    reference = Reference(clock.now())
    await make_witness(directory)
    waiting = list(events)
    while waiting:
        async with opened(witness_settings(directory, LOGS, KEYS[:1]), clock) as ours:
            while waiting and (event := waiting.pop(0)) != Restart():
                match event:
                    case Submit():
                        if reference.size + event.off < 0:
                            continue
                        body = request(event, reference.size)
                        answer: Answer = await ours.cosigner.add_checkpoint(body)
                        assert STATUS[type(answer)] == reference.status(event)
                        if isinstance(answer, Cosigned):
                            record.add(body, answer.lines)
                        if isinstance(answer, Stale):
                            assert answer.size == reference.size
                    case Wait(seconds):
                        clock.advance(seconds)
                        reference.now = clock.now()
                    case Convict():
                        await ours.cosigner.conflicts.convict(same_size(signed(5), signed(5, FORK)).format())
                        reference.convicted = True
            copy = await ours.cosigner.public_copy(PUBLIC[1:65])
            shown = None if copy is None else open_checkpoint(copy, VERIFIERS)
            known = None if shown is None else (shown.size, shown.signatures[0].timestamp)
            assert known == ((reference.size, reference.time) if reference.time else None)
    record.verify()


@settings(max_examples=60)
@given(st.lists(EVENTS, max_size=25))
def test_a_witness_answers_as_the_reference_does(events: list[Event]) -> None:
    """SPEC: W-12, W-13, W-16, W-17, W-18, W-19, W-21, W-29"""
    with tempfile.TemporaryDirectory() as directory:
        trio.run(compare, Path(directory), events)


EVENTS_OUT_OF_ORDER: list[Event] = [Submit(0, 5, 0, False, False), Submit(0, 4, 0, False, False)]


def test_a_reference_that_forgot_the_old_size_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reference, "status", lambda reference, event: 200)
    with tempfile.TemporaryDirectory() as directory, pytest.raises(AssertionError):
        trio.run(compare, Path(directory), EVENTS_OUT_OF_ORDER)
