"""What a signed head does to the state: from the moment it is seen until it is the branch, pending or a conviction."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from gossip.core.adjudicate import Extends, Forked, NeedsTile, OnBranch, Undecided, Unprovable
from gossip.core.candidate import Candidate
from gossip.core.convict import convict_own
from gossip.core.effects import (
    Abandon,
    Adjudicate,
    Adopt,
    Clear,
    Count,
    Follow,
    Raise,
    Refuse,
    Remember,
    Review,
    SeekProof,
    SeekTile,
    Settle,
)
from gossip.core.events import (
    Adjudicated,
    Advanced,
    ProofFound,
    Rehashed,
    WrongEntries,
)
from gossip.core.state import (
    MAX_PENDING,
    MIRROR_DAMAGED,
    PUSH_INTERVAL_MS,
    RETRY_MS,
    UNSERVED,
    UNSERVED_MS,
    WRONG_ENTRIES,
    Branch,
    Ignored,
    Log,
    Pending,
)
from gossip.core.turn import Turn
from gossip.messages import (
    MAX_SIGNATURE_LINES,
    PENDING,
    VERIFIED,
    GetConsistency,
    GetTile,
    Head,
)
from tlog.errors import FormatError, SignatureError
from tlog.hashing import TreeHead
from tlog.note import Note, NotSignedError
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.tiles import TILE_WIDTH


def head_seen(turn: Turn, origin: bytes, raw: bytes, via: bytes | None, candidates: Sequence[Candidate] = ()) -> None:
    """Look at a note that somebody calls a head of this log."""
    log = turn.state.rules.logs.get(origin)
    if log is None:
        turn.emit(Count(Ignored.HEAD_OF_UNKNOWN_LOG))
        return
    branch = turn.state.branch(origin)
    if branch.convicted:
        # Whatever a convicted log signs, the verdict stands; keeping all of it would let the log fill the disk.
        turn.emit(Count(Ignored.HEAD_OF_CONVICTED_LOG))
        return
    if branch.signed is not None and branch.signed.raw == raw:
        return
    signed = _opened(turn, log, raw)
    if signed is None:
        return
    if branch.signed is not None and signed.head == branch.signed.head:
        _merge_into_branch(turn, origin, signed, via)
    elif pending := branch.find(signed.head):
        _merge_into_pending(turn, origin, pending, signed, candidates)
    else:
        _begin(turn, origin, signed, via, candidates)


def adjudicated(turn: Turn, event: Adjudicated) -> None:
    """Act on a verdict about a head."""
    origin, signed = event.origin, event.signed
    if turn.state.branch(origin).convicted:
        return
    match event.outcome:
        case OnBranch():
            turn.emit(Settle(origin, signed.head))
            _drop(turn, origin, signed.head)
        case Extends(proof):
            _begin_pursuit(turn, origin, signed.head, proof)
        case Undecided():
            _begin_pursuit(turn, origin, signed.head, None)
        case NeedsTile(tile):
            turn.emit(SeekTile(origin, tile))
            turn.send(turn.state.rules.peers, GetTile(origin, 0, tile, TILE_WIDTH))
        case Forked(evidence):
            convict_own(turn, origin, evidence)
        case Unprovable():
            turn.emit(Raise(MIRROR_DAMAGED, origin, f"size {signed.size}"))
        case _:
            assert_never(event.outcome)


def proof_found(turn: Turn, event: ProofFound) -> None:
    """Weigh a proof about a pending head; about other heads nothing is open."""
    branch = turn.state.branch(event.origin)
    pending = branch.find(event.head)
    if pending is not None and not branch.convicted:
        turn.emit(Adjudicate(event.origin, pending.signed, (event.candidate,)))


def rehashed(turn: Turn, event: Rehashed) -> None:
    """Adopt a head whose entries were all hashed, unless the log was convicted or overtaken meanwhile."""
    branch = turn.state.branch(event.origin)
    if branch.convicted or event.signed.size <= branch.size:
        turn.emit(Abandon(event.origin))
        return
    pending = branch.find(event.signed.head)
    signed = event.signed if pending is None else _merged(event.signed, pending.signed)
    turn.emit(Adopt(event.origin, signed))


def wrong_entries(turn: Turn, event: WrongEntries) -> None:
    """A log serves entries that are not what it signed: suspicion, unless its own tiles prove more."""
    branch = turn.state.branch(event.origin)
    turn.emit(Raise(WRONG_ENTRIES, event.origin, f"size {event.signed.size}"))
    pending = branch.find(event.signed.head)
    if pending is not None and not branch.convicted:
        _ask(turn, event.origin, _tell(turn, event.origin, pending))


def advanced(turn: Turn, event: Advanced) -> None:
    """The branch has grown: tell the peers, and look again at what was open."""
    branch = turn.state.branch(event.origin)
    larger = tuple(one for one in branch.pending if one.signed.size > event.signed.size)
    turn.put(event.origin, replace(branch, signed=event.signed, proof=event.proof, pending=larger, push_due=True))
    turn.emit(Clear(WRONG_ENTRIES, event.origin))
    if not any(one.unserved for one in larger):
        turn.emit(Clear(UNSERVED, event.origin))
    turn.emit(Review(event.origin))
    push_if_due(turn, event.origin)


def push_if_due(turn: Turn, origin: bytes) -> None:
    """Send every peer the branch's head, if it is new and the last push is long enough ago."""
    branch = turn.state.branch(origin)
    if branch.signed is None or not branch.push_due or branch.convicted:
        return
    if branch.pushed_ms is None or turn.now_ms - branch.pushed_ms >= PUSH_INTERVAL_MS:
        turn.put(origin, replace(branch, pushed_ms=turn.now_ms, push_due=False))
        turn.send(turn.state.rules.peers, verified_head(origin, branch))


def pursue_again(turn: Turn, origin: bytes) -> None:
    """Repeat what stayed unanswered, and raise the alarm about what has stayed so for long."""
    branch = turn.state.branch(origin)
    if branch.convicted:
        return
    for pending in branch.pending:
        if not pending.unserved and turn.now_ms - pending.first_seen_ms >= UNSERVED_MS:
            turn.emit(Raise(UNSERVED, origin, f"size {pending.signed.size}"))
            pending = _swap(turn, origin, replace(pending, unserved=True))
        if pending.tried_ms is not None and turn.now_ms - pending.tried_ms >= RETRY_MS:
            _pursue(turn, origin, pending)


def verified_head(origin: bytes, branch: Branch) -> Head:
    """Make the message that carries the branch's head."""
    if branch.signed is None:
        raise AssertionError("an empty branch has no head")
    return _message(origin, branch.signed, VERIFIED, branch.proof)


def pending_head(origin: bytes, pending: Pending) -> Head:
    """Make the message that carries a pending head."""
    return _message(origin, pending.signed, PENDING, pending.proof)


# Reading a head.


def _opened(turn: Turn, log: Log, raw: bytes) -> SignedCheckpoint | None:
    """Open a note with the log's and its witnesses' keys; keep the lines that verified."""
    try:
        signed = open_checkpoint(_parsed(raw), (*log.keys, *log.policy.witness_keys))
        if signed.origin != log.origin:
            raise FormatError("the checkpoint is of another origin")
    except NotSignedError:
        # Perhaps the other side's configuration is newer, which is no attack; a known key that fails is one.
        turn.emit(Count(Ignored.HEAD_UNDER_UNKNOWN_KEY))
        return None
    except (FormatError, SignatureError) as error:
        turn.emit(Refuse(f"a head is refused: {error}"))
        return None
    if not any(signed.signed_by(key) for key in log.keys):
        turn.emit(Count(Ignored.HEAD_WITHOUT_LOG_SIGNATURE))
        return None
    return signed.verified_only()


def _parsed(raw: bytes) -> Note:
    note = Note.parse(raw)
    if len(note.signatures) > MAX_SIGNATURE_LINES:
        raise FormatError("the note has more than 24 signature lines")
    return note


def _has_quorum(turn: Turn, log: Log, signed: SignedCheckpoint) -> bool:
    """Tell whether the policy is satisfied by witnesses that were not convicted themselves, under any of their keys."""
    liars = {held.conviction.accused.name for held in turn.state.evidence.values()}
    verdicts = log.policy.cosigned(signed).witnesses
    honest = (one.witness for one in verdicts if one.counts and one.witness.key.name not in liars)
    return log.policy.satisfied_by({witness.name for witness in honest})


# Where a head goes.


def _merge_into_branch(turn: Turn, origin: bytes, signed: SignedCheckpoint, via: bytes | None) -> None:
    branch = turn.state.branch(origin)
    if branch.signed is None:
        raise AssertionError("merged into an empty branch")
    merged = _merged(branch.signed, signed)
    if merged.raw != branch.signed.raw:
        turn.emit(Remember(origin, merged, via))
        turn.put(origin, replace(branch, signed=merged))


def _merge_into_pending(
    turn: Turn, origin: bytes, pending: Pending, signed: SignedCheckpoint, candidates: Sequence[Candidate]
) -> None:
    """Add what is new about a pending head. Without news, a head with a quorum is followed once more."""
    log = turn.state.rules.logs[origin]
    merged = _merged(pending.signed, signed)
    if not pending.quorum and _has_quorum(turn, log, signed) and not _has_quorum(turn, log, merged):
        merged = signed  # of two texts of one head the log could send the one that nobody cosigned first
    if merged.raw != pending.signed.raw:
        turn.emit(Remember(origin, merged, pending.via))
        quorum = _has_quorum(turn, log, merged)
        pending = _swap(turn, origin, replace(pending, signed=merged, quorum=quorum))
    if candidates:
        turn.emit(Adjudicate(origin, merged, tuple(candidates)))
    if pending.quorum:
        turn.emit(Follow(origin, merged))


def _merged(known: SignedCheckpoint, seen: SignedCheckpoint) -> SignedCheckpoint:
    """Join the signatures; those under another text (extension lines differ) cannot stand in one note."""
    return known.merge(seen) if known.checkpoint == seen.checkpoint else known


def _begin(
    turn: Turn, origin: bytes, signed: SignedCheckpoint, via: bytes | None, candidates: Sequence[Candidate]
) -> None:
    """Write down a head that was not seen before, then let it be adjudicated."""
    turn.emit(Remember(origin, signed, via))
    quorum = _has_quorum(turn, turn.state.rules.logs[origin], signed)
    larger = signed.size > turn.state.branch(origin).size
    if larger:
        _pool(turn, origin, Pending(signed, turn.now_ms, via, quorum))
    turn.emit(Adjudicate(origin, signed, tuple(candidates)))
    if larger and quorum and turn.state.branch(origin).find(signed.head) is None:
        # The pool has no room, but it must not be possible to crowd out the head that the branch would grow to.
        turn.emit(Follow(origin, signed))


def _pool(turn: Turn, origin: bytes, pending: Pending) -> None:
    """Keep the smallest heads: the branch reaches them first, and absurd sizes cannot displace them."""
    branch = turn.state.branch(origin)
    smallest_first = sorted((*branch.pending, pending), key=lambda one: one.signed.size)
    turn.put(origin, replace(branch, pending=tuple(smallest_first[:MAX_PENDING])))


def _begin_pursuit(turn: Turn, origin: bytes, head: TreeHead, proof: Candidate | None) -> None:
    """Note the proof of a pending head, and act on a head for the first time; ``pursue_again`` does the rest."""
    pending = turn.state.branch(origin).find(head)
    if pending is None:
        return
    if proof is not None:
        pending = _swap(turn, origin, replace(pending, proof=proof))
    if pending.tried_ms is None:
        _pursue(turn, origin, pending)


def _pursue(turn: Turn, origin: bytes, pending: Pending) -> None:
    """Do what can be done about a pending head: follow it, or tell the peers and ask for a proof."""
    pending = _swap(turn, origin, replace(pending, tried_ms=turn.now_ms))
    if pending.quorum:
        turn.emit(Follow(origin, pending.signed))
    else:
        _ask(turn, origin, _tell(turn, origin, pending))


def _tell(turn: Turn, origin: bytes, pending: Pending) -> Pending:
    """Send a pending head to every other peer, once."""
    if pending.told:
        return pending
    turn.send(turn.others(pending.via), pending_head(origin, pending))
    return _swap(turn, origin, replace(pending, told=True))


def _ask(turn: Turn, origin: bytes, pending: Pending) -> None:
    """Ask whoever presented a head, and the log's own tiles, how it extends the branch."""
    size = turn.state.branch(origin).size
    recently = pending.asked_ms is not None and turn.now_ms - pending.asked_ms < RETRY_MS
    if recently or pending.proof is not None or not size:
        return
    head = pending.signed.head
    turn.emit(SeekProof(origin, size, head))
    if pending.via is not None:
        turn.send((pending.via,), GetConsistency(origin, size, head.size))
    _swap(turn, origin, replace(pending, asked_ms=turn.now_ms))


def _swap(turn: Turn, origin: bytes, pending: Pending) -> Pending:
    """Put a pending head in the place of the one with the same size and root, and return it."""
    branch = turn.state.branch(origin)
    changed = tuple(pending if one.signed.head == pending.signed.head else one for one in branch.pending)
    turn.put(origin, replace(branch, pending=changed))
    return pending


def _drop(turn: Turn, origin: bytes, head: TreeHead) -> None:
    branch = turn.state.branch(origin)
    turn.put(origin, replace(branch, pending=tuple(one for one in branch.pending if one.signed.head != head)))


def _message(origin: bytes, signed: SignedCheckpoint, status: int, proof: Candidate | None) -> Head:
    if proof is None:
        return Head(origin, signed.raw, status, None, ())
    return Head(origin, signed.raw, status, proof.size, proof.path)
