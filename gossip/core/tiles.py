"""Tiles that the mirror lacks and that something waits for: asked for again and again, less and less often.

A request may get lost, and the log may be the last one to help. What was remembered (heads) is looked at again by
itself when a tile has come; an opening is remembered nowhere else, so it is kept here until it can be judged.
"""

from collections.abc import Iterator
from dataclasses import replace

from gossip.core.adjudicate import NeedsTile
from gossip.core.effects import JudgeOpening, Review, SeekTile
from gossip.core.events import OpeningJudged
from gossip.core.state import LAST_TILE_MS, MAX_OPENINGS, MAX_WANTED_TILES, RETRY_MS, State, WantedTile
from gossip.core.turn import Turn
from gossip.messages import GetTile
from tlog.tiles import TILE_WIDTH


def want_tile(turn: Turn, origin: bytes, needs: NeedsTile, judged: OpeningJudged | None = None) -> None:
    """Ask the log and the links for a tile, unless they were asked just now; remember what waits for it."""
    place = (origin, needs.level, needs.tile)
    wanted = turn.state.tiles.get(place)
    if wanted is None:
        _ask(turn, place)
        wanted = WantedTile(turn.now_ms)
        if sum(one[0] == origin for one in turn.state.tiles) >= MAX_WANTED_TILES:
            return  # asked for once, and again when whatever needs it comes again
    if judged is not None and judged.opening is not None and len(wanted.openings) < MAX_OPENINGS:
        waiting = judged.signed, judged.opening
        if waiting not in wanted.openings:
            wanted = replace(wanted, openings=(*wanted.openings, waiting))
    turn.state = replace(turn.state, tiles={**turn.state.tiles, place: wanted})


def tile_lent(turn: Turn, origin: bytes) -> None:
    """Look again at what waited for tiles of this log. What needs another one says so."""
    waiting = [opening for place, one in turn.state.tiles.items() if place[0] == origin for opening in one.openings]
    forget_tiles(turn, origin)
    for signed, opening in waiting:
        turn.emit(JudgeOpening(origin, signed, opening))
    turn.emit(Review(origin))


def forget_tiles(turn: Turn, origin: bytes) -> None:
    """Nothing waits for tiles of this log any more."""
    others = {place: one for place, one in turn.state.tiles.items() if place[0] != origin}
    if len(others) < len(turn.state.tiles):
        turn.state = replace(turn.state, tiles=others)


def seek_again(turn: Turn) -> None:
    """Ask again for the tiles that did not come."""
    for place, wanted in turn.state.tiles.items():
        if turn.now_ms >= _due(wanted):
            again = replace(wanted, asked_ms=turn.now_ms, tries=wanted.tries + 1)
            turn.state = replace(turn.state, tiles={**turn.state.tiles, place: again})
            _ask(turn, place)


def tile_deadlines(state: State) -> Iterator[int]:
    """Tell when a tile has to be asked for again."""
    return (_due(wanted) for wanted in state.tiles.values())


def _due(wanted: WantedTile) -> int:
    return wanted.asked_ms + min(RETRY_MS << wanted.tries, LAST_TILE_MS)


def _ask(turn: Turn, place: tuple[bytes, int, int]) -> None:
    origin, level, tile = place
    turn.emit(SeekTile(origin, tile, level))
    turn.send(turn.links(), GetTile(origin, level, tile, TILE_WIDTH))
