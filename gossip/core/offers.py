"""Evidence that peers announced: asked for once, and of the next who announced it if it does not come.

A bundle with post-quantum signatures is many times as large as its name. So it is announced first, and a monitor that
hears of it over sixteen links fetches it over one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from gossip.core.state import (
    FRUITLESS_MS,
    LAST_FRUITLESS_MS,
    MAX_FRUITLESS,
    MAX_OFFERS,
    OFFER_MS,
    Fruitless,
    Offer,
    State,
)
from gossip.core.turn import Turn
from gossip.messages import MAX_GET_EVIDENCE, GetEvidence

_MAX_OTHERS = 8  # peers to ask next; more than eight that all keep silent have us surrounded anyway


def take_offers(turn: Turn, ids: list[bytes], peer: bytes) -> None:
    """Ask a peer for evidence that it announced, unless another one was just asked for the same.

    A peer that makes up names takes places from itself alone, and is asked for one thing once, however often it says
    that it has it: neither keeps us from asking others.
    """
    ids = [id_ for id_ in ids if not _is_fruitless(turn, peer, id_)]
    offers = dict(turn.state.offers)
    room = MAX_OFFERS - sum(offer.peer == peer for offer in offers.values())
    wanted: list[bytes] = []
    for id_ in ids:
        if id_ in offers:
            if peer not in (offers[id_].peer, *offers[id_].others):
                offers[id_] = replace(offers[id_], others=(*offers[id_].others, peer)[:_MAX_OTHERS])
        elif len(wanted) < room:
            offers[id_] = Offer(peer, turn.now_ms)
            wanted.append(id_)
    turn.state = replace(turn.state, offers=offers)
    _ask(turn, peer, wanted)


def ask_again(turn: Turn) -> None:
    """Ask the next peer for what did not come, and forget what nobody else announced."""
    due = {id_: offer for id_, offer in turn.state.offers.items() if turn.now_ms - offer.asked_ms >= OFFER_MS}
    if not due:
        return
    _remember_fruitless(turn, ((offer.peer, id_) for id_, offer in due.items()))
    again = {id_: Offer(one.others[0], turn.now_ms, one.others[1:]) for id_, one in due.items() if one.others}
    waiting = {id_: offer for id_, offer in turn.state.offers.items() if id_ not in due}
    turn.state = replace(turn.state, offers={**waiting, **again})
    for id_, offer in again.items():
        _ask(turn, offer.peer, [id_])


def _is_fruitless(turn: Turn, peer: bytes, id_: bytes) -> bool:
    known = turn.state.fruitless.get(peer, {}).get(id_)
    return known is not None and turn.now_ms < known.until_ms


def _remember_fruitless(turn: Turn, asked: Iterable[tuple[bytes, bytes]]) -> None:
    """Do not ask a peer again soon for what it did not send, or what came and convicted nobody by the keys we know.

    The other side announces it in every exchange, as long as the two differ. Others are asked all the same: whoever
    announces what it keeps to itself must not keep us from having it of them.
    """
    fruitless = dict(turn.state.fruitless)
    for peer, id_ in asked:
        of_peer = dict(fruitless.get(peer, {}))
        known = of_peer.pop(id_, None)
        times = 1 if known is None else known.times + 1
        wait = min(FRUITLESS_MS << min(times - 2, 16), LAST_FRUITLESS_MS) if times > 1 else 0  # once may be bad luck
        of_peer[id_] = Fruitless(times, turn.now_ms + wait)
        if len(of_peer) > MAX_FRUITLESS:
            del of_peer[next(iter(of_peer))]
        fruitless[peer] = of_peer
    turn.state = replace(turn.state, fruitless=fruitless)


def offered_by(state: State, id_: bytes) -> tuple[bytes, ...]:
    """Name the peers that announced some evidence."""
    offer = state.offers.get(id_)
    return () if offer is None else (offer.peer, *offer.others)


def forget_offer(turn: Turn, id_: bytes) -> None:
    """The evidence has come, or never will."""
    if id_ in turn.state.offers:
        turn.state = replace(
            turn.state, offers={other: offer for other, offer in turn.state.offers.items() if other != id_}
        )


def offer_deadlines(state: State) -> Iterator[int]:
    """Tell when somebody else has to be asked."""
    return (offer.asked_ms + OFFER_MS for offer in state.offers.values())


def _ask(turn: Turn, peer: bytes, ids: list[bytes]) -> None:
    for start in range(0, len(ids), MAX_GET_EVIDENCE):
        turn.send((peer,), GetEvidence(tuple(ids[start : start + MAX_GET_EVIDENCE])))
