"""What peers testify: kept, bounded and counted, and never held against anybody.

A peer is heard only in its own name and what it says is not passed on; only what is proven is flooded. At most
``MAX_TESTIMONY`` are kept for each log and ``MAX_TESTIMONY_OF_ONE`` of them of one peer, the newest.
"""

from dataclasses import replace
from hashlib import sha256

from gossip.core.budget import Kind
from gossip.core.effects import Count, KeepTestimony, Refuse
from gossip.core.state import MAX_TESTIMONY, MAX_TESTIMONY_OF_ONE, HeldTestimony, Ignored, origin_id
from gossip.core.turn import Turn
from gossip.messages import TestimonyNote
from gossip.testimony import Testimony, open_testimony
from tlog.errors import FormatError, SignatureError, TlogError
from tlog.note import NotSignedError


def testify(turn: Turn, note: bytes) -> None:
    """Tell the links what this monitor testifies, and count it like what they do."""
    turn.send(turn.links(), TestimonyNote(note))
    try:
        said, key = open_testimony(note, turn.state.rules.testifiers.values())
    except TlogError:
        return  # nobody told us which key is our own
    origin, me = origin_id(said.origin), sha256(key.format().encode()).digest()
    _put(turn, origin, _with(turn.state.testimony.get(origin, ()), HeldTestimony(said, me, note)))


def testimony_heard(turn: Turn, message: TestimonyNote, peer: bytes) -> None:
    """Keep what a peer testifies in its own name."""
    key = turn.state.rules.testifiers.get(peer)
    if key is None:
        turn.emit(Count(Ignored.TESTIMONY_UNDER_UNKNOWN_KEY))
        return
    if not turn.afford(peer, Kind.CHECKS):
        return
    try:
        testimony, _ = open_testimony(message.note, (key,))
    except NotSignedError:
        turn.emit(Count(Ignored.TESTIMONY_UNDER_UNKNOWN_KEY))
    except (FormatError, SignatureError) as error:
        turn.emit(Refuse(f"a testimony is refused: {error}"))
    else:
        _keep(turn, HeldTestimony(testimony, peer, message.note))


def forget_served(turn: Turn, origin: bytes, size: int) -> None:
    """Forget what was testified about heads that the branch has reached."""
    held = turn.state.testimony.get(origin, ())
    if any(one.testimony.size <= size for one in held):
        _put(turn, origin, tuple(one for one in held if one.testimony.size > size))


def _keep(turn: Turn, new: HeldTestimony) -> None:
    origin = origin_id(new.testimony.origin)
    held = turn.state.testimony.get(origin, ())
    if origin not in turn.state.rules.logs:
        turn.emit(Count(Ignored.TESTIMONY_OF_UNKNOWN_LOG))
    elif new not in held:
        _put(turn, origin, _with(held, new))
        turn.emit(KeepTestimony(new.note, new.peer))


def _with(held: tuple[HeldTestimony, ...], new: HeldTestimony) -> tuple[HeldTestimony, ...]:
    others = [one for one in held if (one.peer, _about(one.testimony)) != (new.peer, _about(new.testimony))]
    of_peer = [one for one in others if one.peer == new.peer]
    if len(of_peer) >= MAX_TESTIMONY_OF_ONE:
        others.remove(of_peer[0])
    return (*others, new)[-MAX_TESTIMONY:]


def _about(testimony: Testimony) -> tuple[int, bytes]:
    return testimony.size, testimony.root_hash


def _put(turn: Turn, origin: bytes, held: tuple[HeldTestimony, ...]) -> None:
    turn.state = replace(turn.state, testimony={**turn.state.testimony, origin: held})
