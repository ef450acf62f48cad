"""One log with everything that belongs to it here."""

from dataclasses import dataclass

from gossip.core import Log
from monitor.core import UNREACHABLE_SECONDS
from monitor.follow import Follower
from monitor.kinds import Kind
from monitor.mirror import Mirror
from monitor.sources.source import Source
from tlog.errors import TlogError
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint


@dataclass(slots=True)
class Site:
    """A log that is followed."""

    log: Log
    mirror: Mirror
    source: Source
    follower: Follower
    kind: Kind = Kind.TILES
    elsewhere: Source | None = None
    """The second way to the log, if there is one."""
    confirmed: int | None = None
    began: int | None = None
    reached: int | None = None
    line: bytes = b""
    signed_at: int = 0
    adopted: int = 0
    reviewed: int = -1

    def is_reached(self, now: int) -> bool:
        """Tell whether the log has answered lately."""
        return self.reached is not None and now - self.reached < UNREACHABLE_SECONDS


def reopened(log: Log, note: bytes) -> SignedCheckpoint | None:
    """Open a note, such as one of our own database; None if no key that is configured for the log signed it."""
    try:
        signed = open_checkpoint(note, (*log.keys, *log.policy.witness_keys)).verified_only()
    except TlogError:
        return None
    return signed if any(signed.signed_by(key) for key in log.keys) else None
