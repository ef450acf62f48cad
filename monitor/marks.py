"""How far a monitor can prove that it has seen everything: the completeness watermark of each log, as plain values.

A mark claims: if at most ``liars`` parties of the policy lie, every checkpoint that a client following the policy
accepted, with all its cosignatures of before ``time``, is a prefix of this monitor's branch. specs/completeness.md
proves it. What a mark rests on are the heads that the witnesses showed of themselves: one sight for each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Outcome(StrEnum):
    """What came of looking once at the head that a witness shows."""

    HEARD = "heard"  # a newer statement of the witness
    UNCHANGED = "unchanged"  # the same as last time
    ABSENT = "absent"  # 404: the witness has cosigned nothing of this log, or does not say so
    UNREACHABLE = "unreachable"  # no answer within its time, or none that is HTTP
    REFUSED = "refused"  # any other status
    MALFORMED = "malformed"  # no checkpoint of this log that the witness signed


@dataclass(frozen=True, slots=True)
class WitnessSight:
    """What is known of one witness line of the policy about one log."""

    name: str
    """As the policy calls it."""
    party: str
    """The key name: lines that share one are one witness, which lies or fails as a whole."""
    size: int | None
    """Of the newest head on our branch that it cosigned; None while there is none."""
    time: int | None
    """Unix seconds: when it stated that head, by its clock or by ours when it arrived, whichever is earlier."""
    stated: int | None
    """Unix seconds of the newest statement it was heard to make, on our branch or not, by its own clock."""
    seen_ms: int | None
    """When it last answered with a well-formed head of its own, changed or not; None if never since the start."""
    on_branch: bool | None
    """Whether its newest statement lies on our branch; None while that is not known, or nothing was heard."""
    counts: bool
    """It was heard on our branch at the mark's time or later, and is not convicted."""
    convicted: bool
    polled: bool
    """Somebody configured where it shows its heads."""
    outcomes: Mapping[Outcome, int] = MappingProxyType({})
    """How often looking at it ended how, since the start."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The watermark of one log now."""

    origin: str
    time: int | None
    """Unix seconds up to which the branch is complete; None where nothing can be claimed yet."""
    size: int
    """Of the branch that the claim is about."""
    liars: int
    """How many lying parties the claim survives: the ``b`` that was configured."""
    margin: int
    """How many it would survive if every witness ever heard on the branch counted, however long ago; -1 for none."""
    minq: int
    inter: int
    block: int
    witnesses: tuple[WitnessSight, ...]
    """One for each witness line of the policy, in its order."""
