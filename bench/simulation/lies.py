"""What logs and witnesses do wrong in a story: to whom they show what, who is guilty then, and what must come of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.simulation import world
from bench.simulation.engine import SECOND
from bench.simulation.host import Monitor
from bench.simulation.watermarks import Watermarks
from bench.simulation.world import EPOCH, MAIN, Shape, SimLog, View
from gossip.core import Event, EvidenceShown, HeadSeen, OpeningShown, origin_id
from gossip.core.state import UNSERVED, WRONG_ENTRIES
from tlog.evidence import same_size
from tlog.hashing import Hash, TreeHead
from tlog.note import Note
from tlog.opening import TruncatedProof
from tlog.proofs import prove_subtree_consistency
from tlog.signed_checkpoint import open_checkpoint

MAIN_SHAPE = Shape(MAIN, 0, 600)
FORK = Shape("fork", 310, 600)
OLD_FORK = Shape("old", 150, 600)  # parts from the main history inside the first tile
PRIVATE = Shape("private", 340, 600)
FIRST_SIZE, GROWTH, PUBLISH_EVERY, LAST_SIZE = 300, 10, 5, 420
LIE_AT = 22  # seconds: the log shows ``SHOWN`` entries then
LATE = 58
SHOWN = 340
LARGER = 380  # what it shows 20 seconds later
ABSURD = 2**40
CORRUPT_FOR = 20  # seconds
ASKED_AGAIN = 30  # times, a second apart: as long as ``sameview ask`` waits for a monitor that has to catch up
OLD_SIZE = 200
OPENED = 3, 39  # level and index: eight leaves from the 312th on, complete in every tree of ``SHOWN``
OPENED_EARLY = 3, 20  # eight leaves from the 160th on, in the first tile
CLIENTS_AT, NOT_YET_PUBLIC = 30, 370  # seconds, and what a client was shown by then
EVERYBODY = (1, 2, 3)


@dataclass(slots=True)
class Stage:
    """What a lie has in its hands: the log, the honest monitors, and what is public by now."""

    log: SimLog
    monitors: Sequence[Monitor]
    later: Callable[[int, Callable[[], None]], None]
    marks: Watermarks
    public: int = 0
    frozen: bool = False
    captives: set[int] = field(default_factory=set)
    corrupted: set[int] = field(default_factory=set)

    def publish(self, size: int, second: int) -> None:
        """Show everybody a larger tree, unless the log froze what it shows."""
        if self.frozen:
            return
        self.public = size
        note = self._sign(world.head(self.log.origin, MAIN_SHAPE, size), EVERYBODY, second)
        for monitor in self.monitors:
            if monitor.number not in self.captives:
                monitor.views[self.origin] = View(MAIN_SHAPE, size, note, monitor.number in self.corrupted)

    @property
    def origin(self) -> bytes:
        """The log's name in messages."""
        return origin_id(self.log.origin)

    def show(self, monitor: int, shape: Shape, size: int, witnesses: Sequence[int] = (), second: int = 0) -> None:
        """Let a client show a monitor a head of some history."""
        self.show_head(monitor, world.head(self.log.origin, shape, size), witnesses, second)

    def show_head(self, monitor: int, head: TreeHead, witnesses: Sequence[int] = (), second: int = 0) -> None:
        """Let a client show a monitor any head."""
        self._show(monitor, HeadSeen(self.origin, self._sign(head, witnesses, second)))

    def show_opening(self, monitor: int, shape: Shape, size: int, level: int, index: int) -> None:
        """Let a client show a monitor a head and a complete subtree of its tree, again while it answers ``ahead``."""
        note = self.log.sign(world.head(self.log.origin, shape, size), (), EPOCH)
        read = world.tree(self.log.origin, shape).read
        path = tuple(prove_subtree_consistency(index << level, (index + 1) << level, size, read))
        opening = TruncatedProof(level, index, read(level, index), path, Note.parse(note))
        self._ask(monitor, OpeningShown(self.origin, note, opening), size, ASKED_AGAIN)

    def show_evidence(self, monitor: int, bundle: bytes) -> None:
        """Let a client show a monitor what it calls evidence."""
        self._show(monitor, EvidenceShown(bundle))

    def _sign(self, head: TreeHead, witnesses: Sequence[int], second: int) -> bytes:
        self.marks.cosigned(head, witnesses, EPOCH + second)
        return self.log.sign(head, witnesses, EPOCH + second)

    def _show(self, monitor: int, event: Event) -> None:
        """Show it again and again until the monitor is there to take it."""
        if not self.monitors[monitor].show(event):
            self.later(SECOND, lambda: self._show(monitor, event))

    def _ask(self, monitor: int, event: Event, size: int, left: int) -> None:
        """Show it until the monitor has reached that size or convicted somebody, or patience is at its end."""
        taken = self.monitors[monitor].show(event)
        branch = self.monitors[monitor].state.branch(self.origin)
        if not taken or (branch.size < size and not branch.convicted and left):
            self.later(SECOND, lambda: self._ask(monitor, event, size, left - taken))

    def capture(self, monitor: int, shape: Shape, size: int, witnesses: Sequence[int]) -> None:
        """Show a monitor another history from now on."""
        self.captives.add(monitor)
        note = self._sign(world.head(self.log.origin, shape, size), witnesses, 0)
        self.monitors[monitor].views[self.origin] = View(shape, size, note)


@dataclass(frozen=True, slots=True)
class Lie:
    """``convicted`` must be found out by everybody; further keys out of ``guilty`` may be. LOG stands for the log."""

    play: Callable[[Stage], None]
    guilty: tuple[str, ...] = ()
    convicted: tuple[str, ...] = ()
    alarm: str | None = None
    at: int = LIE_AT


LOG = "log"
TRASH = b"tlog-evidence@v1\ntype same-size\n\nlog.example/story\n"


def witness_name(number: int) -> str:
    """How ``Lie`` names a witness."""
    return f"witness {number}"


W1, W2, W3 = (witness_name(number) for number in EVERYBODY)


def _nothing(stage: Stage) -> None:
    pass


def _same_size(stage: Stage) -> None:
    stage.show(0, FORK, stage.public)


def _smaller(stage: Stage) -> None:
    stage.show(0, FORK, stage.public - 15)


def _larger(stage: Stage) -> None:
    stage.show(0, FORK, LARGER)


def _private_extension(stage: Stage) -> None:
    stage.show(0, PRIVATE, LARGER)


def _huge(stage: Stage) -> None:
    stage.show_head(0, TreeHead(ABSURD, Hash(b"\x07" * 32)))


def _freeze(stage: Stage) -> None:
    stage.show(0, FORK, LARGER)
    stage.frozen = True


def _split(stage: Stage) -> None:
    stage.capture(0, FORK, LARGER, (1, 2))


def _corrupt_tiles(stage: Stage) -> None:
    """Serve wrong tiles to whom something has to be looked up that only a dropped tile tells."""
    victim = stage.monitors[0]
    victim.missing.add(0)
    view = victim.views[stage.origin]
    victim.views[stage.origin] = View(view.shape, view.size, view.note, corrupt=True)
    stage.captives.add(0)
    stage.show(0, OLD_FORK, OLD_SIZE)


def _corrupt_entries(stage: Stage) -> None:
    """Serve some monitors entries that are not what was signed, for a while."""
    stage.corrupted = {monitor.number for monitor in stage.monitors[::2]}
    stage.later(CORRUPT_FOR * SECOND, stage.corrupted.clear)


def _opened(stage: Stage) -> None:
    """Show a part of a tree that nobody else will ever reach the size of."""
    stage.show_opening(0, FORK, FORK.size, *OPENED)


def _opened_in_dropped_tile(stage: Stage) -> None:
    """The same, where the monitor has to get back the tile that tells."""
    stage.monitors[0].missing.add(0)
    stage.show_opening(0, OLD_FORK, OLD_FORK.size, *OPENED_EARLY)


def _shown_evidence(stage: Stage) -> None:
    """Let a client who was shown two histories bring the evidence."""
    heads = [world.head(stage.log.origin, shape, SHOWN) for shape in (MAIN_SHAPE, FORK)]
    keys = (stage.log.key.verifier_key,)
    one, other = (open_checkpoint(stage.log.sign(head, (), EPOCH), keys) for head in heads)
    stage.show_evidence(0, same_size(one, other).format())


def _rollback(stage: Stage) -> None:
    """Late: whoever has seen any of the larger trees that the witness signed before can tell."""
    stage.show(0, MAIN_SHAPE, SHOWN - GROWTH, (3,), LATE - 1)


def _double(stage: Stage) -> None:
    stage.show(0, FORK, SHOWN - 5, (3,), LIE_AT - 5)


def _backdate(stage: Stage) -> None:
    stage.show(0, FORK, LARGER, (3,), -1000)


LIES: dict[str, Lie] = {
    "honest": Lie(_nothing),
    "same size": Lie(_same_size, (LOG,), (LOG,)),
    "smaller": Lie(_smaller, (LOG,), (LOG,)),
    "larger": Lie(_larger, (LOG,), (LOG,)),
    "private extension": Lie(_private_extension, (LOG,), (LOG,)),
    "huge size": Lie(_huge, (LOG,), alarm=UNSERVED),
    "freezer": Lie(_freeze, (LOG,), alarm=UNSERVED),
    "split quorum": Lie(_split, (LOG, W1, W2), (LOG,), at=0),
    "tile corrupter": Lie(_corrupt_tiles, (LOG,), (LOG,)),
    "entry corrupter": Lie(_corrupt_entries, alarm=WRONG_ENTRIES),
    "opening": Lie(_opened, (LOG,), (LOG,)),
    "opening in a dropped tile": Lie(_opened_in_dropped_tile, (LOG,), (LOG,)),
    "client's evidence": Lie(_shown_evidence, (LOG,), (LOG,)),
    "rollback witness": Lie(_rollback, (W3,), (W3,), at=LATE),
    "double-cosigner": Lie(_double, (LOG, W3), (LOG, W3)),
    "backdater": Lie(_backdate, (LOG, W3), (LOG, W3)),
}

SECONDS = (LAST_SIZE - FIRST_SIZE) // GROWTH * PUBLISH_EVERY
"""How long the log grows."""


def schedule(stage: Stage, lie: Lie, at: Callable[[int, Callable[[], None]], None]) -> None:
    """Let the log grow, and the lie be told."""
    for turn in range((LAST_SIZE - FIRST_SIZE) // GROWTH + 1):
        size, second = FIRST_SIZE + turn * GROWTH, turn * PUBLISH_EVERY
        at(second * SECOND, lambda size=size, second=second: stage.publish(size, second))  # type: ignore[misc]
    at(lie.at * SECOND, lambda: lie.play(stage))
    at(CLIENTS_AT * SECOND, lambda: _clients(stage))


def _clients(stage: Stage) -> None:
    """Let clients show what convicts nobody: parts of the public tree, one of a head that comes later, and trash."""
    last = len(stage.monitors) - 1
    stage.show_opening(last, MAIN_SHAPE, NOT_YET_PUBLIC, *OPENED)
    stage.show_opening(last, MAIN_SHAPE, OLD_SIZE, *OPENED_EARLY)
    stage.show_evidence(last, TRASH)
