"""Is the completeness watermark right? Random policies, witnesses and lies; every claim is compared with the truth.

A world has a log with a public history and another one that parts from it, witnesses of which some lie, and a monitor
that follows the public history at some distance and hears what the witnesses state, late and not always. Honest
witnesses stand on one history each; which one, the liar decides. Their clocks are wrong by up to ``DELTA`` seconds and
never go back. Whoever lies cosigns anything, of any time, and tells the monitor what it wants to hear.

At every moment the monitor claims, for each number of liars: whatever a client accepted with cosignatures of before T
is the beginning of my tree; and whatever a client accepted at all before T - DELTA. A claim is wrong if some head that
is not has a quorum of honest cosignatures from before then and of liars. With as many liars as the claim allows for, or
fewer, no claim may be wrong. With more, many should be: a check that never fails would say nothing. Nor would one that
does not notice when T itself is taken for a time before T.

    python -m bench.completeness [--short]
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256

from tlog.completeness import watermark
from tlog.keys import KeyType, SignerKey
from tlog.policy import Policy, PolicyWitness
from tlog.quorum import Group

DELTA = 3  # seconds that an honest clock may be wrong
MOMENTS = 60  # of one world
PARTED = 10  # entries that both histories share
PUBLIC, OTHER = "public", "other"

Head = tuple[str, int]
"""A history and a size. What both histories share counts as public."""


@dataclass(slots=True)
class Witness:
    """An honest witness: the one history it stands on, and what it cosigned: head, its own time, and the true time."""

    name: str
    history: str
    offset: int
    size: int = 0
    last: int = 0
    stated: list[tuple[Head, int, int]] = field(default_factory=list)

    def cosign(self, size: int, now: int) -> None:
        """Cosign the largest tree it has seen; its time never goes back."""
        self.size = max(self.size, size)
        self.last = max(self.last, now + self.offset)
        head = (PUBLIC if self.size <= PARTED else self.history, self.size)
        self.stated.append((head, self.last, now))


@dataclass(slots=True)
class World:
    """One random world."""

    policy: Policy
    honest: list[Witness]
    liars: frozenset[str]
    branch: int = 0
    heard: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of each witness line the newest statement that the monitor heard: time and size, on the public history."""

    @property
    def lying_parties(self) -> int:
        """How many witnesses lie; two lines of one name are one."""
        return len({line.key.name for line in self.policy.witnesses if line.name in self.liars})

    def times(self) -> dict[str, int]:
        """What the watermark is computed from: statements that lie on the branch."""
        return {name: time for name, (time, size) in self.heard.items() if size <= self.branch}

    def heads(self) -> set[Head]:
        """Whatever an honest witness cosigned that is not the beginning of the monitor's tree."""
        all_heads = {head for witness in self.honest for head, _, _ in witness.stated}
        return {head for head in all_heads if head[0] != PUBLIC or head[1] > self.branch}

    def accepted(self, head: Head, before: int, *, real: bool) -> bool:
        """Tell whether a client could have accepted a head with cosignatures of before a time; liars say any time."""
        names = {
            witness.name
            for witness in self.honest
            for stated, time, truly in witness.stated
            if stated == head and (truly if real else time) < before
        }
        return self.policy.satisfied_by(names | self.liars)


def world(chance: random.Random) -> World:
    """Make a world: a policy of flat or nested groups, some liars, some honest witnesses on the other history."""
    policy = _policy(chance)
    parties = sorted({line.key.name for line in policy.witnesses})
    lying = set(chance.sample(parties, chance.randint(0, len(parties) - 1)))
    liars = frozenset(line.name for line in policy.witnesses if line.key.name in lying)
    misled = chance.random()
    honest: dict[str, Witness] = {}
    for line in policy.witnesses:
        if line.name not in liars:
            history = OTHER if chance.random() < misled else PUBLIC
            honest.setdefault(line.key.name, Witness(line.name, history, chance.randint(-DELTA, DELTA)))
    # Of a witness with two keys one is enough to be honest with; the other one is never used.
    return World(policy, list(honest.values()), liars)


def moments(found: World, chance: random.Random) -> Iterator[int]:
    """Let a world go on, several moments in one second now and then."""
    public = other = PARTED - 3
    now = 100
    for _ in range(MOMENTS):
        now += chance.choice((0, 1, 1))
        public += chance.randint(0, 2)
        other += chance.randint(0, 2)
        if chance.random() < 0.4:
            found.branch = max(found.branch, public - chance.randint(0, 3))
        for witness in found.honest:
            if chance.random() < 0.6:
                witness.cosign(other if witness.history == OTHER else public, now)
            if chance.random() < 0.5:
                _hear(found, witness, now, chance)
        for name in found.liars:
            found.heard[name] = now, found.branch
        yield now


def _hear(found: World, witness: Witness, now: int, chance: random.Random) -> None:
    """Let the monitor hear what a witness states, or what it stated a while ago; later than now counts as now."""
    for (history, size), time, _ in witness.stated[-chance.randint(1, 3) :]:
        if history == PUBLIC:
            statement = min(time, now), size
            found.heard[witness.name] = max(found.heard.get(witness.name, (0, 0)), statement)
            break


@dataclass(slots=True)
class Count:
    """What came of all claims."""

    worlds: int = 0
    claims: int = 0
    wrong: int = 0
    control_claims: int = 0
    control_wrong: int = 0
    wrong_with_equal_times: int = 0

    def look(self, found: World) -> None:
        """Compare every claim that can be made at this moment with the truth."""
        times, heads = found.times(), found.heads()
        for liars in range(len(found.policy.witnesses)):
            until = watermark(found.policy, times, liars)
            if until is None:
                break
            wrong = any(
                found.accepted(head, until, real=False) or found.accepted(head, until - DELTA, real=True)
                for head in heads
            )
            if found.lying_parties <= liars:
                self.claims += 1
                self.wrong += wrong
                self.wrong_with_equal_times += any(found.accepted(head, until + 1, real=False) for head in heads)
            else:
                self.control_claims += 1
                self.control_wrong += wrong


def check(worlds: int, seed: int = 1) -> Count:
    """Make worlds, and look at each moment of them."""
    count = Count()
    for number in range(worlds):
        chance = random.Random(f"{seed} {number}")
        found = world(chance)
        for _ in moments(found, chance):
            count.look(found)
        count.worlds += 1
    return count


@cache
def _key(name: str, number: int) -> SignerKey:
    return SignerKey(name, KeyType.COSIGNATURE_ED25519, sha256(f"{name} {number}".encode()).digest())


def _policy(chance: random.Random) -> Policy:
    """A policy of three to seven witnesses, a few of them with two keys, in one group or in several."""
    lines: list[PolicyWitness] = []
    groups: list[Group] = []
    loose: list[str] = []
    for party in range(chance.randint(3, 7)):
        keys = 2 if chance.random() < 0.15 else 1
        names = [f"w{party}.{number}" for number in range(keys)]
        lines += [
            PolicyWitness(name, _key(f"witness.example/w{party}", number).verifier_key)
            for number, name in enumerate(names)
        ]
        if keys > 1:
            groups.append(Group(f"p{party}", 1, tuple(names)))
        loose.append(f"p{party}" if keys > 1 else names[0])
    while len(loose) > 3 and chance.random() < 0.4:
        some = chance.sample(loose, chance.randint(2, len(loose) - 1))
        loose = [name for name in loose if name not in some] + [f"g{len(groups)}"]
        groups.append(Group(f"g{len(groups)}", chance.randint(1, len(some)), tuple(some)))
    groups.append(Group("quorum", chance.randint((len(loose) + 1) // 2, len(loose)), tuple(loose)))
    return Policy((), tuple(lines), tuple(groups), "quorum")


def main() -> None:
    """Check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    count = check(200 if arguments.short else 3000, arguments.seed)
    document = {
        "bench": "completeness",
        "worlds": count.worlds,
        "claims_with_at_most_as_many_liars": count.claims,
        "of_these_wrong": count.wrong,
        "control_claims_with_more_liars": count.control_claims,
        "of_these_wrong_control": count.control_wrong,
        "control_wrong_if_equal_times_counted": count.wrong_with_equal_times,
    }
    print(json.dumps(document))
    if count.wrong or not count.control_wrong or not count.wrong_with_equal_times:
        sys.exit(1)


if __name__ == "__main__":
    main()
