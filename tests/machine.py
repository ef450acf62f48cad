"""Situations for the gossip machine: two histories of one log, heads of both, and a monitor that holds one of them."""

import random
from collections.abc import Sequence
from dataclasses import replace

from gossip.core import Branch, Effect, Event, Log, Pending, Received, Rules, Send, State, begin, origin_id, step
from gossip.messages import Known, Message
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog, policy, signer
from tlog.keys import KeyType, SignerKey
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

ID = origin_id(ORIGIN)
P, Q = b"p" * 32, b"q" * 32
LOG = FakeLog()
LOG.add(40)
TWIN = LOG.fork(6)
TWIN.add(34, "twin")
OBSERVER = signer("monitor.example/o", KeyType.COSIGNATURE_ED25519)
OWN = signer("monitor.example/own", KeyType.COSIGNATURE_ED25519)
PEER_KEY = signer("monitor.example/p")
KEYS = tuple(key.verifier_key for key in (LOG.key, *WITNESSES, OBSERVER, OWN))
RULES = Rules(
    {ID: Log(ORIGIN, KEYS[:1], policy(LOG.key))},
    (P, Q),
    (P, Q),
    (OBSERVER.verifier_key,),
    own_observer=OWN.verifier_key,
    testifiers={P: PEER_KEY.verifier_key},
)
FAR = 10**9  # when nothing is due


def head_of(tree: FakeLog, size: int, witnesses: Sequence[SignerKey] = WITNESSES) -> SignedCheckpoint:
    return open_checkpoint(tree.sign(size, witnesses), KEYS)


def statement(tree: FakeLog, size: int) -> SignedCheckpoint:
    """A head without any witness."""
    return head_of(tree, size, ())


def monitor(size: int = 0, *pending: Pending, rules: Rules = RULES) -> State:
    """A monitor with a branch of this size and with pending heads, whose next exchange is far away."""
    branch = Branch(head_of(LOG, size) if size else None, pending=pending)
    return replace(begin(rules, 1, 0, {ID: branch} if size or pending else {}), exchange_ms=FAR)


def waiting(one: SignedCheckpoint, *, quorum: bool = False) -> Pending:
    """A pending head that everybody was told and asked about."""
    return Pending(one, 0, P, quorum, tried_ms=0, told=True)


def run(before: State, event: Event, now_ms: int = 0, seed: int = 0) -> tuple[State, list[Effect]]:
    after, effects = step(before, event, now_ms, random.Random(seed))
    return after, list(effects)


def received(
    before: State, *messages: Message, peer: bytes = P, answer: bool = False, now_ms: int = 0
) -> tuple[State, list[Effect]]:
    return run(before, Received(peer, messages, answer), now_ms)


def sent(effects: Sequence[Effect], peer: bytes = P) -> list[Known]:
    return [effect.message for effect in effects if isinstance(effect, Send) and effect.peer == peer]
