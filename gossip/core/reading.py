"""Reads the notes that somebody calls heads of a log, and keeps of them what known keys signed.

Peers send one head again and again, each with a line of its own observer. So a line that was verified under the same
text is not verified again, only keys are looked for whose lines are there, and a peer pays for what has to be verified.
"""

from collections.abc import Sequence

from gossip.core.budget import Kind
from gossip.core.effects import Count, Refuse
from gossip.core.ledger import timestamped
from gossip.core.state import Branch, Ignored, Log
from gossip.core.turn import Turn
from gossip.messages import MAX_SIGNATURE_LINES
from tlog.errors import FormatError, SignatureError
from tlog.keys import VerifierKey
from tlog.note import Note, NotSignedError
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint, reopen_checkpoint


def read(turn: Turn, log: Log, note: Note, via: bytes | None) -> SignedCheckpoint | None:
    """Open a note with the keys of the log, its witnesses and the observers, and keep the lines that verified.

    Where that would tell nothing that is not known of the same text, what is known is returned.
    """
    known = _same_text(turn.state.branch(log.id), note)
    keys = turn.state.rules.keys_of(log, (note,))
    unverified = _unverified(note, keys, known)
    if known is not None and not unverified:
        return known
    if not turn.afford(via, Kind.CHECKS, unverified):
        return None
    try:
        signed = open_checkpoint(note, keys) if known is None else reopen_checkpoint(note, keys, known)
        if signed.origin != log.origin:
            raise FormatError("the checkpoint is of another origin")
    except NotSignedError:
        # Perhaps the other side's configuration is newer, which is no attack; a known key that fails is one.
        turn.emit(Count(Ignored.HEAD_UNDER_UNKNOWN_KEY))
        return None
    except (FormatError, SignatureError) as error:
        _refuse(turn, error)
        return None
    if not any(signed.signed_by(key) for key in log.keys):
        turn.emit(Count(Ignored.HEAD_WITHOUT_LOG_SIGNATURE))
        return None
    return signed.verified_only()


def parse(turn: Turn, raw: bytes) -> Note | None:
    """Read the grammar of a note."""
    try:
        return _parse(raw)
    except FormatError as error:
        _refuse(turn, error)
        return None


def without_observers(log: Log, signed: SignedCheckpoint) -> SignedCheckpoint:
    """Keep the lines of the log and its witnesses: a note has room for 24, and there may be any number of observers."""
    if all((one.key.name, one.key.id) in log.keyring for one in signed.signatures):
        return signed
    return signed.only(log.keyring.values())


def states_news(branch: Branch, signed: SignedCheckpoint) -> bool:
    """Tell whether a key signed with a time what is not known of it from the heads that are held."""
    known = _same_text(branch, signed.note)
    if known is signed:
        return False
    lines = frozenset(() if known is None else (one.line for one in known.signatures))
    keys = frozenset(timestamped(signed))
    return any(one.key in keys and one.line not in lines for one in signed.signatures)


def with_cosigners_to_judge(turn: Turn, log: Log, raw: bytes) -> Note | None:
    """Return a note in which a line claims to be by a witness or an observer that nothing is proven against yet."""
    try:
        note = _parse(raw)
    except FormatError:
        return None
    names = accused(turn)
    keys = turn.state.rules.keys_of(log, (note,))
    return note if any(key not in log.keys and key.name not in names for key in keys) else None


def accused(turn: Turn) -> frozenset[str]:
    """Name everybody who was convicted: whoever lies under one key is believed under no other of the same name."""
    return frozenset(held.conviction.accused.name for held in turn.state.evidence.values())


def _parse(raw: bytes) -> Note:
    note = Note.parse(raw)
    if len(note.signatures) > MAX_SIGNATURE_LINES:
        raise FormatError("the note has more than 24 signature lines")
    return note


def _refuse(turn: Turn, error: Exception) -> None:
    turn.emit(Refuse(f"a head is refused: {error}"))


def _same_text(branch: Branch, note: Note) -> SignedCheckpoint | None:
    if branch.signed is not None and branch.signed.note.text == note.text:
        return branch.signed
    return next((one.signed for one in branch.pending if one.signed.note.text == note.text), None)


def _unverified(note: Note, keys: Sequence[VerifierKey], known: SignedCheckpoint | None) -> int:
    selectors = {(key.name, key.id) for key in keys}
    lines = () if known is None else known.note.signatures  # few, and compared faster than hashed
    return sum((line.name, line.key_id) in selectors and line not in lines for line in note.signatures)
