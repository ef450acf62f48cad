"""What a key stated over time, compared: whoever takes back what they said is convicted by it.

Each timestamped signature of a log, a witness or an observer is a statement: as of this time, this is the largest tree
of this log that I have seen. The host keeps them (``Weigh``) and shows this module the new one and its neighbours:
those of the same key about the same log that stand next to it in time, and those of the same size.

N6: of two statements the later one must not be of a smaller tree. It would say that the signer forgot what it had seen,
or hides it. Equal times prove nothing, since both may have been made within that second, and time 0 makes no statement
about the time at all. Neither the trees nor the log are needed, and so a witness convicts itself that cosigns one
history for some and another one for others, as soon as the two meet anywhere.
"""

from collections.abc import Iterator, Sequence

from tlog.errors import TlogError
from tlog.evidence import Evidence, cosigner_rollback, cosigner_same_size, log_rollback
from tlog.keys import VerifierKey
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.trust import is_log_key


def timestamped(signed: SignedCheckpoint) -> Iterator[VerifierKey]:
    """Name the keys that signed with a time, and so stated what ``contradictions`` can compare."""
    return (signature.key for signature in signed.signatures if signature.timestamp)


def contradictions(
    statement: SignedCheckpoint, key: VerifierKey, neighbours: Sequence[SignedCheckpoint]
) -> tuple[Evidence, ...]:
    """Make evidence of whatever a key stated before, or after, and cannot have meant together with this statement."""
    return tuple(_contradictions(statement, key, neighbours))


def _contradictions(
    statement: SignedCheckpoint, key: VerifierKey, neighbours: Sequence[SignedCheckpoint]
) -> Iterator[Evidence]:
    for other in neighbours:
        if other.origin != statement.origin:
            continue
        try:
            if is_log_key(key, statement.origin):
                if _rolled_back(statement, other, key):
                    yield log_rollback(statement, other)
            elif _rolled_back(statement, other, key):
                yield cosigner_rollback(statement, other, key)
            elif statement.size == other.size and statement.root_hash != other.root_hash:
                yield cosigner_same_size(statement, other, key)
        except TlogError:
            continue  # the key signed only one of the two


def _rolled_back(one: SignedCheckpoint, other: SignedCheckpoint, key: VerifierKey) -> bool:
    """N6: the larger tree was stated at the earlier time."""
    larger, smaller = (one, other) if one.size > other.size else (other, one)
    return larger.size > smaller.size and 0 < _time(larger, key) < _time(smaller, key)


def _time(signed: SignedCheckpoint, key: VerifierKey) -> int:
    signature = signed.signed_by(key)
    return 0 if signature is None else signature.timestamp or 0
