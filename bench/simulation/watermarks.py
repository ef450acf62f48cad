"""I7: a completeness watermark is right as long as no more witnesses lie than it allows for, and wrong when more do.

Every honest monitor keeps for each witness when that last stated a tree which is the beginning of its branch, as if it
had asked the witness a moment ago. From this it makes a claim for each number of liars: nobody who follows the policy
was shown anything else up to some time. All that any client could have been shown is known here, so each claim can be
compared with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.simulation import world
from bench.simulation.host import Monitor
from bench.simulation.world import Shape, SimLog
from gossip.core import origin_id
from tlog.completeness import watermark
from tlog.hashing import TreeHead


@dataclass(frozen=True, slots=True)
class _Cosigned:
    """A head, by whom it was cosigned, and when."""

    head: TreeHead
    witnesses: tuple[int, ...]
    time: int


@dataclass(slots=True)
class Watermarks:
    """What witnesses cosigned in one story, and the claims that are made of it. ``wrong`` ones had too many liars."""

    log: SimLog
    liars: frozenset[int]
    claims: int = 0
    wrong: int = 0
    _cosigned: list[_Cosigned] = field(default_factory=list)

    def cosigned(self, head: TreeHead, witnesses: Sequence[int], time: int) -> None:
        """Note that these witnesses cosigned a head, and that some client may have been shown it."""
        if witnesses:
            self._cosigned.append(_Cosigned(head, tuple(witnesses), time))

    def look(self, monitor: Monitor, now: int) -> None:
        """Make all claims that a monitor could make now, and compare them with what clients were shown."""
        origin = origin_id(self.log.origin)
        branch, known = monitor.state.branch(origin), monitor.disk.branches.get(origin)
        if branch.convicted or known is None or not monitor.up:
            return
        signed, shape = known
        on_branch = [self._lies_on(shape, signed.size, one.head) for one in self._cosigned]
        times = self._times(on_branch, now)
        for tolerated in range(len(self.log.witnesses)):
            until = watermark(self.log.policy, times, tolerated)
            if until is not None:
                self._compare(on_branch, until, tolerated)

    def _times(self, on_branch: Sequence[bool], now: int) -> dict[str, int]:
        """When each witness last stated a tree that the branch grew out of. A liar says what suits it, at once."""
        times: dict[str, int] = {}
        for one, lies_on in zip(self._cosigned, on_branch, strict=True):
            for witness in one.witnesses if lies_on else ():
                time = now if witness in self.liars else one.time
                times[f"w{witness}"] = max(time, times.get(f"w{witness}", 0))
        return times

    def _compare(self, on_branch: Sequence[bool], until: int, tolerated: int) -> None:
        """Every head that a client accepted with cosignatures of before that time lies on the branch."""
        self.claims += 1
        contradicted = any(
            not lies_on and one.time < until and self._has_quorum(one)
            for one, lies_on in zip(self._cosigned, on_branch, strict=True)
        )
        if contradicted and len(self.liars) <= tolerated:
            raise AssertionError("I7: a watermark claims more than is true")
        self.wrong += contradicted

    def _has_quorum(self, one: _Cosigned) -> bool:
        return self.log.policy.satisfied_by({f"w{witness}" for witness in one.witnesses})

    def _lies_on(self, shape: Shape, size: int, head: TreeHead) -> bool:
        return head.size <= size and world.head(self.log.origin, shape, head.size) == head
