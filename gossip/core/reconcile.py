"""Anti-entropy: what two monitors say to each other so that nothing a push failed to deliver stays unknown.

One of them sends its SUMMARY and the other one its own. Where the hashes differ, each sends a DIGEST of what changed
since the last one that the other took in full, as the other's SUMMARY tells, and asks for the heads it lacks. If much
changed since, as always where one meets another peer each time, it sends BUCKETS instead: a few bytes for each log.
The other answers with what it holds of the logs where these differ from its own, a PART, and gets such a PART back. So
an exchange costs about as much as there is to tell, however many monitors there are.

N5, why heads are enough: whoever checks consistency along a branch accepts only prefixes of its latest head, and a
prefix of a prefix is a prefix. If the latest heads of two monitors are consistent, so is all that both ever accepted.

A DIGEST or PART is taken in full when every head that it made us ask for has come. Until then its cursor is not ours,
so the same changes are listed again next time: it does not matter which message got lost. Whoever restarts has another
epoch and no cursors, and is compared with as a whole. So is whoever has cursors that promise that there is nothing new
while the hashes say otherwise, and all of it is listed in every ``FLAT_EVERY``-th exchange.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import islice

from msgspec.structs import replace as with_fields

from gossip.canonical import pack
from gossip.core.budget import Kind
from gossip.core.convict import crowded, spent
from gossip.core.effects import Compare, Count
from gossip.core.events import Compared
from gossip.core.heads import note_holder, pending_head, verified_head
from gossip.core.links import keeps_up
from gossip.core.listing import branch_entries, bucket_count, buckets, differing, entries, packed, part
from gossip.core.offers import take_offers
from gossip.core.state import EVIDENCE_NUMBERS, FLAT_EVERY, MAX_PENDING, Ignored, State, Taking
from gossip.core.turn import Turn
from gossip.messages import (
    MAX_DIGEST,
    MAX_HAVE,
    MAX_HEADS,
    SALT_BYTES,
    Buckets,
    Digest,
    DigestEntry,
    EvidenceBundle,
    GetEvidence,
    GetHeads,
    HaveEvidence,
    HeldEvidence,
    Part,
    Summary,
)
from tlog.hashing import Hash, TreeHead

MAX_HELD = 1 + MAX_PENDING  # heads of one log that a peer can hold; comparing more would only keep us busy
FEW_CHANGES = 4  # logs: to list so many costs no more than to find out which of them a peer lacks
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


def summary_received(turn: Turn, theirs: Summary, peer: bytes, *, answer: bool, bucketed: bool) -> None:
    """Answer a summary with ours, and with what it shows to be different.

    With ``bucketed`` the same envelope brings BUCKETS, and what differs is told in answer to those.
    """
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
    if theirs.frontier_hash != ours.frontier_hash and not bucketed:
        _list(turn, theirs, peer)
    if answer and contact.disputes == 1 and in_a_row >= DISPUTES:
        # Among many peers the same one is rarely met twice in a row, but it is we who differ from several.
        turn.send((peer,), ours)
    if contact.disputes >= DISPUTES:
        for message in _held(turn.state):
            turn.send((peer,), message)


def digest_received(turn: Turn, digest: Digest, peer: bytes) -> None:
    """Compare with what we hold, and ask for what we lack.

    A DIGEST that begins after the last one taken would leave a gap: its entries count, its cursor does not.
    """
    wanted = _compare_all(turn, digest.entries, peer)
    if wanted is None:
        return
    contact = turn.contact(peer)
    if contact.epoch and (not digest.more if digest.since is None else digest.since <= contact.seen):
        more = digest.more and digest.cursor > (digest.since or 0)
        _take(turn, digest.cursor, wanted, peer, more=more)
    else:
        _ask(turn, wanted[:MAX_HEADS], peer)


def buckets_received(turn: Turn, theirs: Buckets, peer: bytes) -> None:
    """Tell what we hold of the logs that we differ in."""
    marks, listed = differing(turn.state, theirs)
    if any(marks):
        turn.send((peer,), Part(turn.state.cursor, marks, tuple(listed), answer=False))


def part_received(turn: Turn, message: Part, peer: bytes) -> None:
    """Compare with what we hold, ask for what we lack, and tell in return what was not listed."""
    contact = turn.contact(peer)
    if not message.answer and contact.bucketed is not None:
        turn.know(peer, replace(contact, bucketed=None))
        marks, listed = part(turn.state, message.marks, message.entries)
        cursor = contact.bucketed if marks == message.marks else 0
        turn.send((peer,), Part(cursor, marks, tuple(listed), answer=True))
    wanted = _compare_all(turn, message.entries, peer)
    if wanted is not None:
        _take(turn, message.cursor, wanted, peer, more=False)


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
    full, liars = crowded(turn.state), spent(turn.state)
    wanted = [
        held.id
        for held in message.held
        if held.id not in turn.state.evidence
        and held.origin in turn.state.rules.logs
        and held.kind in EVIDENCE_NUMBERS.values()
        and (held.kind, held.origin, held.accused) not in full
        and held.accused not in liars
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
    held = islice(entries(state, sorted(state.branches)), MAX_DIGEST)
    verdicts = sorted({held.place for held in state.evidence.values()})
    return Summary(
        state.epoch,
        len(state.rules.logs),
        sha256(packed(held)).digest(),
        sha256(pack([list(verdict) for verdict in verdicts])).digest(),
        sum(len(branch.pending) for branch in state.branches.values()),
        0,
        0,
    )


def _list(turn: Turn, theirs: Summary, peer: bytes) -> None:
    """List everything now and then, what changed if it is little, and otherwise let the peer find out what differs."""
    state, contact = turn.state, turn.contact(peer)
    count = bucket_count(len(state.rules.logs))
    took = theirs.seen_epoch == state.epoch and 0 < theirs.seen_cursor < state.cursor
    since = theirs.seen_cursor if took and contact.exchanges % FLAT_EVERY else None
    changed = sum(cursor > (since or 0) for cursor in state.changes.values())
    if contact.exchanges % FLAT_EVERY == 0 or changed <= max(FEW_CHANGES, count // 16):
        turn.send((peer,), _digest(state, since))
    else:
        turn.know(peer, replace(contact, bucketed=state.cursor))
        turn.send((peer,), buckets(state, turn.rng.getrandbits(8 * SALT_BYTES).to_bytes(SALT_BYTES), count))


def _digest(state: State, since: int | None) -> Digest:
    """List what changed since a cursor, the oldest change first, or everything. What does not fit comes next time."""
    if since is None:
        held = tuple(islice(entries(state, sorted(state.branches)), MAX_DIGEST + 1))
        if len(held) <= MAX_DIGEST:
            return Digest(None, state.cursor, held, more=False)
    listed: list[DigestEntry] = []
    cursor = since or 0
    for origin, changed in state.changes.items():
        if changed > cursor:
            of_log = branch_entries(origin, state.branches[origin])
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


def _compare_all(turn: Turn, listed: Iterable[DigestEntry], peer: bytes) -> tuple[bytes, ...] | None:
    """Name the logs of which a peer lists heads that we want; None if it cannot pay for the comparison."""
    wanted: dict[bytes, None] = {}
    looked_at = Counter[bytes]()
    for entry in listed:
        looked_at[entry.origin] += 1
        if entry.origin not in turn.state.rules.logs or looked_at[entry.origin] > MAX_HELD:
            continue
        head = TreeHead(entry.size, Hash(entry.root_hash))
        note_holder(turn, entry.origin, head, peer)
        if _is_news(turn, entry.origin, head):
            wanted[entry.origin] = None
        elif _is_smaller(turn, entry.origin, head):
            if not turn.afford(peer, Kind.CHECKS):
                return None
            turn.emit(Compare(peer, entry.origin, head))
    return tuple(wanted)


def _take(turn: Turn, cursor: int, wanted: tuple[bytes, ...], peer: bytes, *, more: bool) -> None:
    """Ask for heads, and remember up to where the peer's changes are known once they have come."""
    now, later = frozenset(wanted[:MAX_HEADS]), wanted[MAX_HEADS:]
    _ask(turn, wanted[:MAX_HEADS], peer)
    _go_on(turn, Taking(cursor, now, later, more), peer)


def _go_on(turn: Turn, taking: Taking, peer: bytes) -> None:
    """Wait for the rest, ask for the next, or be done with it and say so if there is more to list."""
    contact = turn.contact(peer)
    if not taking.wanted and taking.later:
        _ask(turn, taking.later[:MAX_HEADS], peer)
        taking = replace(taking, wanted=frozenset(taking.later[:MAX_HEADS]), later=taking.later[MAX_HEADS:])
    if taking.wanted:
        turn.know(peer, replace(contact, taking=taking))
        return
    seen = max(contact.seen, taking.cursor) if contact.epoch else 0
    turn.know(peer, replace(contact, seen=seen, taking=None))
    if taking.more:
        turn.send((peer,), summary(turn, peer))


def _ask(turn: Turn, origins: tuple[bytes, ...], peer: bytes) -> None:
    if origins:
        turn.send((peer,), GetHeads(origins))
