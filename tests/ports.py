"""Ports for servers whose address has to be known before they start, or has to stay theirs while they are down.

They are taken from below those that systems give to outgoing connections: a server that is killed and started again
finds its port free, whatever other tests connect to meanwhile.
"""

import random
import socket
from contextlib import ExitStack

CHOICE = range(10_000, 32_000)
_RANDOM = random.SystemRandom()  # two test processes must not try the same ones in the same order


def free_ports(count: int) -> list[int]:
    """So many different ports of 127.0.0.1 that were free a moment ago."""
    with ExitStack() as held:
        return [_held(held) for _ in range(count)]


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


def _held(held: ExitStack) -> int:
    while True:
        port = _RANDOM.choice(CHOICE)
        probe = held.enter_context(socket.socket())
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
