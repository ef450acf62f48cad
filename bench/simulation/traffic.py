"""Bytes that monitors send while nothing bad happens, and what carries them.

Message bytes are those of the messages alone, as the reference counts them. What really goes over the wire is more:
every envelope adds its signature and names, and every request and every answer its HTTP header.
"""

from bench.simulation import world
from bench.simulation.engine import SECOND
from bench.simulation.host import Monitor
from bench.simulation.network import Links
from bench.simulation.runs import INTERVAL_MS, Federation
from bench.simulation.world import EPOCH, MAIN, Shape, SimLog, View
from gossip.core import origin_id
from gossip.envelope import NONCE_BYTES, Envelope, seal

HISTORY = Shape(MAIN, 0, 400)
FIRST_SIZE = 100
GROWTH = 7
WITNESSES = (1, 2, 3)
WARM_UP = 40  # seconds
ROUND = INTERVAL_MS // 1000
# A POST of an envelope and its answer, header lines as the client and the server of this project write them.
HTTP_REQUEST_BYTES = 214
HTTP_ANSWER_BYTES = 149


def expected_bytes(changed: int) -> int:
    """The reference's estimate for one round of one monitor, both directions, with three Ed25519 cosignatures."""
    return 196 + (120 + 84 * changed if changed else 0) + 296 * changed


def envelope_bytes() -> int:
    """What an envelope adds to its messages."""
    key = world.peer_key(0)
    nonce = bytes(NONCE_BYTES)
    empty = Envelope(world.peer(0), world.peer(1), 2**40, nonce, nonce, ())
    return len(seal(empty, key))


def traffic(monitors: int, logs: int, changed: int, rounds: int, seed: int) -> dict[str, object]:
    """Let some logs grow in every round; each monitor polls each log once a round, at a time of its own.

    Pushes are what is sent without being asked; the rest is anti-entropy, as the reference counts it. With more
    partners than rounds in which everything changes, nearly everything has changed since two of them met.
    """
    some = [SimLog(f"log.example/{number}") for number in range(logs)]
    federation = Federation(seed, monitors, some, links=Links(), observers=monitors)
    for log in some:
        federation.establish(log, HISTORY, FIRST_SIZE, WITNESSES, federation.monitors)
    federation.start_running()
    phases = federation.streams["workload"]
    for turn in range(1, rounds + WARM_UP // ROUND + 1):
        for number in range(changed):
            log = some[(turn * changed + number) % logs]
            size = FIRST_SIZE + GROWTH * (1 + (turn * changed + number) // logs)
            _grow(federation, log, size, turn * ROUND * SECOND, phases.random())
    engine, sent = federation.engine, federation.network.traffic.values()
    engine.run(WARM_UP * SECOND)
    before = [(one.message_bytes, one.envelopes, one.answers, one.bytes.copy(), one.eager) for one in sent]
    engine.run((WARM_UP + rounds * ROUND) * SECOND)
    seconds = rounds * ROUND * monitors
    messages = sum(one.message_bytes - was[0] for one, was in zip(sent, before, strict=True))
    envelopes = sum(one.envelopes - was[1] for one, was in zip(sent, before, strict=True))
    answers = sum(one.answers - was[2] for one, was in zip(sent, before, strict=True))
    eager = sum(one.eager - was[4] for one, was in zip(sent, before, strict=True))
    kinds = sorted({kind for one in sent for kind in one.bytes})
    by_kind = {
        kind: round(sum(one.bytes[kind] - was[3][kind] for one, was in zip(sent, before, strict=True)) / seconds, 1)
        for kind in kinds
    }
    carried = envelopes * envelope_bytes()
    http = (envelopes - answers) * HTTP_REQUEST_BYTES + answers * HTTP_ANSWER_BYTES
    return {
        "monitors": monitors,
        "logs": logs,
        "changed_each_round": changed,
        "message_bytes_per_second": round(messages / seconds, 1),
        "anti_entropy_bytes_per_second": round((messages - eager) / seconds, 1),
        "eager_bytes_per_second": round(eager / seconds, 1),
        "by_message": by_kind,
        "envelopes_per_second": round(envelopes / seconds, 2),
        "with_envelopes_bytes_per_second": round((messages + carried) / seconds, 1),
        "with_http_bytes_per_second": round((messages + carried + http) / seconds, 1),
        # Sent bytes are counted: over all monitors they are half of sent and received.
        "reference_bytes_per_second": round(expected_bytes(changed) / ROUND, 1),
        "trace": engine.trace,
    }


def _grow(federation: Federation, log: SimLog, size: int, time: int, share: float) -> None:
    origin = origin_id(log.origin)
    head = world.head(log.origin, HISTORY, size)
    note = log.sign(head, WITNESSES, EPOCH + time // SECOND)

    def show(monitor: Monitor) -> None:
        monitor.views[origin] = View(HISTORY, size, note)
        monitor.poll(origin)

    for number, monitor in enumerate(federation.monitors):
        phase = (share + number * 0.618034) % 1
        federation.engine.at(time + int(phase * ROUND * SECOND), show, monitor)
