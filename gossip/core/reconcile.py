"""Anti-entropy: what two monitors say to each other so that nothing a push failed to deliver stays unknown.

One of them sends its SUMMARY and the other one its own. Where the hashes differ, each sends a DIGEST of what changed
since the last one that the other took in full, as the other's SUMMARY tells, and asks for the heads it lacks.

N5, why heads are enough: whoever checks consistency along a branch accepts only prefixes of its latest head, and a
prefix of a prefix is a prefix. If the latest heads of two monitors are consistent, so is all that both ever accepted.

A DIGEST is taken in full when every head that it made us ask for has come. Until then its cursor is not ours, so the
same changes are listed again next time: it does not matter which message got lost. Whoever restarts has another epoch
and no cursors, and is listed everything. All of it is listed, too, when cursors promise that there is nothing new and
the hashes say otherwise, and in every ``FLAT_EVERY``-th exchange.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import islice

from msgspec.structs import replace as with_fields

from gossip.canonical import pack
from gossip.core.budget import Kind
from gossip.core.convict import has_room
from gossip.core.effects import Compare, Count
from gossip.core.events import Compared
from gossip.core.heads import note_holder, pending_head, verified_head
from gossip.core.links import keeps_up
from gossip.core.offers import take_offers
from gossip.core.state import EVIDENCE_NUMBERS, FLAT_EVERY, MAX_PENDING, Branch, Contact, Ignored, State, Taking
from gossip.core.turn import Turn
from gossip.messages import (
    CONVICTED,
    MAX_DIGEST,
    MAX_HAVE,
    MAX_HEADS,
    PENDING,
    VERIFIED,
    Digest,
    DigestEntry,
    EvidenceBundle,
    GetEvidence,
    GetHeads,
    HaveEvidence,
    HeldEvidence,
    Summary,
)
from tlog.hashing import Hash, TreeHead

MAX_HELD = 1 + MAX_PENDING  # heads of one log that a peer can hold; comparing more would only keep us busy
DISPUTES = 2  # summaries in a row with other convictions: the first may only be ahead of a flood that is under way


def exchange(turn: Turn) -> None:
    """Begin an exchange with one random peer; the next is due an interval later, give or take a fifth.

    Some links hear from us besides, so that they stay links, but are told and asked nothing: comparing with all of
    them would cost many times what comparing with one does.
    """
    rules = turn.state.rules
    wait = rules.interval_ms * turn.rng.uniform(0.8, 1.2)
    count = turn.state.exchanges + 1
    turn.state = replace(turn.state, exchange_ms=turn.now_ms + max(int(wait), 1), exchanges=count)
    partner = (turn.rng.choice(rules.dialled),) if rules.dialled else ()
    for peer in partner:
        turn.send((peer,), summary(turn, peer))
    turn.send((peer for peer in keeps_up(turn.state) if peer not in partner), GetHeads(()))


def summary(turn: Turn, peer: bytes) -> Summary:
    """Sum up for a peer what is held: two states with equal hashes have nothing to tell each other."""
    contact = turn.contact(peer)
    if turn.state.summed is None:
        turn.state = replace(turn.state, summed=_sum(turn.state))
    if turn.state.summed is None:
        raise AssertionError("summed up to nothing")
    seen_epoch = contact.epoch if contact.seen else 0
    return with_fields(turn.state.summed, seen_epoch=seen_epoch, seen_cursor=contact.seen)


def summary_received(turn: Turn, theirs: Summary, peer: bytes, *, answer: bool) -> None:
    """Answer a summary with ours, and with what it shows to be different."""
    contact = turn.contact(peer)
    if contact.epoch != theirs.epoch:
        contact = replace(contact, epoch=theirs.epoch, seen=0, taking=None)
    turn.know(peer, contact)
    ours = summary(turn, peer)
    disputed = theirs.convicted_hash != ours.convicted_hash
    contact = replace(contact, exchanges=contact.exchanges + 1, disputes=contact.disputes + 1 if disputed else 0)
    turn.know(peer, contact)
    in_a_row = turn.state.disputes + 1 if disputed else 0
    turn.state = replace(turn.state, disputes=in_a_row)
    if not answer:
        turn.send((peer,), ours)
    if theirs.frontier_hash != ours.frontier_hash:
        turn.send((peer,), _digest(turn.state, _since(turn.state, theirs, contact)))
    if answer and contact.disputes == 1 and in_a_row >= DISPUTES:
        # Among many peers the same one is rarely met twice in a row, but it is we who differ from several.
        turn.send((peer,), ours)
    if contact.disputes >= DISPUTES:
        for message in _held(turn.state):
            turn.send((peer,), message)


def digest_received(turn: Turn, digest: Digest, peer: bytes) -> None:
    """Compare with what we hold, and ask for what we lack."""
    wanted: dict[bytes, None] = {}
    looked_at = Counter[bytes]()
    for entry in digest.entries:
        looked_at[entry.origin] += 1
        if entry.origin not in turn.state.rules.logs or looked_at[entry.origin] > MAX_HELD:
            continue
        head = TreeHead(entry.size, Hash(entry.root_hash))
        note_holder(turn, entry.origin, head, peer)
        if _is_news(turn, entry.origin, head):
            wanted[entry.origin] = None
        elif _is_smaller(turn, entry.origin, head):
            if not turn.afford(peer, Kind.CHECKS):
                return
            turn.emit(Compare(peer, entry.origin, head))
    _take(turn, digest, tuple(wanted), peer)


def arrived(turn: Turn, origin: bytes, peer: bytes) -> None:
    """A head has come that may be one we asked for; the last one of a DIGEST makes its cursor ours."""
    taking = turn.contact(peer).taking
    if taking is not None and origin in taking.wanted:
        _go_on(turn, replace(taking, wanted=taking.wanted - {origin}), peer)


def compared(turn: Turn, event: Compared) -> None:
    """A root that a peer claims for a smaller size is not ours: ask for the signed head, which will convict."""
    if not event.agrees:
        turn.send((event.peer,), GetHeads((event.origin,)))


def heads_wanted(turn: Turn, message: GetHeads, peer: bytes) -> None:
    """Send the heads of these logs, each for the price of one that the peer sent us."""
    for origin in dict.fromkeys(message.origins):
        branch = turn.state.branch(origin)
        if not turn.afford(peer, Kind.CHECKS, (branch.signed is not None) + len(branch.pending)):
            return
        if branch.signed is not None:
            turn.send((peer,), verified_head(origin, branch))
        for pending in branch.pending:
            turn.send((peer,), pending_head(origin, pending))


def evidence_offered(turn: Turn, message: HaveEvidence, peer: bytes) -> None:
    """Ask for the evidence that we lack and would keep."""
    wanted = [
        held.id
        for held in message.held
        if held.id not in turn.state.evidence
        and held.origin in turn.state.rules.logs
        and held.kind in EVIDENCE_NUMBERS.values()
        and has_room(turn.state, (held.kind, held.origin, held.accused))
    ]
    if wanted:
        take_offers(turn, list(dict.fromkeys(wanted)), peer)


def evidence_wanted(turn: Turn, message: GetEvidence, peer: bytes) -> None:
    """Send the evidence of these ids."""
    for id_ in message.ids:
        held = turn.state.evidence.get(id_)
        if held is None:
            turn.emit(Count(Ignored.UNKNOWN_EVIDENCE))
        else:
            turn.send((peer,), EvidenceBundle(EVIDENCE_NUMBERS[held.conviction.type], held.bundle))


# What is held.


def _sum(state: State) -> Summary:
    entries = list(islice(_entries(state, sorted(state.branches)), MAX_DIGEST))
    verdicts = sorted({held.place for held in state.evidence.values()})
    return Summary(
        state.epoch,
        len(state.rules.logs),
        sha256(pack([[one.origin, one.size, one.root_hash, one.flags] for one in entries])).digest(),
        sha256(pack([list(verdict) for verdict in verdicts])).digest(),
        sum(len(branch.pending) for branch in state.branches.values()),
        0,
        0,
    )


def _entries(state: State, origins: Iterable[bytes]) -> Iterator[DigestEntry]:
    return (entry for origin in origins for entry in _branch_entries(origin, state.branches[origin]))


def _branch_entries(origin: bytes, branch: Branch) -> list[DigestEntry]:
    convicted = CONVICTED if branch.convicted else 0
    heads = [] if branch.signed is None else [(branch.signed.head, VERIFIED)]
    heads += [(pending.signed.head, PENDING) for pending in branch.pending]
    entries = [DigestEntry(origin, head.size, head.root_hash, status | convicted) for head, status in heads]
    return sorted(entries, key=lambda one: (one.size, one.root_hash))


def _since(state: State, theirs: Summary, contact: Contact) -> int | None:
    """Tell from which cursor on a peer has to be listed our changes; None for everything."""
    took = theirs.seen_epoch == state.epoch and 0 < theirs.seen_cursor < state.cursor
    return theirs.seen_cursor if took and contact.exchanges % FLAT_EVERY else None


def _digest(state: State, since: int | None) -> Digest:
    """List what changed since a cursor, the oldest change first, or everything. What does not fit comes next time."""
    if since is None:
        entries = tuple(islice(_entries(state, sorted(state.branches)), MAX_DIGEST + 1))
        if len(entries) <= MAX_DIGEST:
            return Digest(None, state.cursor, entries, more=False)
    listed: list[DigestEntry] = []
    cursor = since or 0
    for origin, changed in state.changes.items():
        if changed > cursor:
            of_log = _branch_entries(origin, state.branches[origin])
            if len(listed) + len(of_log) > MAX_DIGEST:
                return Digest(since or 0, cursor, tuple(listed), more=True)
            listed += of_log
            cursor = changed
    return Digest(since or 0, cursor, tuple(listed), more=False)


def _held(state: State) -> Iterator[HaveEvidence]:
    """Announce one piece of evidence of each verdict: more of the same convince nobody who has one."""
    verdicts = {one.place: HeldEvidence(*one.place, id_) for id_, one in sorted(state.evidence.items(), reverse=True)}
    held = [verdicts[place] for place in sorted(verdicts)]
    return (HaveEvidence(tuple(held[start : start + MAX_HAVE])) for start in range(0, len(held), MAX_HAVE))


# What a peer lists.


def _is_news(turn: Turn, origin: bytes, head: TreeHead) -> bool:
    """Tell whether we want the note of this head."""
    branch = turn.state.branch(origin)
    if branch.convicted or branch.find(head) is not None:
        return False
    return branch.signed is None or (head.size >= branch.size and head != branch.signed.head)


def _is_smaller(turn: Turn, origin: bytes, head: TreeHead) -> bool:
    """Tell whether the branch alone can say if we want it: N4."""
    branch = turn.state.branch(origin)
    return not branch.convicted and head.size < branch.size


def _take(turn: Turn, digest: Digest, wanted: tuple[bytes, ...], peer: bytes) -> None:
    """Ask for heads, and remember up to where the peer's changes are known once they have come.

    A DIGEST that begins after the last one taken would leave a gap: its entries count, its cursor does not.
    """
    contact = turn.contact(peer)
    complete = not digest.more if digest.since is None else digest.since <= contact.seen
    if contact.epoch and complete:
        now, later = frozenset(wanted[:MAX_HEADS]), wanted[MAX_HEADS:]
        more = digest.more and digest.cursor > (digest.since or 0)
        turn.know(peer, replace(contact, taking=Taking(digest.cursor, now, later, more)))
        _ask(turn, wanted[:MAX_HEADS], peer)
        _go_on(turn, Taking(digest.cursor, now, later, more), peer)
    else:
        _ask(turn, wanted[:MAX_HEADS], peer)


def _go_on(turn: Turn, taking: Taking, peer: bytes) -> None:
    """Wait for the rest, ask for the next, or be done with it and say so if there is more to list."""
    contact = turn.contact(peer)
    if not taking.wanted and taking.later:
        _ask(turn, taking.later[:MAX_HEADS], peer)
        taking = replace(taking, wanted=frozenset(taking.later[:MAX_HEADS]), later=taking.later[MAX_HEADS:])
    if taking.wanted:
        turn.know(peer, replace(contact, taking=taking))
        return
    turn.know(peer, replace(contact, seen=taking.cursor, taking=None))
    if taking.more:
        turn.send((peer,), summary(turn, peer))


def _ask(turn: Turn, origins: tuple[bytes, ...], peer: bytes) -> None:
    if origins:
        turn.send((peer,), GetHeads(origins))
