"""The door to the gossip machine: which event goes where, and when the clock matters next."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import assert_never

from gossip.core import heads, reconcile
from gossip.core.candidate import Candidate
from gossip.core.convict import evidence_seen
from gossip.core.effects import (
    Adjudicate,
    Count,
    Effect,
    Lend,
    Prove,
    Refuse,
    Review,
    SendTile,
)
from gossip.core.events import (
    Adjudicated,
    Advanced,
    Compared,
    Contradicted,
    Event,
    EvidenceShown,
    HeadSeen,
    OpeningJudged,
    OpeningShown,
    ProofFound,
    Received,
    Rehashed,
    Relink,
    Stated,
    Testified,
    Tick,
    TileLent,
    WrongEntries,
)
from gossip.core.links import FULL_MESH
from gossip.core.state import (
    MAX_HEADS_AT_ONCE,
    PUSH_INTERVAL_MS,
    RETRY_MS,
    UNSERVED_MS,
    Branch,
    Held,
    Ignored,
    Rules,
    State,
)
from gossip.core.turn import Chance, Turn
from gossip.messages import (
    Consistency,
    Digest,
    EvidenceBundle,
    GetConsistency,
    GetEvidence,
    GetHeads,
    GetTile,
    HaveEvidence,
    Head,
    Message,
    Summary,
    TestimonyNote,
    TileData,
    Unknown,
)
from tlog.hashing import Hash


def begin(
    rules: Rules,
    epoch: int,
    now_ms: int,
    branches: Mapping[bytes, Branch] | None = None,
    evidence: Mapping[bytes, Held] | None = None,
) -> State:
    """The state of a monitor that starts with what is on its disk, if anything; the first exchange is due at once.

    ``epoch`` is not 0 and differs from those of earlier runs. Peers that are few enough are all links at once; among
    more ``Relink`` chooses.
    """
    held = dict(branches or {})
    outbound = rules.dialled if len(rules.dialled) <= FULL_MESH else ()
    changes = {origin: cursor for cursor, origin in enumerate(sorted(held), start=1)}
    return State(
        rules, epoch, now_ms, held, dict(evidence or {}), outbound=outbound, cursor=len(changes), changes=changes
    )


def step(state: State, event: Event, now_ms: int, rng: Chance) -> tuple[State, tuple[Effect, ...]]:
    """Take one event into account."""
    turn = Turn(state, now_ms, rng)
    _dispatch(turn, event)
    return turn.state, tuple(turn.effects)


def wake_ms(state: State) -> int:
    """Tell at what time the next ``Tick`` has something to do."""
    return min((state.exchange_ms, *_deadlines(state.branches.values())))


def _dispatch(turn: Turn, event: Event) -> None:
    match event:
        case Tick():
            _tick(turn)
        case HeadSeen(origin, note):
            heads.head_seen(turn, origin, note, None)
        case Received(peer, messages, answer):
            _received(turn, peer, messages, answer=answer)
        case Adjudicated():
            heads.adjudicated(turn, event)
        case ProofFound():
            heads.proof_found(turn, event)
        case TileLent(origin):
            turn.emit(Review(origin))
        case Rehashed():
            heads.rehashed(turn, event)
        case WrongEntries():
            heads.wrong_entries(turn, event)
        case Advanced():
            heads.advanced(turn, event)
        case Compared():
            reconcile.compared(turn, event)
        case Relink(outbound):
            turn.state = replace(turn.state, outbound=outbound)
        case Stated() | Contradicted() | EvidenceShown() | OpeningShown() | OpeningJudged() | Testified():
            pass
        case _:
            assert_never(event)


def _tick(turn: Turn) -> None:
    if turn.now_ms >= turn.state.exchange_ms:
        reconcile.exchange(turn)
    for origin in sorted(turn.state.branches):
        heads.push_if_due(turn, origin)
        heads.pursue_again(turn, origin)


def _received(turn: Turn, peer: bytes, messages: Iterable[Message], *, answer: bool) -> None:
    """Take a peer's messages one by one, up to the first that has to be refused."""
    heads = Counter[bytes]()
    for message in messages:
        if isinstance(message, Head):
            heads[message.origin] += 1
            if heads[message.origin] > MAX_HEADS_AT_ONCE:
                turn.emit(Count(Ignored.HEAD_WITHOUT_ROOM))
                continue
        before = len(turn.effects)
        _message(turn, peer, message, answer=answer)
        if any(isinstance(effect, Refuse) for effect in turn.effects[before:]):
            return


def _message(turn: Turn, peer: bytes, message: Message, *, answer: bool) -> None:
    match message:
        case Summary():
            reconcile.summary_received(turn, message, peer, answer=answer)
        case Digest():
            reconcile.digest_received(turn, message, peer)
        case GetHeads():
            reconcile.heads_wanted(turn, message, peer)
        case Head(origin, note, _, base, proof):
            offered = [] if base is None else [Candidate(base, None, _hashes(proof))]
            heads.head_seen(turn, origin, note, peer, offered)
        case GetConsistency(origin, old_size, new_size):
            _prove(turn, peer, origin, old_size, new_size)
        case Consistency():
            _consistency(turn, message)
        case GetTile(origin, level, index, width):
            turn.emit(SendTile(peer, origin, level, index, width))
        case TileData(origin, level, index, data):
            turn.emit(Lend(origin, index, data) if level == 0 else Count(Ignored.UNWANTED_TILE))
        case HaveEvidence():
            reconcile.evidence_offered(turn, message, peer)
        case GetEvidence():
            reconcile.evidence_wanted(turn, message, peer)
        case EvidenceBundle():
            evidence_seen(turn, message, peer)
        case TestimonyNote():
            pass
        case Unknown():
            turn.emit(Count(Ignored.UNKNOWN_MESSAGE))
        case _:
            assert_never(message)


def _prove(turn: Turn, peer: bytes, origin: bytes, old_size: int, new_size: int) -> None:
    if origin in turn.state.rules.logs and 0 < old_size < new_size:
        turn.emit(Prove(peer, origin, old_size, new_size))
    else:
        turn.emit(Count(Ignored.IMPOSSIBLE_PROOF))


def _consistency(turn: Turn, message: Consistency) -> None:
    """Weigh a proof for every pending head that it is about."""
    branch = turn.state.branch(message.origin)
    candidate = Candidate(message.old_size, Hash(message.old_root), _hashes(message.proof))
    for pending in branch.pending:
        head = pending.signed.head
        if (head.size, head.root_hash) == (message.new_size, message.new_root) and not branch.convicted:
            turn.emit(Adjudicate(message.origin, pending.signed, (candidate,)))


def _hashes(values: Iterable[bytes]) -> tuple[Hash, ...]:
    return tuple(Hash(value) for value in values)


def _deadlines(branches: Iterable[Branch]) -> Iterator[int]:
    for branch in branches:
        if branch.convicted:
            continue
        if branch.push_due and branch.pushed_ms is not None:
            yield branch.pushed_ms + PUSH_INTERVAL_MS
        for pending in branch.pending:
            if pending.tried_ms is not None:
                yield pending.tried_ms + RETRY_MS
            if not pending.unserved:
                yield pending.first_seen_ms + UNSERVED_MS
