"""The one published simulation of gossip about transparency logs whose results can be checked, and ours beside it.

Chuat, Szalachowski, Perrig, Laurie and Messeri, "Efficient Gossip Protocols for Verifying the Consistency of
Certificate Logs" (CNS 2015), let browsers carry tree heads from web server to web server. Oxford, Parker and Ryan,
"Quantitative Verification of Certificate Transparency Gossip Protocols" (2020), wrote it down as a Markov chain, one
round after the other:

    choose     each client takes part with a probability of its own, and then connects to one of five servers
    exchange   client and server compare heads. One holds the real newest head and the other the fake one: found out.
               Otherwise both go on with the newer one. A server that found out, or that met clients of both kinds at
               once, warns whoever connects to it in a later round.
    detected   as soon as some client has found out, or was warned

At the start server 1 has the real newest head, one of the clients that are rarely there has the fake one, and all
others have an older head. ``PUBLISHED`` is what the authors' own runs printed for one fork victim: 2,000 samples each,
with the half-width of the 99 per cent confidence interval. It is in github.com/MCOxford/phd_resources, in the files
chapter-4/large-networks/*/log_split_original.txt.

Ours, in the same population: whenever the victim is there, it asks an honest monitor whether its head is the one that
everybody sees. Nothing has to travel; what is left is that the victim is there in one round out of five.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

ROUNDS = 20
SERVERS = 5
SAMPLES = 2000  # behind each published point

_OLD, _REAL, _FAKE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Kind:
    """Some clients that are alike: how often they take part, and which server is their home."""

    count: int
    takes_part: float
    home: int


@dataclass(frozen=True, slots=True)
class Point:
    """The probability to have detected, and the half-width of its 99 per cent confidence interval."""

    detected: float
    margin: float


POPULATIONS: dict[int, tuple[Kind, ...]] = {
    50: (Kind(12, 0.8, 2), Kind(31, 0.6, 3), Kind(7, 0.2, 4)),
    100: (Kind(25, 0.8, 2), Kind(60, 0.6, 3), Kind(15, 0.2, 4)),
    200: (Kind(50, 0.8, 2), Kind(120, 0.6, 3), Kind(30, 0.2, 4)),
}
VICTIM_TAKES_PART = 0.2

_TO_FIRST, _TO_SECOND = 1 / 50, 7 / 25  # everybody's share of rounds at servers 1 and 2; the rest is spent at home

PUBLISHED: dict[int, tuple[Point, ...]] = {
    50: (
        Point(0.003, 0.0032),
        Point(0.011, 0.0060),
        Point(0.055, 0.0131),
        Point(0.152, 0.0207),
        Point(0.257, 0.0252),
        Point(0.3755, 0.0279),
        Point(0.4795, 0.0288),
        Point(0.573, 0.0285),
        Point(0.6545, 0.0274),
        Point(0.7355, 0.0254),
        Point(0.794, 0.0233),
        Point(0.8475, 0.0207),
        Point(0.888, 0.0182),
        Point(0.918, 0.0158),
        Point(0.94, 0.0137),
        Point(0.953, 0.0122),
        Point(0.9635, 0.0108),
        Point(0.973, 0.0093),
        Point(0.981, 0.0079),
        Point(0.986, 0.0068),
    ),
    100: (
        Point(0.005, 0.0041),
        Point(0.0175, 0.0076),
        Point(0.086, 0.0162),
        Point(0.202, 0.0231),
        Point(0.3435, 0.0274),
        Point(0.484, 0.0288),
        Point(0.6115, 0.0281),
        Point(0.722, 0.0258),
        Point(0.795, 0.0233),
        Point(0.848, 0.0207),
        Point(0.888, 0.0182),
        Point(0.915, 0.0161),
        Point(0.9335, 0.0144),
        Point(0.9515, 0.0124),
        Point(0.962, 0.0110),
        Point(0.972, 0.0095),
        Point(0.975, 0.0090),
        Point(0.977, 0.0086),
        Point(0.981, 0.0079),
        Point(0.9845, 0.0071),
    ),
    200: (
        Point(0.0045, 0.0039),
        Point(0.0395, 0.0112),
        Point(0.149, 0.0205),
        Point(0.311, 0.0267),
        Point(0.473, 0.0288),
        Point(0.6325, 0.0278),
        Point(0.7435, 0.0252),
        Point(0.824, 0.0219),
        Point(0.8715, 0.0193),
        Point(0.899, 0.0174),
        Point(0.917, 0.0159),
        Point(0.936, 0.0141),
        Point(0.9535, 0.0121),
        Point(0.961, 0.0112),
        Point(0.97, 0.0098),
        Point(0.9745, 0.0091),
        Point(0.98, 0.0081),
        Point(0.9835, 0.0073),
        Point(0.9865, 0.0066),
        Point(0.988, 0.0063),
    ),
}


def detected_by(clients: int, runs: int, seed: int) -> tuple[float, ...]:
    """Estimate, for each round, the probability that the published protocol has detected the fork by its end."""
    population = tuple(_clients(POPULATIONS[clients]))
    chance = random.Random(f"{seed} published {clients}")
    rounds = [_detection(population, chance) for _ in range(runs)]
    return tuple(sum(when is not None and when <= last for when in rounds) / runs for last in range(1, ROUNDS + 1))


def detected_by_asking(runs: int, seed: int) -> tuple[float, ...]:
    """Estimate the same for a victim that asks an honest monitor whenever it is there."""
    chance = random.Random(f"{seed} asking")
    rounds = [
        next((turn for turn in range(1, ROUNDS + 1) if chance.random() < VICTIM_TAKES_PART), ROUNDS + 1)
        for _ in range(runs)
    ]
    return tuple(sum(when <= last for when in rounds) / runs for last in range(1, ROUNDS + 1))


def median_round(curve: Sequence[float]) -> float:
    """Interpolate after how many rounds half of the runs have detected."""
    before = 0.0
    for turn, reached in enumerate(curve):
        if reached >= 0.5:
            return turn + (0.5 - before) / (reached - before)
        before = reached
    return float("inf")


def comparison(runs: int, seed: int) -> dict[str, object]:
    """What was published, what comes out here, and ours."""
    curves = {clients: detected_by(clients, runs, seed) for clients in POPULATIONS}
    asking = detected_by_asking(runs, seed)
    return {
        "runs": runs,
        "populations": [_compared(clients, curve, runs) for clients, curve in curves.items()],
        "max_difference": max(_largest_difference(clients, curve) for clients, curve in curves.items()),
        "ours": {"detected_by_round": _rounded(asking), "median_round": round(median_round(asking), 2)},
    }


def _compared(clients: int, curve: Sequence[float], runs: int) -> dict[str, object]:
    points = PUBLISHED[clients]
    inside = sum(abs(ours - point.detected) <= point.margin for ours, point in zip(curve, points, strict=True))
    # Both sides are estimates: 99 per cent of the differences of two such estimates are smaller than this.
    both = sum(
        abs(ours - point.detected) <= 2.576 * (point.detected * (1 - point.detected) * (1 / SAMPLES + 1 / runs)) ** 0.5
        for ours, point in zip(curve, points, strict=True)
    )
    return {
        "clients": clients,
        "published": [point.detected for point in points],
        "simulated": _rounded(curve),
        "median_round": round(median_round(curve), 2),
        "max_difference": _largest_difference(clients, curve),
        "points_inside_published_intervals": f"{inside} of {ROUNDS}",
        "points_inside_intervals_of_the_difference": f"{both} of {ROUNDS}",
    }


def _largest_difference(clients: int, curve: Sequence[float]) -> float:
    pairs = zip(curve, PUBLISHED[clients], strict=True)
    return round(max(abs(ours - point.detected) for ours, point in pairs), 4)


def _rounded(curve: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in curve]


def _clients(kinds: Sequence[Kind]) -> list[tuple[float, int]]:
    """How often each client takes part, and its home; the last one is the victim."""
    return [(kind.takes_part, kind.home) for kind in kinds for _ in range(kind.count)]


def _detection(population: Sequence[tuple[float, int]], chance: random.Random) -> int | None:
    """Play one run; return the round in which a client detects, None if none does."""
    clients = [_OLD] * (len(population) - 1) + [_FAKE]
    servers = [_REAL] + [_OLD] * (SERVERS - 1)
    warned = [False] * SERVERS
    for turn in range(1, ROUNDS + 1):
        visits = [
            (one, _server(home, chance))
            for one, (takes_part, home) in enumerate(population)
            if chance.random() < takes_part
        ]
        if any(warned[at] or clients[one] + servers[at] == _REAL + _FAKE for one, at in visits):
            return turn
        _exchange(clients, servers, warned, visits)
    return None


def _server(home: int, chance: random.Random) -> int:
    place = chance.random()
    return 0 if place < _TO_FIRST else 1 if place < _TO_FIRST + _TO_SECOND else home


def _exchange(clients: list[int], servers: list[int], warned: list[bool], visits: Sequence[tuple[int, int]]) -> None:
    """Both sides take over what is newer. They do so at once, from what the other side had before."""
    brought: list[set[int]] = [set() for _ in servers]
    for one, at in visits:
        brought[at].add(clients[one])
    for one, at in visits:
        clients[one] = max(clients[one], servers[at])
    for at, heads in enumerate(brought):
        if {_REAL, _FAKE} <= heads:
            warned[at], servers[at] = True, _OLD
        elif heads and not warned[at]:
            servers[at] = max(servers[at], *heads)
