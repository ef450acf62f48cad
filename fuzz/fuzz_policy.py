#!/usr/bin/env python3
"""Policies: what is accepted means what it says, is read back as it is written, and its figures never overclaim.

The meaning is computed a second time, from the lines of the file and by the definition of the format. The figures of
small policies are compared with a count over every set of parties.
"""

import re
from collections.abc import Iterator

from fuzz.harness import main
from tests.keys import log_key, witness_key
from tlog.errors import FormatError
from tlog.policy import Policy

MAX_PARTIES = 8  # 256 sets to count

WITNESSES = b"".join(b"witness w%d %s\n" % (n, str(witness_key(f"w/{n}").verifier_key).encode()) for n in range(6))
AGAIN = b"witness v0 %s\n" % str(witness_key("w/0", 2).verifier_key).encode()
LOG = b"log %s https://log.example/#a\n" % str(log_key().verifier_key).encode()
SEEDS = [
    b"quorum none\n",
    LOG + b"quorum none\n",
    WITNESSES + b"group g 2 w0 w1 w2\ngroup h any w3 w4 w5\ngroup q all g h\nquorum q\n",
    WITNESSES + AGAIN + b"group one any w0 v0\ngroup q 3 one w1 w2 w3 w4\nquorum q\n" + LOG,
    WITNESSES + AGAIN + b"group q 3 w0 v0 w1 w2 w3\nquorum q\n",
    b"# comment \xff\n\n\t" + WITNESSES + b"\t quorum \t w3 \n",
]


def target(data: bytes) -> None:
    try:
        policy = Policy.parse(data)
    except FormatError:
        return
    written = policy.format()
    if Policy.parse(written) != policy or Policy.parse(written).format() != written:
        raise AssertionError("a policy is not read back as it was written")
    require_refused(data.replace(b"\n", b"\r\n"), "a carriage return is read over")
    require_refused(data + b"quorum none\n", "a second quorum line is read over")
    require_meaning(policy, lines_of(data))
    if len({witness.key.name for witness in policy.witnesses}) <= MAX_PARTIES:
        require_modest_figures(policy)


def lines_of(data: bytes) -> list[list[bytes]]:
    lines = [re.findall(rb"[^ \t]+", line) for line in data.split(b"\n")]
    return [items for items in lines if items and not items[0].startswith(b"#")]


def require_refused(data: bytes, fault: str) -> None:
    try:
        Policy.parse(data)
    except FormatError:
        return
    raise AssertionError(fault)


def require_meaning(policy: Policy, lines: list[list[bytes]]) -> None:
    witnesses = [items[1] for items in lines if items[0] == b"witness"]
    counts = [sum(items[0] == keyword for items in lines) for keyword in (b"log", b"witness", b"group", b"quorum")]
    if counts != [len(policy.logs), len(policy.witnesses), len(policy.groups), 1] or sum(counts) != len(lines):
        raise AssertionError("a line was read over")
    for heard in ([], witnesses, witnesses[::2], witnesses[1::2], witnesses[:1]):
        names = [name.decode("utf-8", "surrogateescape") for name in heard]
        if policy.satisfied_by(names) != is_met(lines, set(heard)):
            raise AssertionError("a quorum is judged differently from its definition")


def is_met(lines: list[list[bytes]], reached: set[bytes]) -> bool:
    for items in lines:
        if items[0] == b"group":
            members = items[3:]
            wanted = {b"any": 1, b"all": len(members)}.get(items[2]) or int(items[2])
            if sum(member in reached for member in members) >= wanted:
                reached.add(items[1])
    return next(items[1] == b"none" or items[1] in reached for items in lines if items[0] == b"quorum")


def require_modest_figures(policy: Policy) -> None:
    sets = [(len(parties), names) for parties, names in party_sets(policy)]
    everyone = len({witness.key.name for witness in policy.witnesses})
    quorums = [size for size, names in sets if policy.satisfied_by(names)]
    blocking = [everyone - size for size, names in sets if not policy.satisfied_by(names)]
    if not 0 <= policy.inter() <= policy.minq() <= min(quorums):
        raise AssertionError("a policy is said to need more parties than it does")
    if policy.block() > min(blocking, default=everyone + 1):
        raise AssertionError("a policy is said to survive more silence than it does")


def party_sets(policy: Policy) -> Iterator[tuple[set[str], list[str]]]:
    parties = sorted({witness.key.name for witness in policy.witnesses})
    for bits in range(1 << len(parties)):
        chosen = {party for place, party in enumerate(parties) if bits >> place & 1}
        yield chosen, [witness.name for witness in policy.witnesses if witness.key.name in chosen]


if __name__ == "__main__":
    main(target, SEEDS)
