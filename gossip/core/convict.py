"""What evidence does to the state: a verified conviction is kept, sent on and never taken back.

A log that is convicted keeps its branch as it was: it is frozen, neither followed nor cosigned any more. There is no
winner between two histories. A convicted witness no longer counts towards any quorum.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256

from gossip.core.budget import Kind
from gossip.core.effects import Count, Keep, Raise, Refuse
from gossip.core.offers import forget_offer, offered_by
from gossip.core.state import (
    ANNOUNCED_BYTES,
    CONVICTED,
    EAGER_LINKS,
    EVIDENCE_NUMBERS,
    MAX_COSIGNER_BYTES,
    MAX_EVIDENCE,
    MAX_JUDGED,
    Held,
    Ignored,
    Log,
    State,
    origin_id,
)
from gossip.core.tiles import forget_tiles
from gossip.core.turn import Turn
from gossip.messages import EvidenceBundle, HaveEvidence, HeldEvidence
from tlog.errors import FormatError, ProofError, SignatureError, TlogError
from tlog.evidence import AGAINST_COSIGNERS, Conviction, Evidence, EvidenceType, verified_only, verify_evidence
from tlog.keys import VerifierKey
from tlog.note import Note

_BY_ONE_KEY = frozenset({EvidenceType.LOG_ROLLBACK, EvidenceType.ROTATION, *AGAINST_COSIGNERS})


def convict_own(turn: Turn, origin: bytes, evidence: Evidence) -> None:
    """Act on evidence that was made here; it was verified when it was made, and is once more as everybody else will."""
    log = turn.state.rules.logs[origin]
    try:
        conviction = _verified(turn.state, log, evidence)
    except TlogError:
        # It is about a key that the configuration has named no more since the statements were written down.
        turn.emit(Count(Ignored.EVIDENCE_UNDER_UNKNOWN_KEY))
        return
    _repeat(turn, _convict(turn, log, Held(conviction, evidence.format()), evidence, None))


def bundle_received(turn: Turn, message: EvidenceBundle, peer: bytes) -> None:
    """Act on evidence that a peer sent. Classes of a later version are nothing to refuse an envelope for."""
    if message.kind not in EVIDENCE_NUMBERS.values():
        turn.emit(Count(Ignored.UNKNOWN_EVIDENCE))
        return
    evidence_seen(turn, message.bundle, peer, message.kind)


def evidence_seen(turn: Turn, bundle: bytes, peer: bytes | None, kind: int | None = None) -> None:
    """Act on evidence of others: with our keys it must convict somebody, or it is dropped.

    The bytes are remembered with what came of them, so that nobody can have them verified again and again.
    """
    name = sha256(bytes([kind or 0]) + bundle).digest()  # or a wrong class would spoil the bundle for everybody else
    if name in turn.state.judged:
        _repeat(turn, turn.state.judged[name])
    elif turn.afford(peer, Kind.EVIDENCE):
        verdict = _judge(turn, bundle, peer, kind)
        judged = {**turn.state.judged, name: verdict}
        oldest = next(iter(judged))
        if len(judged) > MAX_JUDGED:
            del judged[oldest]
        turn.state = replace(turn.state, judged=judged)
        _repeat(turn, verdict)


def crowded(state: State) -> frozenset[tuple[int, bytes, bytes]]:
    """Name the classes, origins and accused keys of which no more evidence is kept."""
    counts = Counter(held.place for held in state.evidence.values())
    return frozenset(place for place, count in counts.items() if count >= MAX_EVIDENCE)


def spent(state: State) -> frozenset[bytes]:
    """Name the cosigners of whose contradictions no more is kept: each may stand in notes as long as notes can be."""
    sizes: Counter[bytes] = Counter()
    for held in state.evidence.values():
        if held.conviction.type in AGAINST_COSIGNERS:
            sizes[held.place[2]] += len(held.bundle)
    return frozenset(accused for accused, size in sizes.items() if size >= MAX_COSIGNER_BYTES)


def _repeat(turn: Turn, verdict: Ignored | str | None) -> None:
    match verdict:
        case Ignored():
            turn.emit(Count(verdict))
        case str():
            turn.emit(Refuse(f"evidence is refused: {verdict}"))
        case _:
            pass


def _judge(turn: Turn, bundle: bytes, peer: bytes | None, kind: int | None) -> Ignored | str | None:
    """Convict, or say why not: what is counted, or the reason for refusing it."""
    try:
        evidence = Evidence.parse(bundle)
        if kind not in (None, EVIDENCE_NUMBERS[evidence.type]):
            raise FormatError("the bundle is of another class than the message says")
        log = turn.state.rules.logs.get(origin_id(evidence.origin))
        if log is None:
            return Ignored.EVIDENCE_OF_UNKNOWN_LOG
        conviction = _verified(turn.state, log, evidence)
        # Or a forged line that we cannot know would make others refuse what we pass on, and us too after a restart; so
        # would the lines of an honest key beside those of one that is known to fewer and took back what it stated.
        alone = conviction.type in _BY_ONE_KEY
        keys = (conviction.accused,) if alone else _keys(turn.state, log, evidence.notes)
        evidence = verified_only(evidence, keys, None if alone else log.policy, log.origin)
    except SignatureError:
        # Perhaps the peer knows a key that we do not: a differing configuration is no attack.
        return Ignored.EVIDENCE_UNDER_UNKNOWN_KEY
    except (FormatError, ProofError) as error:
        return str(error)
    return _convict(turn, log, Held(conviction, evidence.format()), evidence, peer)


def _verified(state: State, log: Log, evidence: Evidence) -> Conviction:
    return verify_evidence(evidence, _keys(state, log, evidence.notes), log.policy, log.origin)


def _keys(state: State, log: Log, notes: Iterable[Note]) -> tuple[VerifierKey, ...]:
    return state.rules.keys_of(log, notes)


def _convict(turn: Turn, log: Log, held: Held, evidence: Evidence, via: bytes | None) -> Ignored | None:
    conviction = held.conviction
    if conviction.id in turn.state.evidence:
        return None
    rivals = _at(turn.state, held.place) if held.place in crowded(turn.state) else []
    if (rivals and held.since >= rivals[0].since) or held.place[2] in spent(turn.state):
        return Ignored.EVIDENCE_WITHOUT_ROOM
    instead = rivals[-1].conviction.id if rivals else None
    others = {id_: one for id_, one in turn.state.evidence.items() if id_ != instead}
    turn.state = replace(turn.state, evidence={**others, conviction.id: held}, summed=None)
    if conviction.accused in log.keys:
        branch = turn.state.branch(log.id)
        still = tuple(id_ for id_ in branch.convicted if id_ != instead)
        turn.put(log.id, replace(branch, convicted=(*still, conviction.id)))
        forget_tiles(turn, log.id)
    turn.emit(Keep(held, evidence, instead))
    if not rivals or 2 * held.since <= rivals[0].since:
        _spread(turn, held, via)
        turn.emit(Raise(CONVICTED, log.id, conviction.id.hex()))
    forget_offer(turn, conviction.id)
    return None


def _at(state: State, place: tuple[int, bytes, bytes]) -> list[Held]:
    """What is held of a class against a key about an origin, the one about the smallest tree first.

    Where there is no room, whatever is about a still smaller tree takes the place of the last one: a log must not be
    able to fill all places with contradictions of large trees so that smaller ones stay trusted. It is passed on only
    if it halves that size, or the log could have us all flooded with one piece for each entry.
    """
    held = (one for one in state.evidence.values() if one.place == place)
    return sorted(held, key=lambda one: (one.since, one.conviction.id))


def _spread(turn: Turn, held: Held, via: bytes | None) -> None:
    """Send small evidence to some links and its name to the rest, and of large evidence the name alone.

    In a full mesh everybody would get one bundle from everybody. Whoever hears the name before the bundle asks for it.
    """
    lacking = tuple(turn.links(but=(via, *offered_by(turn.state, held.conviction.id))))
    small = len(held.bundle) <= ANNOUNCED_BYTES
    eager: Sequence[bytes] = lacking if small else ()
    if len(eager) > EAGER_LINKS:
        eager = turn.rng.sample(lacking, EAGER_LINKS)
    turn.send(eager, EvidenceBundle(EVIDENCE_NUMBERS[held.conviction.type], held.bundle))
    rest = (peer for peer in lacking if peer not in eager)
    turn.send(rest, HaveEvidence((HeldEvidence(*held.place, held.conviction.id),)))
