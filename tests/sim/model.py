"""Every run of a small federation, state by state: can an honest log be framed, and can a forked one get away?

One log with two branches, A and B, that share their first two entries; it signs sizes 2, 3 and 4 of A and, unless it
is honest, 3 and 4 of B. Three witnesses cosign, one of them whatever it is asked to; two suffice. Of three monitors one
lies. The log shows A to the first honest monitor and B to the second, or A to both. What is allowed to happen next:

    sign      the log signs the next size of a branch
    cosign    a witness is asked to cosign any signed head, from any size and with the best proof there is
    follow    a monitor re-hashes the branch it is shown, up to a head with a quorum
    hear      anybody (a client, a witness, the lying monitor) shows a monitor any signed head, with every proof that
              can be computed from either tree, or a claim without a signature
    exchange  an honest monitor gets what the other has: its head with proofs of its tree, pending heads, evidence

Whether a witness may cosign is asked of ``tlog.advance.decide``, and what a head does to a monitor of
``gossip.core.adjudicate``, with real signatures and trees; only who talks to whom, and when, is the model's own.

Messages get lost and arrive twice. That needs no channel: what a monitor has told it can tell again, so whatever a
lossy, duplicating set of messages can deliver, ``hear`` and ``exchange`` can, and losing one is not to do so.

Safety is checked in every reachable state. Liveness is the log's dilemma (N4): once honest monitors hold heads that
contradict each other, and the link between them is up, somebody is convicted or a freeze is visible, that is, a head
is pending that the log has signed and its branch has not reached. It is checked on the graph: no step leads back, so
a run either changes forever, which a finite graph forbids, or stays in one state forever. Weak fairness of ``exchange``
says that it does not stay where an exchange would change something. So the property holds if each state that violates
the goal lets some exchange change it (``escapes``), and no state can be come back to (``cycles``).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import NamedTuple

from gossip.core import Candidate, Extends, Forked, OnBranch, Undecided, adjudicate
from tests.forks import ORIGIN, Tree, leaves, signed
from tests.keys import NOW, log_key
from tlog.advance import Advance, Refresh, Statement, decide
from tlog.evidence import verify_evidence
from tlog.hashing import Hash
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint

LOG = log_key()
SPLIT, LAST = 2, 4


class Head(NamedTuple):
    """A signed head by size and branch; up to the split both branches are A."""

    size: int
    branch: str


HEADS = (Head(2, "A"), Head(3, "A"), Head(4, "A"), Head(3, "B"), Head(4, "B"))
NOTHING = Head(0, "A")
TREES = {"A": Tree(leaves(LAST)), "B": Tree(leaves(LAST, "fork", common=SPLIT))}
SIGNED: dict[Head, SignedCheckpoint] = {head: signed(TREES[head.branch].head(head.size), LOG) for head in HEADS}


def agree(one: Head, other: Head) -> bool:
    """Whether one history has both."""
    return one.branch == other.branch or min(one.size, other.size) <= SPLIT


class Monitor(NamedTuple):
    """An honest monitor: the head of its branch, what it cannot decide about yet, and whether it convicted the log."""

    branch: Head = NOTHING
    pending: frozenset[Head] = frozenset()
    convicted: bool = False


class State(NamedTuple):
    signed: frozenset[Head]
    witnesses: tuple[Head, Head]  # the honest ones, whose names do not matter: in order
    monitors: tuple[Monitor, Monitor]


START = State(frozenset(), (NOTHING, NOTHING), (Monitor(), Monitor()))


# What the project's own functions say.


@cache
def cosigns(known: Head, new: Head) -> bool:
    """Whether a witness that cosigned ``known`` cosigns ``new`` when it gets the best proof there is."""
    before = None if known == NOTHING else Statement(ORIGIN, known.size, SIGNED[known].root_hash, NOW)
    path: list[Hash] = []
    if 0 < known.size < new.size:
        path = prove_consistency(known.size, new.size, TREES[new.branch].read)
    return isinstance(decide(before, known.size, SIGNED[new].checkpoint, path, NOW), Advance | Refresh)


@cache
def everybodys_proofs(head: Head) -> tuple[Candidate, ...]:
    """What anybody can compute about a head, and what does not lead to it."""
    return tuple(candidate for branch in TREES for candidate in proofs(Head(LAST, branch), head))


@cache
def proofs(of: Head, head: Head) -> tuple[Candidate, ...]:
    """The proofs that lead to ``head``, or should, from the tree of somebody whose branch is ``of``."""
    tree, size = TREES[of.branch], head.size
    if of.size < size:
        return ()
    return tuple(
        Candidate(old, tree.head(old).root_hash, tuple(prove_consistency(old, size, tree.read)))
        for old in range(1, size)
    )


@cache
def judge(branch: Head, pending: frozenset[Head], head: Head, candidates: tuple[Candidate, ...]) -> str:
    """What a head does to a monitor: ``forked``, ``settled`` or ``undecided``."""
    own = None if branch == NOTHING else SIGNED[branch]
    known = {size: [SIGNED[one] for one in pending if one.size == size] for size in range(1, LAST + 1)}
    match adjudicate(own, SIGNED[head], candidates, TREES[branch.branch].read, known):
        case Forked(evidence):
            # A bundle that a stranger would not accept convicts nobody.
            verify_evidence(evidence, [LOG.verifier_key])
            return "forked"
        case OnBranch():
            return "settled"
        case Undecided() | Extends():
            return "undecided"
        case other:
            raise AssertionError(other)


# What may happen.


@dataclass(frozen=True, slots=True)
class Model:
    """The rules; the tests break one at a time to see that the properties notice."""

    forks: bool = True
    views: tuple[str, str] = ("A", "B")
    linked: bool = True
    cosigns: Callable[[Head, Head], bool] = cosigns
    believes_claims: bool = False
    reviews: bool = True
    heads: tuple[Head, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", HEADS if self.forks else HEADS[:3])

    def steps(self, state: State) -> Iterator[State]:
        """Everything that may happen next, fair or not."""
        yield from self.sign(state)
        yield from self.cosign(state)
        for i in range(2):
            yield from (replace_monitor(state, i, after) for after in self.follow(state, i))
            yield from (replace_monitor(state, i, after) for after in self.hear(state, i))
        yield from self.exchange(state)

    def sign(self, state: State) -> Iterator[State]:
        for head in self.heads:
            before = Head(head.size - 1, "A" if head.size - 1 <= SPLIT else head.branch)
            if head not in state.signed and (head.size == SPLIT or before in state.signed):
                yield state._replace(signed=state.signed | {head})

    def cosign(self, state: State) -> Iterator[State]:
        one, other = state.witnesses
        for head in state.signed:
            for known, rest in ((one, other), (other, one)):
                if head != known and self.cosigns(known, head):
                    low, high = sorted((head, rest))
                    yield state._replace(witnesses=(low, high))

    def follow(self, state: State, i: int) -> Iterator[Monitor]:
        monitor = state.monitors[i]
        for head in state.signed:
            shown = head.branch == self.views[i] or head.size <= SPLIT
            # The lying witness is the second of the quorum, for any head.
            if shown and head in state.witnesses and head.size > monitor.branch.size and not monitor.convicted:
                yield self.grown(monitor, head)

    def grown(self, monitor: Monitor, head: Head) -> Monitor:
        """Re-hash up to a head, and judge what was pending again."""
        after = monitor._replace(branch=head, pending=monitor.pending - {head})
        if not agree(monitor.branch, head):
            raise AssertionError("a monitor re-hashed another history than it has")
        for pending in sorted(after.pending) if self.reviews else ():
            after = self.told(after, pending, ())
        return after

    def hear(self, state: State, i: int) -> Iterator[Monitor]:
        monitor = state.monitors[i]
        for head in () if monitor.convicted else state.signed:
            for candidates in ((), everybodys_proofs(head)):
                yield self.told(monitor, head, candidates)
        if self.believes_claims:
            yield monitor._replace(convicted=True, pending=frozenset())

    def exchange(self, state: State) -> Iterator[State]:
        """The fair steps: what the link between the two honest monitors delivers, sooner or later."""
        for i in range(2) if self.linked else ():
            monitor, peer = state.monitors[i], state.monitors[1 - i]
            if peer.convicted and not monitor.convicted:
                yield replace_monitor(state, i, monitor._replace(convicted=True, pending=frozenset()))
            for head in (peer.branch, *sorted(peer.pending)):
                if head != NOTHING:
                    yield replace_monitor(state, i, self.told(monitor, head, proofs(peer.branch, head)))

    def told(self, monitor: Monitor, head: Head, candidates: tuple[Candidate, ...]) -> Monitor:
        if monitor.convicted:
            return monitor
        match judge(monitor.branch, monitor.pending - {head}, head, candidates):
            case "forked":
                return monitor._replace(convicted=True, pending=frozenset())
            case "settled":
                return monitor._replace(pending=monitor.pending - {head})
            case _:
                return monitor._replace(pending=monitor.pending | {head})


def replace_monitor(state: State, i: int, monitor: Monitor) -> State:
    first, second = state.monitors
    return state._replace(monitors=(monitor, second) if i == 0 else (first, monitor))


# What has to hold.


@dataclass(frozen=True, slots=True)
class Graph:
    """Every state that can be reached, and the steps that change it."""

    model: Model
    steps: dict[State, tuple[State, ...]]

    @classmethod
    def of(cls, model: Model, depth: int | None = None) -> "Graph":
        """Breadth first from the start: all of it, or what is reached in so many steps."""
        steps: dict[State, tuple[State, ...]] = {}
        layer = {START}
        while layer and depth != 0:
            for state in layer:
                steps[state] = tuple({after for after in model.steps(state) if after != state})
            layer = {after for state in layer for after in steps[state] if after not in steps}
            depth = None if depth is None else depth - 1
        return cls(model, steps)

    def framed(self) -> Iterable[State]:
        """NoFrame: of an honest log nobody holds a conviction. Yields what violates it."""
        return (state for state in self.steps if not self.model.forks and any(m.convicted for m in state.monitors))

    def unsteady(self) -> Iterable[tuple[State, State]]:
        """WitnessMonotone: an honest witness never cosigns a smaller tree or another history."""
        for state, afters in self.steps.items():
            for after in afters:
                if after.witnesses != state.witnesses and not _monotone(state.witnesses, after.witnesses):
                    yield state, after

    def undecided(self) -> Iterable[State]:
        """N4: what the branch has reached is decided."""
        return (
            state
            for state in self.steps
            if any(head.size <= m.branch.size for m in state.monitors for head in m.pending)
        )

    def escapes(self) -> Iterable[State]:
        """Fork ~> Convicted or FrozenVisible: yields where a fork can stay unnoticed forever."""
        for state in self.steps:
            if forked(state) and not noticed(state) and not any(after != state for after in self.model.exchange(state)):
                yield state

    def cycles(self) -> Iterable[State]:
        """States that a run can come back to; there are none, so the argument for liveness is complete."""
        degree = dict.fromkeys(self.steps, 0)
        for afters in self.steps.values():
            for after in afters:
                degree[after] = degree.get(after, 0) + 1
        free = [state for state, count in degree.items() if count == 0]
        while free:
            state = free.pop()
            del degree[state]
            for after in self.steps.get(state, ()):
                degree[after] -= 1
                if degree[after] == 0:
                    free.append(after)
        return degree


def forked(state: State) -> bool:
    """Whether honest monitors hold two signed heads that contradict each other."""
    held = {head for m in state.monitors for head in (m.branch, *m.pending)}
    return any(not agree(one, other) for one, other in combinations(held, 2))


def noticed(state: State) -> bool:
    """Whether the log is convicted, or visibly does not serve what it signed."""
    return any(m.convicted or m.pending for m in state.monitors)


def _monotone(before: tuple[Head, Head], after: tuple[Head, Head]) -> bool:
    pairings = (after, after[::-1])
    return any(
        all(old.size <= new.size and agree(old, new) for old, new in zip(before, one, strict=True)) for one in pairings
    )
