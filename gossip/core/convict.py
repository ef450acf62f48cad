"""What evidence does to the state: a verified conviction is kept, sent on and never taken back.

A log that is convicted keeps its branch as it was: it is frozen, neither followed nor cosigned any more. There is no
winner between two histories. A convicted witness no longer counts towards any quorum.
"""

from dataclasses import replace

from gossip.core.effects import (
    Count,
    Keep,
    Raise,
    Refuse,
)
from gossip.core.state import (
    CONVICTED,
    EVIDENCE_NUMBERS,
    MAX_EVIDENCE,
    Held,
    Ignored,
    Log,
    State,
    origin_id,
)
from gossip.core.turn import Turn
from gossip.messages import EvidenceBundle
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.evidence import Conviction, Evidence, verified_only, verify_evidence
from tlog.keys import VerifierKey


def convict_own(turn: Turn, origin: bytes, evidence: Evidence) -> None:
    """Act on evidence that was made here; it was verified when it was made, and is once more as everybody else will."""
    log = turn.state.rules.logs[origin]
    _convict(turn, log, Held(_verified(turn.state, log, evidence), evidence.format()), evidence, None)


def evidence_seen(turn: Turn, message: EvidenceBundle, peer: bytes) -> None:
    """Act on evidence that a peer sent: with our keys it must convict somebody, or it is dropped."""
    try:
        evidence = Evidence.parse(message.bundle)
        if EVIDENCE_NUMBERS[evidence.type] != message.kind:
            raise FormatError("the bundle is of another class than the message says")
        log = turn.state.rules.logs.get(origin_id(Checkpoint.parse(evidence.notes[0].text).origin))
        if log is None:
            turn.emit(Count(Ignored.EVIDENCE_OF_UNKNOWN_LOG))
            return
        conviction = _verified(turn.state, log, evidence)
        # Or a forged line that we cannot know would make others refuse what we pass on, and us too after a restart.
        evidence = verified_only(evidence, _keys(turn.state, log), log.policy, log.origin)
    except SignatureError:
        # Perhaps the peer knows a key that we do not: a differing configuration is no attack.
        turn.emit(Count(Ignored.EVIDENCE_UNDER_UNKNOWN_KEY))
        return
    except (FormatError, ProofError) as error:
        turn.emit(Refuse(f"evidence is refused: {error}"))
        return
    _convict(turn, log, Held(conviction, evidence.format()), evidence, peer)


def has_room(state: State, place: tuple[int, bytes, bytes]) -> bool:
    """Tell whether more evidence of this class against this key about this origin would be kept."""
    return sum(held.place == place for held in state.evidence.values()) < MAX_EVIDENCE


def _verified(state: State, log: Log, evidence: Evidence) -> Conviction:
    return verify_evidence(evidence, _keys(state, log), log.policy, log.origin)


def _keys(state: State, log: Log) -> tuple[VerifierKey, ...]:
    return (*log.keys, *state.rules.observers)


def _convict(turn: Turn, log: Log, held: Held, evidence: Evidence, via: bytes | None) -> None:
    conviction = held.conviction
    if conviction.id in turn.state.evidence:
        return
    if not has_room(turn.state, held.place):
        turn.emit(Count(Ignored.EVIDENCE_WITHOUT_ROOM))
        return
    turn.state = replace(turn.state, evidence={**turn.state.evidence, conviction.id: held})
    if conviction.accused in log.keys:
        branch = turn.state.branch(log.id)
        turn.put(log.id, replace(branch, convicted=(*branch.convicted, conviction.id)))
    turn.emit(Keep(held, evidence))
    turn.send(turn.others(via), EvidenceBundle(EVIDENCE_NUMBERS[conviction.type], held.bundle))
    turn.emit(Raise(CONVICTED, log.id, conviction.id.hex()))
