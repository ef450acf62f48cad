#!/usr/bin/env python3
"""Views: what parses is written back byte for byte, and no bytes make observers agree with what they never signed.

The log of the seeds signed trees of one history and one head of another; the observers cosigned heads of the first one
only. So whoever is said to agree has cosigned a tree of that history which is at least as large as the checkpoint.
"""

from fuzz.harness import main
from tests.forks import ORIGIN, Tree, leaves, signed
from tests.keys import log_key, witness_key
from tlog.errors import FormatError, TlogError
from tlog.policy import Policy
from tlog.proofs import prove_consistency
from tlog.view import Answer, View, judge

LOG = log_key()
OBSERVERS = [witness_key(f"monitor.example/m{number}") for number in (1, 2)]
MAIN, TWIN = Tree(leaves(40)), Tree(leaves(40, "twin", common=9))
SIZES = (0, 7, 20, 33)
POLICY = Policy.parse(
    f"log {LOG.verifier_key}\nwitness m1 {OBSERVERS[0].verifier_key}\nwitness m2 {OBSERVERS[1].verifier_key}\n"
    "group g any m1 m2\nquorum g\n".encode()
)


def answer(asked: int, size: int) -> Answer:
    path = prove_consistency(min(asked, size), max(asked, size), MAIN.read)
    return Answer(signed(MAIN.head(size), LOG, OBSERVERS[size % 2]).note, tuple(path))


def view(asked: int, *sizes: int) -> bytes:
    return View(signed(MAIN.head(asked), LOG).note, tuple(answer(asked, size) for size in sizes)).format()


FORKED = View(signed(TWIN.head(20), LOG).note, (answer(20, 33), answer(20, 20)))
SEEDS = [view(20), view(20, 20), view(20, 33, 7), view(7, 20, 33), view(0, 7), FORKED.format()]


def target(data: bytes) -> None:
    try:
        parsed = View.parse(data)
    except FormatError:
        return
    if parsed.format() != data:
        raise AssertionError("an accepted view has a second spelling")
    judged = judge(parsed, POLICY)
    try:
        head = judged.require().head
    except TlogError:
        return
    if parsed.note.text.split(b"\n")[0].decode() != ORIGIN or head.size not in SIZES or head != MAIN.head(head.size):
        raise AssertionError("observers agree with a tree that they never saw")
    if any(one.frontier.size < head.size for one in judged.answers if any(seen.counts for seen in one.observers)):
        raise AssertionError("a smaller tree counts")


if __name__ == "__main__":
    main(target, SEEDS)
