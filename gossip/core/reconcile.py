"""Anti-entropy: what two monitors say to each other so that nothing a push failed to deliver stays unknown.

One of them sends its SUMMARY. If the hashes differ, the answer brings the other's DIGEST and its list of evidence, and
the first one, which now knows both sides, sends what the other lacks and asks for what it lacks itself.
"""

from collections import Counter
from dataclasses import replace
from hashlib import sha256
from itertools import islice

from gossip.canonical import pack
from gossip.core.convict import has_room
from gossip.core.effects import (
    Compare,
    Count,
)
from gossip.core.events import (
    Compared,
)
from gossip.core.heads import pending_head, verified_head
from gossip.core.state import (
    EVIDENCE_NUMBERS,
    MAX_PENDING,
    Branch,
    Ignored,
    State,
)
from gossip.core.turn import Turn
from gossip.messages import (
    CONVICTED,
    MAX_DIGEST,
    MAX_GET_EVIDENCE,
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


def exchange(turn: Turn) -> None:
    """Begin an exchange with one random peer; the next is due an interval later, give or take a fifth."""
    rules = turn.state.rules
    wait = rules.interval_ms * turn.rng.uniform(0.8, 1.2)
    turn.state = replace(turn.state, exchange_ms=turn.now_ms + max(int(wait), 1))
    if rules.dialled:
        turn.send((turn.rng.choice(rules.dialled),), summary(turn.state))


def summary(state: State) -> Summary:
    """Sum up what is held: two states with equal hashes have nothing to tell each other."""
    entries = digest_entries(state)
    verdicts = sorted({held.place for held in state.evidence.values()})
    pending = sum(len(branch.pending) for branch in state.branches.values())
    return Summary(
        state.epoch,
        len(state.rules.logs),
        sha256(pack([[one.origin, one.size, one.root_hash, one.flags] for one in entries])).digest(),
        sha256(pack([list(verdict) for verdict in verdicts])).digest(),
        pending,
        0,
        0,
    )


def digest_entries(state: State) -> tuple[DigestEntry, ...]:
    """List every head that is held, sorted, at most as many as one DIGEST carries."""
    entries = (entry for origin in sorted(state.branches) for entry in _branch_entries(origin, state.branches[origin]))
    return tuple(islice(entries, MAX_DIGEST))


def summary_received(turn: Turn, theirs: Summary, peer: bytes, *, answer: bool) -> None:
    """Answer a summary with ours, and with what it shows to be different."""
    ours = summary(turn.state)
    if not answer:
        turn.send((peer,), ours)
        if theirs.frontier_hash != ours.frontier_hash:
            turn.send((peer,), _digest(turn.state))
    if theirs.convicted_hash != ours.convicted_hash and turn.state.evidence:
        turn.send((peer,), _held(turn.state))


def digest_received(turn: Turn, digest: Digest, peer: bytes) -> None:
    """Compare with what we hold; send what they lack and ask for what we lack."""
    wanted: dict[bytes, None] = {}
    listed: set[tuple[bytes, TreeHead]] = set()
    looked_at = Counter[bytes]()
    for entry in digest.entries:
        head = TreeHead(entry.size, Hash(entry.root_hash))
        listed.add((entry.origin, head))
        looked_at[entry.origin] += 1
        if entry.origin not in turn.state.rules.logs or looked_at[entry.origin] > MAX_HELD:
            continue
        if _is_news(turn, entry.origin, head, peer):
            wanted[entry.origin] = None
    if wanted:
        turn.send((peer,), GetHeads(tuple(islice(wanted, MAX_HEADS))))
    if digest.since is None and not digest.more:
        _send_unlisted(turn, listed, peer)


def compared(turn: Turn, event: Compared) -> None:
    """A root that a peer claims for a smaller size is not ours: ask for the signed head, which will convict."""
    if not event.agrees:
        turn.send((event.peer,), GetHeads((event.origin,)))


def heads_wanted(turn: Turn, message: GetHeads, peer: bytes) -> None:
    """Send the heads of these logs."""
    for origin in dict.fromkeys(message.origins):
        _send_heads(turn, origin, turn.state.branch(origin), peer)


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
        turn.send((peer,), GetEvidence(tuple(wanted[:MAX_GET_EVIDENCE])))


def evidence_wanted(turn: Turn, message: GetEvidence, peer: bytes) -> None:
    """Send the evidence of these ids."""
    for id_ in message.ids:
        held = turn.state.evidence.get(id_)
        if held is None:
            turn.emit(Count(Ignored.UNKNOWN_EVIDENCE))
        else:
            turn.send((peer,), EvidenceBundle(EVIDENCE_NUMBERS[held.conviction.type], held.bundle))


def _branch_entries(origin: bytes, branch: Branch) -> list[DigestEntry]:
    convicted = CONVICTED if branch.convicted else 0
    heads = [] if branch.signed is None else [(branch.signed.head, VERIFIED)]
    heads += [(pending.signed.head, PENDING) for pending in branch.pending]
    entries = [DigestEntry(origin, head.size, head.root_hash, status | convicted) for head, status in heads]
    return sorted(entries, key=lambda one: (one.size, one.root_hash))


def _digest(state: State) -> Digest:
    entries = digest_entries(state)
    return Digest(None, 0, entries, len(entries) == MAX_DIGEST)


def _held(state: State) -> HaveEvidence:
    held = [HeldEvidence(*one.place, id_) for id_, one in sorted(state.evidence.items())]
    return HaveEvidence(tuple(held[:MAX_HAVE]))


def _is_news(turn: Turn, origin: bytes, head: TreeHead, peer: bytes) -> bool:
    """Tell whether we want the note of this head. A smaller one is first compared with the branch."""
    branch = turn.state.branch(origin)
    if branch.convicted or branch.find(head) is not None:
        return False
    if branch.signed is None or head.size > branch.size:
        return True
    if head.size < branch.size:
        turn.emit(Compare(peer, origin, head))
        return False
    return head != branch.signed.head


def _send_unlisted(turn: Turn, listed: set[tuple[bytes, TreeHead]], peer: bytes) -> None:
    """Send the heads that a complete digest does not list."""
    for origin in sorted(turn.state.branches):
        branch = turn.state.branches[origin]
        known = branch.signed is None or (origin, branch.signed.head) in listed
        if not known or any((origin, one.signed.head) not in listed for one in branch.pending):
            _send_heads(turn, origin, branch, peer)


def _send_heads(turn: Turn, origin: bytes, branch: Branch, peer: bytes) -> None:
    if branch.signed is not None:
        turn.send((peer,), verified_head(origin, branch))
    for pending in branch.pending:
        turn.send((peer,), pending_head(origin, pending))
