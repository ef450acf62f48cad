"""Gossip in synchronous rounds, by arithmetic and by chance, and evidence that floods a graph of links.

In each round every monitor contacts ``fanout`` others at random, and both tell each other what they know. An exchange
gets lost with some probability; hostile monitors take part and tell nothing. The recursion follows the expected number
of honest monitors that know; the simulation counts rounds until all of them do. Neither knows anything of our messages:
they bound what any protocol of this shape can do, and a federation is judged beside them.
"""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

SIZES = (10, 100, 1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Setting:
    """A column of the table of rounds."""

    fanout: int
    loss: float = 0.0
    hostile: float = 0.0


COLUMNS = (
    Setting(1),
    Setting(3),
    Setting(6),
    Setting(1, loss=0.2),
    Setting(3, loss=0.2),
    Setting(1, loss=0.2, hostile=0.33),
    Setting(3, loss=0.2, hostile=0.33),
)

# Rounds until all honest monitors know, as computed before this program was written: recursion, mean, 99th percentile.
REFERENCE_ROUNDS: dict[int, Sequence[tuple[float, float, float]]] = {
    10: ((3, 3.45, 5), (2, 2.02, 3), (2, 1.71, 2), (4, 4.11, 6), (2, 2.19, 3), (5, 4.70, 9), (2, 2.32, 4)),
    100: ((7, 6.53, 8), (4, 3.93, 4), (3, 3.00, 3), (8, 7.96, 10), (4, 4.17, 5), (10, 10.33, 14), (5, 4.94, 6)),
    1_000: ((9, 9.17, 10), (5, 5.07, 6), (4, 4.00, 4), (11, 11.4, 14), (6, 5.98, 7), (15, 15.3, 19), (7, 7.17, 8)),
    10_000: ((12, 11.6, 12), (7, 6.73, 7), (5, 5.00, 5), (15, 14.7, 16), (8, 7.52, 8), (20, 20.5, 25), (9, 9.38, 10)),
}

# Hops until evidence has reached every honest monitor; and messages for each of them, with 8 links and nobody hostile.
FLOODS = ((8, 0.0), (8, 1 / 3), (8, 0.5), (12, 0.5))
REFERENCE_HOPS: dict[int, Sequence[float | None]] = {
    10: (1.1, 1.1, 1.1, None),
    100: (3.0, 3.0, 3.1, 2.8),
    1_000: (4.0, 4.1, 4.7, 4.0),
    10_000: (5.0, 5.0, 6.0, 5.0),
}
REFERENCE_MESSAGES = {10: 9.0, 100: 15.4, 1_000: 15.9, 10_000: 16.0}


def expected_rounds(size: int, setting: Setting) -> int:
    """Count rounds of the mean-field recursion until fewer than half a monitor is left."""
    honest = size - round(size * setting.hostile)
    kept = 1 - setting.loss
    knowing, rounds = 1.0, 0
    while honest - knowing >= 0.5:
        not_by_asking = (1 - kept * knowing / (size - 1)) ** setting.fanout
        not_by_being_asked = (1 - kept * setting.fanout / (size - 1)) ** knowing
        knowing = honest - (honest - knowing) * not_by_asking * not_by_being_asked
        rounds += 1
    return rounds


def simulated_rounds(size: int, setting: Setting, chance: random.Random) -> int:
    """Count rounds until every honest monitor knows what the first of them knew; the last ones are hostile."""
    honest = size - round(size * setting.hostile)
    knows = bytearray(honest)
    knows[0] = 1
    rounds = 0
    while not all(knows):
        for one in _told_in_one_round(knows, size, setting, chance):
            knows[one] = 1
        rounds += 1
    return rounds


def _told_in_one_round(knows: bytearray, size: int, setting: Setting, chance: random.Random) -> list[int]:
    """Name who is told, by whoever knew before the round."""
    honest, told = len(knows), []
    for one in range(honest):
        for other in _contacts(one, size, setting.fanout, chance):
            if other >= honest or knows[one] == knows[other]:
                continue
            if not setting.loss or chance.random() >= setting.loss:
                told.append(other if knows[one] else one)
    return told


def _contacts(one: int, size: int, fanout: int, chance: random.Random) -> Sequence[int]:
    """Choose different others, uniformly."""
    if fanout == 1:
        other = int(chance.random() * (size - 1))
        return (other + (other >= one),)
    return [other + (other >= one) for other in chance.sample(range(size - 1), fanout)]


def rounds_table(sizes: Sequence[int], runs: dict[int, int], seed: int) -> list[dict[str, object]]:
    """Every cell of the table: the recursion, what was simulated, and the reference."""
    return [_rounds_cell(size, column, runs[size], seed) for size in sizes for column in range(len(COLUMNS))]


def _rounds_cell(size: int, column: int, runs: int, seed: int) -> dict[str, object]:
    setting = COLUMNS[column]
    streams = (random.Random(f"{seed} rounds {size} {column} {run}") for run in range(runs))
    rounds = [simulated_rounds(size, setting, chance) for chance in streams]
    expected, mean = expected_rounds(size, setting), statistics.fmean(rounds)
    reference = REFERENCE_ROUNDS[size][column]
    return {
        "monitors": size,
        "fanout": setting.fanout,
        "loss": setting.loss,
        "hostile": setting.hostile,
        "runs": runs,
        "recursion": expected,
        "mean": round(mean, 2),
        "p99": percentile(rounds, 0.99),
        "reference": dict(zip(("recursion", "mean", "p99"), reference, strict=True)),
        "within_one_of_recursion": abs(mean - expected) <= 1,
        "recursion_as_reference": expected == reference[0],
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1)]


# Evidence over the graph of links.


@dataclass(frozen=True, slots=True)
class Flood:
    """How far the farthest honest monitor was, how many messages each sent, and how many were never reached."""

    hops: int
    messages_each: float
    unreached: int


def simulated_flood(size: int, links: int, hostile: float, chance: random.Random) -> Flood:
    """Let one honest monitor send evidence over all of its links, and everybody who gets it do the same, once."""
    honest = size - round(size * hostile)
    neighbours = _links(size, min(links, size - 1), chance)
    reached, frontier, hops, messages = {0}, [0], 0, 0
    while frontier:
        # To everybody but the one it came from.
        messages += sum(len(neighbours[one]) - (hops > 0) for one in frontier)
        found = sorted({other for one in frontier for other in neighbours[one] if other < honest} - reached)
        reached.update(found)
        frontier = found
        hops += bool(found)
    return Flood(hops, messages / len(reached), honest - len(reached))


def _links(size: int, outbound: int, chance: random.Random) -> list[set[int]]:
    """Let everybody dial some others; links are used both ways."""
    neighbours: list[set[int]] = [set() for _ in range(size)]
    for one in range(size):
        for other in _contacts(one, size, outbound, chance):
            neighbours[one].add(other)
            neighbours[other].add(one)
    return neighbours


def floods_table(sizes: Sequence[int], runs: dict[int, int], seed: int) -> list[dict[str, object]]:
    """Every cell of the table of hops that the reference has."""
    return [
        _floods_cell(size, column, runs[size], seed)
        for size in sizes
        for column in range(len(FLOODS))
        if REFERENCE_HOPS[size][column] is not None
    ]


def _floods_cell(size: int, column: int, runs: int, seed: int) -> dict[str, object]:
    links, hostile = FLOODS[column]
    streams = (random.Random(f"{seed} flood {size} {column} {run}") for run in range(runs))
    floods = [simulated_flood(size, links, hostile, chance) for chance in streams]
    return {
        "monitors": size,
        "links": links,
        "hostile": round(hostile, 2),
        "runs": runs,
        "hops_mean": round(statistics.fmean(one.hops for one in floods), 2),
        "reference_hops": REFERENCE_HOPS[size][column],
        "messages_each": round(statistics.fmean(one.messages_each for one in floods), 2),
        "reference_messages_each": REFERENCE_MESSAGES[size] if column == 0 else None,
        "runs_with_somebody_unreached": sum(one.unreached > 0 for one in floods),
    }
