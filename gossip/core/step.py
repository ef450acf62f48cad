"""The door to the gossip machine: which event goes where, and when the clock matters next."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from gossip.core import heads, hearsay, reconcile
from gossip.core.budget import Kind
from gossip.core.candidate import Candidate
from gossip.core.convict import bundle_received, convict_own, evidence_seen
from gossip.core.effects import (
    Adjudicate,
    Count,
    Effect,
    Lend,
    Prove,
    Refuse,
    SendTile,
    Weigh,
)
from gossip.core.events import (
    Adjudicated,
    Advanced,
    Compared,
    Contradicted,
    Done,
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
    StatementShown,
    Testified,
    Tick,
    TileLent,
    WrongEntries,
)
from gossip.core.links import FULL_MESH
from gossip.core.offers import ask_again, offer_deadlines
from gossip.core.state import (
    MAX_HEADS_AT_ONCE,
    PUSH_INTERVAL_MS,
    RETRY_MS,
    Branch,
    Held,
    Ignored,
    Rules,
    State,
)
from gossip.core.tiles import seek_again, tile_deadlines, tile_lent
from gossip.core.turn import Chance, Turn
from gossip.messages import (
    Buckets,
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
    Part,
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
    deadlines = _deadlines(state.branches.values(), state.rules.unserved_ms)
    return min((state.exchange_ms, *offer_deadlines(state), *tile_deadlines(state), *deadlines))


def _dispatch(turn: Turn, event: Event) -> None:
    match event:
        case Tick():
            _tick(turn)
        case HeadSeen(origin, note):
            heads.head_seen(turn, origin, note, None)
        case Received(peer, messages, answer):
            _received(turn, peer, messages, answer=answer)
        case EvidenceShown(bundle):
            evidence_seen(turn, bundle, None)
        case OpeningShown():
            heads.opening_shown(turn, event)
        case StatementShown(origin, signed):
            turn.emit(Weigh(origin, signed))
        case Relink(outbound):
            turn.state = replace(turn.state, outbound=outbound)
        case _:
            _done(turn, event)


def _done(turn: Turn, event: Done) -> None:
    """Take into account what came of an effect."""
    match event:
        case Adjudicated():
            heads.adjudicated(turn, event)
        case OpeningJudged():
            heads.opening_judged(turn, event)
        case ProofFound():
            heads.proof_found(turn, event)
        case TileLent(origin):
            tile_lent(turn, origin)
        case Rehashed():
            heads.rehashed(turn, event)
        case WrongEntries():
            heads.wrong_entries(turn, event)
        case Advanced():
            heads.advanced(turn, event)
        case Stated():
            heads.stated(turn, event)
        case Compared():
            reconcile.compared(turn, event)
        case Contradicted(origin, evidence):
            convict_own(turn, origin, evidence)
        case Testified(note):
            hearsay.testify(turn, note)
        case _:
            assert_never(event)


def _tick(turn: Turn) -> None:
    if turn.now_ms >= turn.state.exchange_ms:
        reconcile.exchange(turn)
    ask_again(turn)
    seek_again(turn)
    for origin in sorted(turn.state.branches):
        heads.push_if_due(turn, origin)
        heads.pursue_again(turn, origin)


def _received(turn: Turn, peer: bytes, messages: Sequence[Message], *, answer: bool) -> None:
    """Take a peer's messages one by one, up to the first that has to be refused."""
    if not answer:
        turn.heard(peer)
    if not messages:
        return
    looked_at = Counter[bytes]()
    bucketed = Buckets in map(type, messages)
    for message in messages:
        if isinstance(message, Head):
            looked_at[message.origin] += 1
            if looked_at[message.origin] > MAX_HEADS_AT_ONCE:
                turn.emit(Count(Ignored.HEAD_WITHOUT_ROOM))
                continue
        before = len(turn.effects)
        _message(turn, peer, message, answer=answer, bucketed=bucketed)
        if Refuse in map(type, turn.effects[before:]):
            return


def _message(turn: Turn, peer: bytes, message: Message, *, answer: bool, bucketed: bool) -> None:
    match message:
        case Summary():
            if turn.afford(peer, Kind.REQUESTS):  # it makes us list all that we hold
                reconcile.summary_received(turn, message, peer, answer=answer, bucketed=bucketed)
        case Digest() | Buckets() | Part():
            _listed(turn, peer, message)
        case Head():
            _head(turn, peer, message)
        case GetHeads() | GetConsistency() | GetTile() | GetEvidence():
            if turn.afford(peer, Kind.REQUESTS):
                _request(turn, peer, message)
        case Consistency():
            _consistency(turn, message, peer)
        case TileData(origin, level, index, data):
            turn.emit(Lend(origin, index, data, level))
        case HaveEvidence():
            reconcile.evidence_offered(turn, message, peer)
        case EvidenceBundle():
            bundle_received(turn, message, peer)
        case TestimonyNote():
            hearsay.testimony_heard(turn, message, peer)
        case Unknown():
            turn.emit(Count(Ignored.UNKNOWN_MESSAGE))
        case _:
            assert_never(message)


def _listed(turn: Turn, peer: bytes, message: Digest | Buckets | Part) -> None:
    match message:
        case Digest():
            reconcile.digest_received(turn, message, peer)
        case Buckets():
            if turn.afford(peer, Kind.REQUESTS):
                reconcile.buckets_received(turn, message, peer)
        case Part():
            if turn.afford(peer, Kind.REQUESTS):
                reconcile.part_received(turn, message, peer)
        case _:
            assert_never(message)


def _request(turn: Turn, peer: bytes, message: GetHeads | GetConsistency | GetTile | GetEvidence) -> None:
    match message:
        case GetHeads():
            reconcile.heads_wanted(turn, message, peer)
        case GetConsistency(origin, old_size, new_size):
            _prove(turn, peer, origin, old_size, new_size)
        case GetTile(origin, level, index, width):
            turn.emit(SendTile(peer, origin, level, index, width))
        case GetEvidence():
            reconcile.evidence_wanted(turn, message, peer)
        case _:
            assert_never(message)


def _head(turn: Turn, peer: bytes, head: Head) -> None:
    """Look at a head; unless it was dropped, what was asked for has arrived."""
    before = len(turn.effects)
    offered = [] if head.base is None else [Candidate(head.base, None, _hashes(head.proof))]
    heads.head_seen(turn, head.origin, head.note, peer, offered)
    if Count(Ignored.PEER_OVER_BUDGET) not in turn.effects[before:]:
        reconcile.arrived(turn, head.origin, peer)


def _prove(turn: Turn, peer: bytes, origin: bytes, old_size: int, new_size: int) -> None:
    if origin in turn.state.rules.logs and 0 < old_size < new_size:
        turn.emit(Prove(peer, origin, old_size, new_size))
    else:
        turn.emit(Count(Ignored.IMPOSSIBLE_PROOF))


def _consistency(turn: Turn, message: Consistency, peer: bytes) -> None:
    """Weigh a proof for every pending head that it is about."""
    branch = turn.state.branch(message.origin)
    candidate = Candidate(message.old_size, Hash(message.old_root), _hashes(message.proof))
    for pending in branch.pending:
        head = pending.signed.head
        is_about = (head.size, head.root_hash) == (message.new_size, message.new_root)
        if is_about and not branch.convicted and turn.afford(peer, Kind.CHECKS):
            turn.emit(Adjudicate(message.origin, pending.signed, (candidate,)))


def _hashes(values: Iterable[bytes]) -> tuple[Hash, ...]:
    return tuple(Hash(value) for value in values)


def _deadlines(branches: Iterable[Branch], unserved_ms: int) -> Iterator[int]:
    for branch in branches:
        if branch.convicted:
            continue
        if branch.push_due and branch.pushed_ms is not None:
            yield branch.pushed_ms + PUSH_INTERVAL_MS
        for pending in branch.pending:
            if pending.tried_ms is not None:
                yield pending.tried_ms + RETRY_MS
            yield heads.unserved_at(pending, unserved_ms)
