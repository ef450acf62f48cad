"""What a signed head does to the state: from the moment it is seen until it is the branch, pending or a conviction."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import assert_never

from gossip.core import reading
from gossip.core.adjudicate import Extends, Forked, NeedsTile, OnBranch, Undecided, Unprovable
from gossip.core.budget import Kind
from gossip.core.candidate import Candidate
from gossip.core.convict import convict_own
from gossip.core.effects import (
    Abandon,
    Adjudicate,
    Adopt,
    Clear,
    Count,
    Follow,
    JudgeOpening,
    Raise,
    Remember,
    Review,
    SeekProof,
    Settle,
    Testify,
    Weigh,
)
from gossip.core.events import (
    Adjudicated,
    Advanced,
    OpeningJudged,
    OpeningShown,
    ProofFound,
    Rehashed,
    Stated,
    WrongEntries,
)
from gossip.core.hearsay import forget_served
from gossip.core.state import (
    LOOK_COST,
    MAX_PENDING,
    MIRROR_DAMAGED,
    PUSH_INTERVAL_MS,
    RETRY_MS,
    UNSERVED,
    WRONG_ENTRIES,
    Branch,
    Ignored,
    Log,
    Pending,
)
from gossip.core.tiles import want_tile
from gossip.core.turn import Turn
from gossip.messages import MAX_SIGNATURE_LINES, PENDING, VERIFIED, GetConsistency, Head
from tlog.evidence import Evidence
from tlog.hashing import TreeHead
from tlog.note import MAX_NOTE_BYTES, Note
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.trust import is_log_key


def head_seen(
    turn: Turn, origin: bytes, raw: bytes, via: bytes | None, candidates: Sequence[Candidate] = ()
) -> SignedCheckpoint | None:
    """Look at a note that somebody calls a head of this log; return it if it is one and its log was not convicted."""
    log = turn.state.rules.logs.get(origin)
    if log is None:
        turn.emit(Count(Ignored.HEAD_OF_UNKNOWN_LOG))
        return None
    branch = turn.state.branch(origin)
    if branch.signed is not None and branch.signed.raw == raw and not branch.convicted:
        note_holder(turn, origin, branch.signed.head, via)
        return branch.signed
    if branch.convicted:
        _look_for_cosigners(turn, log, raw, via)
        return None
    note = reading.parse(turn, raw)
    return None if note is None else _take(turn, log, note, via, candidates)


def opening_shown(turn: Turn, event: OpeningShown) -> None:
    """Take a head like any other, and have the part of its tree that came with it judged at once."""
    signed = head_seen(turn, event.origin, event.note, None)
    if signed is not None:
        turn.emit(JudgeOpening(event.origin, signed, event.opening))


def opening_judged(turn: Turn, event: OpeningJudged) -> None:
    """Convict by an opening. Otherwise the head goes its way as it would without one."""
    outcome = event.outcome
    if isinstance(outcome, Forked):
        _convict_all(turn, event.origin, (outcome.evidence, *outcome.others))
    elif isinstance(outcome, NeedsTile):
        want_tile(turn, event.origin, outcome, event)


def stated(turn: Turn, event: Stated) -> None:
    """Send the head with the own observer's newest line from now on."""
    branch = turn.state.branch(event.origin)
    if event.head is None or (branch.signed is not None and branch.signed.head == event.head):
        turn.put(event.origin, replace(branch, line=event.line))


def adjudicated(turn: Turn, event: Adjudicated) -> None:
    """Act on a verdict about a head."""
    origin, signed = event.origin, event.signed
    if turn.state.branch(origin).convicted:
        if isinstance(event.outcome, Forked):  # the log's fate is decided, that of its cosigners may not be
            _convict_all(turn, origin, event.outcome.others)
        return
    match event.outcome:
        case OnBranch():
            turn.emit(Settle(origin, signed.head))
            _drop(turn, origin, signed.head)
        case Extends(proof):
            _begin_pursuit(turn, origin, signed.head, proof)
        case Undecided():
            _begin_pursuit(turn, origin, signed.head, None)
        case NeedsTile():
            want_tile(turn, origin, event.outcome)
        case Forked(evidence, others):
            _convict_all(turn, origin, (evidence, *others))
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
    turn.emit(Raise(WRONG_ENTRIES, event.origin, event.where or f"size {event.signed.size}"))
    pending = branch.find(event.signed.head)
    if pending is not None and not branch.convicted:
        _ask(turn, event.origin, _tell(turn, event.origin, pending))


def advanced(turn: Turn, event: Advanced) -> None:
    """The branch has grown: tell the peers, and look again at what was open."""
    branch = turn.state.branch(event.origin)
    larger = tuple(one for one in branch.pending if one.signed.size > event.signed.size)
    pending = branch.find(event.signed.head)
    grown = replace(
        branch,
        signed=event.signed,
        proof=event.proof,
        pending=larger,
        push_due=True,
        line=event.line,
        holders=frozenset() if pending is None else pending.holders,
    )
    turn.put(event.origin, grown)
    forget_served(turn, event.origin, event.signed.size)
    turn.emit(Clear(WRONG_ENTRIES, event.origin))
    if not any(one.unserved for one in larger):
        turn.emit(Clear(UNSERVED, event.origin))
    turn.emit(Review(event.origin))
    push_if_due(turn, event.origin)


def push_if_due(turn: Turn, origin: bytes) -> None:
    """Send the branch's head to the links that lack it, if it is new and the last push is long enough ago."""
    branch = turn.state.branch(origin)
    if branch.signed is None or not branch.push_due or branch.convicted:
        return
    if branch.pushed_ms is None or turn.now_ms - branch.pushed_ms >= PUSH_INTERVAL_MS:
        turn.put(origin, replace(branch, pushed_ms=turn.now_ms, push_due=False))
        turn.send(turn.links(but=branch.holders), verified_head(origin, branch))


def pursue_again(turn: Turn, origin: bytes) -> None:
    """Repeat what stayed unanswered, and raise the alarm about what has stayed so for long."""
    branch = turn.state.branch(origin)
    if branch.convicted:
        return
    for pending in branch.pending:
        if turn.now_ms >= unserved_at(pending, turn.state.rules.unserved_ms):
            pending = _say_unserved(turn, origin, pending)
        if pending.tried_ms is not None and turn.now_ms - pending.tried_ms >= RETRY_MS:
            _pursue(turn, origin, pending)


def note_holder(turn: Turn, origin: bytes, head: TreeHead, peer: bytes | None) -> None:
    """Remember that a peer holds a head, which then need not be sent to it."""
    branch = turn.state.branch(origin)
    if peer is None:
        return
    if branch.signed is not None and branch.signed.head == head:
        if peer not in branch.holders:
            turn.put(origin, replace(branch, holders=branch.holders | {peer}))
    elif (pending := branch.find(head)) and peer not in pending.holders:
        _swap(turn, origin, replace(pending, holders=pending.holders | {peer}))


def verified_head(origin: bytes, branch: Branch) -> Head:
    """Make the message that carries the branch's head, under the name of the own observer."""
    if branch.signed is None:
        raise AssertionError("an empty branch has no head")
    return _message(origin, branch.signed, VERIFIED, branch.proof, branch.line)


def unserved_at(pending: Pending, unserved_ms: int) -> int:
    """Tell when it is time to say, or to say once more, that nobody serves the tree of a head."""
    return (pending.first_seen_ms if pending.testified_ms is None else pending.testified_ms) + unserved_ms


def pending_head(origin: bytes, pending: Pending) -> Head:
    """Make the message that carries a pending head."""
    return _message(origin, pending.signed, PENDING, pending.proof)


# Where a head goes.


def _take(
    turn: Turn, log: Log, note: Note, via: bytes | None, candidates: Sequence[Candidate]
) -> SignedCheckpoint | None:
    branch = turn.state.branch(log.id)
    shown = reading.read(turn, log, note, via)
    if shown is None:
        return None
    signed = reading.without_observers(log, shown)
    if branch.signed is not None and signed.head == branch.signed.head:
        _merge_into_branch(turn, log.id, signed, via)
    elif pending := branch.find(signed.head):
        _merge_into_pending(turn, log.id, pending, signed, candidates if _pays(turn, via, candidates) else ())
    else:
        _begin(turn, log.id, signed, shown, via, candidates)
    note_holder(turn, log.id, signed.head, via)
    if reading.states_news(branch, shown):
        turn.emit(Weigh(log.id, shown))
    return signed


def _pays(turn: Turn, via: bytes | None, candidates: Sequence[Candidate]) -> bool:
    """Charge for looking at proofs about a head whose lines are all known, which costs nothing else."""
    return bool(candidates) and turn.afford(via, Kind.CHECKS)


def _look_for_cosigners(turn: Turn, log: Log, raw: bytes, via: bytes | None) -> None:
    """Judge a head of a convicted log for the sake of those who cosigned it.

    Whatever the log signs now, the verdict stands. Keeping all of it would let the log fill the disk, so nothing is
    remembered, and a peer pays dearly for each look.
    """
    note = reading.with_cosigners_to_judge(turn, log, raw)
    if note is None:
        turn.emit(Count(Ignored.HEAD_OF_CONVICTED_LOG))
    elif turn.afford(via, Kind.CHECKS, LOOK_COST):
        shown = reading.read(turn, log, note, via)
        if shown is not None:
            turn.emit(Adjudicate(log.id, shown, ()))
            turn.emit(Weigh(log.id, shown))


def _convict_all(turn: Turn, origin: bytes, evidence: Iterable[Evidence]) -> None:
    for one in evidence:
        convict_own(turn, origin, one)


def _say_unserved(turn: Turn, origin: bytes, pending: Pending) -> Pending:
    """Raise the alarm once, and testify as long as it lasts."""
    if not pending.unserved:
        turn.emit(Raise(UNSERVED, origin, f"size {pending.signed.size}"))
    turn.emit(Testify(origin, pending.signed.head, pending.first_seen_ms, max(pending.tries, 1)))
    return _swap(turn, origin, replace(pending, unserved=True, testified_ms=turn.now_ms))


def _has_quorum(turn: Turn, log: Log, signed: SignedCheckpoint) -> bool:
    """Tell whether the policy is satisfied by witnesses that were not convicted themselves, under any of their keys."""
    liars = reading.accused(turn)
    verdicts = log.policy.cosigned(signed).witnesses
    honest = (one.witness for one in verdicts if one.counts and one.witness.key.name not in liars)
    return log.policy.satisfied_by({witness.name for witness in honest})


def _merge_into_branch(turn: Turn, origin: bytes, signed: SignedCheckpoint, via: bytes | None) -> None:
    branch = turn.state.branch(origin)
    if branch.signed is None:
        raise AssertionError("merged into an empty branch")
    if signed is branch.signed:
        return
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
    turn: Turn,
    origin: bytes,
    signed: SignedCheckpoint,
    shown: SignedCheckpoint,
    via: bytes | None,
    candidates: Sequence[Candidate],
) -> None:
    """Write down a head that was not seen before, then let it be adjudicated with the observers' lines it came with."""
    turn.emit(Remember(origin, signed, via))
    quorum = _has_quorum(turn, turn.state.rules.logs[origin], signed)
    larger = signed.size > turn.state.branch(origin).size
    if larger:
        _pool(turn, origin, Pending(signed, turn.now_ms, via, quorum))
    turn.emit(Adjudicate(origin, shown, tuple(candidates)))
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
    pending = _swap(turn, origin, replace(pending, tried_ms=turn.now_ms, tries=pending.tries + 1))
    if pending.quorum:
        turn.emit(Follow(origin, pending.signed))
        # A quorum may collude, and then the log serves us nothing under this head. The peer that follows it can prove
        # how it extends our branch, and can judge our own head by itself, which takes one message less.
        _show_presenter(turn, origin, pending)
        _ask_presenter(turn, origin, pending)
    else:
        _ask(turn, origin, _tell(turn, origin, pending))


def _tell(turn: Turn, origin: bytes, pending: Pending) -> Pending:
    """Send a pending head to every link that is not known to hold it, once."""
    if pending.told:
        return pending
    turn.send(turn.links(but=(pending.via, *pending.holders)), pending_head(origin, pending))
    return _swap(turn, origin, replace(pending, told=True))


def _ask(turn: Turn, origin: bytes, pending: Pending) -> None:
    """Ask whoever presented a head, and the log's own tiles, how it extends the branch."""
    size = turn.state.branch(origin).size
    recently = pending.asked_ms is not None and turn.now_ms - pending.asked_ms < RETRY_MS
    if recently or pending.proof is not None or not size:
        return
    turn.emit(SeekProof(origin, size, pending.signed.head))
    _ask_presenter(turn, origin, pending)
    _swap(turn, origin, replace(pending, asked_ms=turn.now_ms))


def _show_presenter(turn: Turn, origin: bytes, pending: Pending) -> None:
    """Send our own head, once, unless the peer is known to hold it or ours is shown to be a prefix."""
    branch = turn.state.branch(origin)
    first = pending.tries == 1 and pending.proof is None
    if first and pending.via is not None and branch.signed is not None and pending.via not in branch.holders:
        turn.send((pending.via,), verified_head(origin, branch))


def _ask_presenter(turn: Turn, origin: bytes, pending: Pending) -> None:
    size = turn.state.branch(origin).size
    if size and pending.via is not None and pending.proof is None:
        turn.send((pending.via,), GetConsistency(origin, size, pending.signed.size))


def _swap(turn: Turn, origin: bytes, pending: Pending) -> Pending:
    """Put a pending head in the place of the one with the same size and root, and return it."""
    branch = turn.state.branch(origin)
    changed = tuple(pending if one.signed.head == pending.signed.head else one for one in branch.pending)
    turn.put(origin, replace(branch, pending=changed))
    return pending


def _drop(turn: Turn, origin: bytes, head: TreeHead) -> None:
    branch = turn.state.branch(origin)
    turn.put(origin, replace(branch, pending=tuple(one for one in branch.pending if one.signed.head != head)))


def _message(origin: bytes, signed: SignedCheckpoint, status: int, proof: Candidate | None, line: bytes = b"") -> Head:
    # The log's first, wherever somebody put them: without them nobody would look at it. No quorum needs more witnesses.
    ordered = sorted(signed.signatures, key=lambda one: not is_log_key(one.key, signed.origin))
    lines = [one.line.format() for one in ordered[: MAX_SIGNATURE_LINES - 1]]
    note = Note(signed.note.text, ()).format()
    for one in (*lines, line):  # a text may be nearly as long as a note; a longer one is refused with all around it
        note += one if len(note) + len(one) <= MAX_NOTE_BYTES else b""
    if proof is None:
        return Head(origin, note, status, None, ())
    return Head(origin, note, status, proof.size, proof.path)
