"""A notice on its way: the same document for every channel. Pure.

    {"id": "…", "type": "match", "timestamp": "2026-11-23T14:00:00Z", "attempt": 1, "monitor": "…", "data": {…}}

``id`` is the same however often a notice is brought, and ``attempt`` says how often that has been tried: after a crash
or a lost answer something may arrive twice, and never twice as the first attempt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from monitor.notice import Topic


@dataclass(frozen=True, slots=True)
class Letter:
    """A notice, the number of the attempt to bring it, and the monitor that does."""

    number: int
    topic: Topic
    key: str
    body: bytes
    at_ms: int
    attempt: int
    monitor: str

    @property
    def id(self) -> str:
        """What is the same at each attempt, and for no other notice."""
        return sha256(self.key.encode()).hexdigest()[:32]

    @property
    def time(self) -> datetime:
        """When what it tells happened."""
        return datetime.fromtimestamp(self.at_ms // 1000, UTC)

    def data(self) -> Mapping[str, object]:
        """What it tells."""
        return msgspec.json.decode(self.body, type=dict[str, object])

    def document(self) -> bytes:
        """The whole letter as JSON, on one line."""
        return msgspec.json.encode(
            {
                "id": self.id,
                "type": self.topic,
                "timestamp": self.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "attempt": self.attempt,
                "monitor": self.monitor,
                "data": msgspec.Raw(self.body),
            }
        )


def pause(attempts: int, asked: float | None) -> float:
    """How many seconds to wait after so many failed attempts, at least as many as the receiver asked for."""
    return max(min(FIRST_PAUSE * 2.0 ** min(attempts - 1, 30), LONGEST_PAUSE), min(asked or 0.0, LONGEST_ASKED))


FIRST_PAUSE = 1.0
LONGEST_PAUSE = 900.0
LONGEST_ASKED = 3600.0  # who asks for more is asked once an hour whether that still holds
