#!/usr/bin/env python3
"""Fuzzes the gossip machine with whole conversations: nothing raises, all pools stay bounded, no evidence is made up.

An input is an array of turns ``[peer, milliseconds, message]``; anything else ends the conversation. Two peers and a
log whose key signed a handful of heads take part, so every message that can matter is within reach of a few changes.
"""

import random

from fuzz.fuzz_gossip_messages import MESSAGES, PEER, RULES
from gossip.canonical import Value, pack, unpack
from gossip.core import Received, Refuse, Tick, begin, step, wake_ms
from gossip.core.state import MAX_EVIDENCE, MAX_PENDING, State
from gossip.messages import format_message, parse_message
from tlog.errors import FormatError
from tlog.evidence import Evidence, verify_evidence

MAX_TURNS = 64
MAX_MS = 3_600_000
_PEERS = (PEER, b"q" * 32)
_WIRE: list[Value] = [format_message(message) for message in MESSAGES]


def _conversation(*order: int) -> bytes:
    return pack([[place % 2, 1000, _WIRE[number]] for place, number in enumerate(order)])


SEEDS: list[bytes] = [
    _conversation(*range(len(_WIRE))),
    _conversation(*reversed(range(len(_WIRE)))),
    _conversation(3, 3, 5, 3),
    _conversation(10, 3, 8, 9, 10),
    _conversation(4, 0, 1, 2),
]


def target(data: bytes) -> None:
    """Let the machine hear a conversation, and look at what it holds after each turn."""
    try:
        turns = unpack(data)
    except FormatError:
        return
    chance, now_ms = random.Random(0), 0
    state = begin(RULES, 1, now_ms)
    for turn in turns[:MAX_TURNS] if isinstance(turns, tuple) else ():
        match turn:
            case (int(peer), int(wait_ms), message) if 0 <= wait_ms <= MAX_MS:
                now_ms += wait_ms
                if now_ms >= wake_ms(state):
                    state, _ = step(state, Tick(), now_ms, chance)
                state = _heard(state, peer, message, now_ms, chance)
            case _:
                return


def _heard(state: State, peer: int, value: Value, now_ms: int, chance: random.Random) -> State:
    try:
        message = parse_message(value)
    except FormatError:
        return state
    state, effects = step(state, Received(_PEERS[peer % 2], (message,)), now_ms, chance)
    if sum(isinstance(effect, Refuse) for effect in effects) > 1:
        raise AssertionError("one message is refused twice")
    _check(state)
    return state


def _check(state: State) -> None:
    if any(len(branch.pending) > MAX_PENDING for branch in state.branches.values()):
        raise AssertionError("more pending heads than there is room for")
    places = [held.place for held in state.evidence.values()]
    if any(places.count(place) > MAX_EVIDENCE for place in places):
        raise AssertionError("more evidence than there is room for")
    for held in state.evidence.values():
        keys = [key for log in state.rules.logs.values() for key in log.keys]
        if verify_evidence(Evidence.parse(held.bundle), keys).id != held.conviction.id:
            raise AssertionError("evidence does not say to a stranger what it says here")


if __name__ == "__main__":
    from fuzz.harness import main

    main(target, SEEDS)
