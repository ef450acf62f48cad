"""What people are told: a topic, a key that tells one notice from all others, and a JSON object."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec


class Topic(StrEnum):
    """What a notice is about; a channel chooses among them."""

    ALARM = "alarm"
    MATCH = "match"
    HEALTH = "health"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell people. ``key`` tells it from all others; the body is a JSON object."""

    topic: Topic
    key: str
    body: bytes
    at_ms: int

    @classmethod
    def of(cls, topic: Topic, key: str, at_ms: int, document: Mapping[str, object]) -> "Notice":
        """Make a notice of a document."""
        return cls(topic, key, msgspec.json.encode(document), at_ms)
