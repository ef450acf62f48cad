"""How much a quorum rule is worth: how many parties can break it, and how many have to fail before it cannot be met.

A rule is a tree whose leaves are witness keys and whose groups want ``threshold`` of their members. Whoever asks "how
many liars does this survive" counts **parties**, not keys: keys that carry the same key name belong to one witness
(say with an Ed25519 and an ML-DSA-44 key), which lies or fails as a whole. So a group of nothing but one party's keys
is a leaf like a single key. Every leaf counts 1, and for a group that wants ``k`` of ``n`` members each figure is the
sum of the smallest figures of its members, as many as

    minq    k               how few parties make a quorum
    inter   max(0, 2k - n)  how many parties two quorums share at least
    block   n - k + 1       how few parties reach into every quorum
    cost    k               as minq, where the parties left out are free

Two clients can be shown different trees only if ``inter`` parties cosign both; fewer liars than that cannot do it.
The quorum can still be met while fewer than ``block`` parties are silent. These are exact while every party stands at
one place of the tree. A party spread over several places (against the advice of the policy format, which wants one
group for it) would make them covering problems that no fast algorithm solves; then each place counts its share, and
the figures are lower bounds: they never promise more than is there.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import lcm


@dataclass(frozen=True, slots=True)
class Group:
    """A named group of a policy: it witnesses what at least ``threshold`` of its members witness."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A quorum rule. Groups only name witnesses and earlier groups, and no name is a member twice.

    ``parties`` maps the name of each witness line to the party it belongs to. ``quorum`` is the witness or group that
    has to witness a checkpoint, None where nobody has to.
    """

    parties: Mapping[str, str]
    groups: tuple[Group, ...]
    quorum: str | None

    def minq(self) -> int:
        """Count the parties of the cheapest quorum."""
        return self.cost(())

    def inter(self) -> int:
        """Count the parties that any two quorums have in common at least."""
        return self._least(lambda k, n: max(0, 2 * k - n))

    def block(self) -> int:
        """Count the parties of the smallest set without which there is no quorum; one more than exist if none can."""
        if self.quorum is None:
            return len(set(self.parties.values())) + 1
        return self._least(lambda k, n: n - k + 1)

    def cost(self, excluded: Collection[str]) -> int:
        """Count the parties that have to join the excluded ones to make a quorum.

        A party is excluded when all its lines are: what one key of a witness stated, the whole witness stated.
        """
        others = {party for name, party in self.parties.items() if name not in excluded}
        return self._least(lambda k, n: k, frozenset(self.parties.values()) - others)

    def margin(self, heard: Collection[str]) -> int:
        """Count the liars that a view survives when these witnesses were heard on it; below 0 it claims nothing."""
        return self.cost(self.parties.keys() - set(heard)) - 1

    def _least(self, take: Callable[[int, int], int], free: Collection[str] = ()) -> int:
        """Add up the tree from its leaves, in shares so small that a party's places share one evenly."""
        if self.quorum is None:
            return 0
        leaves, groups = self._tree(self.quorum)
        places = Counter(leaves.values())
        whole = lcm(*places.values())
        worth = {name: 0 if party in free else whole // places[party] for name, party in leaves.items()}
        for group in groups:
            members = sorted(worth[member] for member in group.members)
            worth[group.name] = sum(members[: take(group.threshold, len(members))])
        return -(-worth[self.quorum] // whole)

    def _tree(self, top: str) -> tuple[dict[str, str], list[Group]]:
        """Find the leaves below the top, with their parties, and the groups above them, members first."""
        sole = self._sole_parties()
        below, groups = {top}, []
        for group in reversed(self.groups):
            if group.name in below and sole[group.name] is None:
                groups.append(group)
                below.update(group.members)
        leaves = {name: party for name in sorted(below) if (party := sole[name]) is not None}
        return leaves, groups[::-1]

    def _sole_parties(self) -> dict[str, str | None]:
        """Find the party of every name that stands for one party only."""
        sole: dict[str, str | None] = dict(self.parties)
        for group in self.groups:
            parties = {sole[member] for member in group.members}
            sole[group.name] = parties.pop() if len(parties) == 1 else None
        return sole
