"""Evidence that peers announced: asked for once, and of the next who announced it if it does not come.

A bundle with post-quantum signatures is many times as large as its name. So it is announced first, and a monitor that
hears of it over sixteen links fetches it over one.
"""

from collections.abc import Iterator
from dataclasses import replace

from gossip.core.state import MAX_OFFERS, OFFER_MS, Offer, State
from gossip.core.turn import Turn
from gossip.messages import MAX_GET_EVIDENCE, GetEvidence

_MAX_OTHERS = 8  # peers to ask next; more than eight that all keep silent have us surrounded anyway


def take_offers(turn: Turn, ids: list[bytes], peer: bytes) -> None:
    """Ask a peer for evidence that it announced, unless another one was just asked for the same."""
    offers = dict(turn.state.offers)
    wanted = []
    for id_ in ids:
        if id_ in offers:
            offers[id_] = replace(offers[id_], others=(*offers[id_].others, peer)[:_MAX_OTHERS])
        elif len(offers) < MAX_OFFERS:
            offers[id_] = Offer(peer, turn.now_ms)
            wanted.append(id_)
    turn.state = replace(turn.state, offers=offers)
    _ask(turn, peer, wanted)


def ask_again(turn: Turn) -> None:
    """Ask the next peer for what did not come, and forget what nobody else announced."""
    for id_, offer in turn.state.offers.items():
        if turn.now_ms - offer.asked_ms < OFFER_MS:
            continue
        forget_offer(turn, id_)
        if offer.others:
            again = Offer(offer.others[0], turn.now_ms, offer.others[1:])
            turn.state = replace(turn.state, offers={**turn.state.offers, id_: again})
            _ask(turn, again.peer, [id_])


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
