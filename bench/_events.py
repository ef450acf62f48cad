"""A forked head among monitors as arithmetic and chance alone: the model behind the reference's event times.

The monitor that holds the head pushes it over all of its links. Whoever gets it asks for a proof, has the answer after
twice some delay, and convicts; evidence then floods the links. Each push and each piece of evidence takes a delay of
its own and may get lost, a question and its answer do not; hostile monitors take everything and say nothing. Nothing of
our messages is in here: a push of ours brings its proof with it, which saves the question, so federations of our
monitors are beside this and not within it.
"""

import heapq
import random
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count

SHORTEST, LONGEST = 0.020, 0.150  # seconds one way
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Found:
    """Seconds until the first honest monitor convicted, and until the last one did."""

    first: float
    everybody: float


def fork_found(size: int, links: int, hostile: float, loss: float, chance: random.Random) -> Found:
    """Let the first of some monitors push a forked head; the last ones are hostile."""
    honest = size - round(size * hostile)
    linked = _links(size, links, chance)
    order = count()  # of two that are due at once, what was sent first comes first
    due = [(_delay(chance) + 2 * _delay(chance), next(order), one) for one in _reached(linked[0], honest, loss, chance)]
    heapq.heapify(due)
    convicted: dict[int, float] = {}
    while due:
        now, _, one = heapq.heappop(due)
        if one in convicted:
            continue
        convicted[one] = now
        for other in _reached(linked[one], honest, loss, chance):
            heapq.heappush(due, (now + _delay(chance), next(order), other))
    everybody = max(convicted.values()) if len(convicted) == honest else NEVER
    return Found(min(convicted.values(), default=NEVER), everybody)


def _reached(others: Collection[int], honest: int, loss: float, chance: random.Random) -> list[int]:
    return [one for one in others if one < honest and chance.random() >= loss]


def _delay(chance: random.Random) -> float:
    return chance.uniform(SHORTEST, LONGEST)


def _links(size: int, outbound: int, chance: random.Random) -> list[list[int]]:
    """Let everybody dial some others, or all; links are used both ways."""
    linked: list[set[int]] = [set() for _ in range(size)]
    for one in range(size):
        for pick in chance.sample(range(size - 1), min(outbound, size - 1)):
            other = pick + (pick >= one)
            linked[one].add(other)
            linked[other].add(one)
    return [sorted(one) for one in linked]
