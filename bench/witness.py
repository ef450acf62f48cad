"""Cosignatures and refusals a second of a witness process, each cosignature durable before its answer leaves.

The witness runs on one processor, the load on another: kept connections, on each of them one request in flight, and
each log on one connection, so that its requests stay in order. Every scenario has a witness of its own, with an Ed25519
key; one has an ML-DSA-44 key too.

``bare_us`` is what no witness can do without, in this Python, on the witness's processor: the log's signature, the
proof, and a signature of its own. ``ratio`` is the witness of 20 logs against that. ``budget_us`` says where the
witness's processor time goes: ``http`` is that of a request refused at its first byte; ``parse``, ``verify`` (the log's
signature and the proof) and ``sign`` (and verifying what was signed) are measured in this process; ``commit`` is what
is left of a cosignature's time, and holds the register, the database, the public copy and the ways between threads.

    python -m bench.witness [--short]
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import trio

from bench._load import Daemon, Played, daemon, microseconds, pin, post
from runtime.keyfiles import write_signer_key
from tests.forks import Tree, leaves
from tests.keys import NOW, log_key, mldsa_key, sign_checkpoint, witness_key
from tlog.add_checkpoint import AddCheckpoint
from tlog.checkpoint import Checkpoint
from tlog.keys import SignerKey
from tlog.note import Note, message_to_sign, open_note, signature_line
from tlog.proofs import prove_consistency, verify_consistency
from witness.__main__ import create
from witness.config import read_settings

NAME = "witness.example/bench"
START = 10_000  # the size of every log before what is measured: proofs as long as real ones
CONNECTIONS = 20  # over which refusals are asked for
SAVED_SECONDS = 1.5  # after which the witness has written what it leaves for later
TARGETS = {
    "one_log_per_second": 400,
    "twenty_logs_per_second": 1800,
    "two_hundred_logs_per_second": 1800,
    "p99_ms_200": 150,
    "refusals": {"bad_signature": 3500, "stale": 4000, "unknown": 8000},
    "mldsa_per_second": 500,
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked."""

    one: int
    twenty: int
    two_hundred: int
    mldsa: int
    refusals: int
    repeats: int


LONG = Sizes(one=2000, twenty=400, two_hundred=60, mldsa=150, refusals=400, repeats=2000)
SHORT = Sizes(one=100, twenty=20, two_hundred=4, mldsa=10, refusals=20, repeats=100)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--short", action="store_true", help="a fraction of the requests, for a first impression")
    sizes = SHORT if options.parse_args().short else LONG
    print(json.dumps(_measure(sizes)))


def _measure(sizes: Sizes) -> dict[str, object]:
    pin(0)  # as the witness is
    steps = {name: round(microseconds(step, sizes.repeats), 1) for name, step in _steps().items()}
    pin(1)
    bare = steps.pop("bare")
    logs = Logs(START + max(sizes.one, sizes.twenty, sizes.two_hundred, sizes.mldsa) + 1)
    one = _cosign(logs, 1, sizes.one)
    two_hundred = _cosign(logs, 200, sizes.two_hundred)
    mldsa = _cosign(logs, 20, sizes.mldsa, mldsa_key(NAME))
    twenty, refusals, malformed = _cosign_and_refuse(logs, sizes)
    budget = {"http": round(malformed.processor_us, 1), **steps}
    budget["commit"] = round(twenty.processor_us - sum(budget.values()), 1)
    return {
        "bench": "witness",
        "figures": {
            "one_log_per_second": round(one.rate),
            "twenty_logs_per_second": round(twenty.rate),
            "two_hundred_logs_per_second": round(two_hundred.rate),
            "p50_ms_200": two_hundred.percentile(50),
            "p99_ms_200": two_hundred.percentile(99),
            "refusals": {name: round(played.rate) for name, played in refusals.items()},
            "refusals_bytes_to_disk": sum(played.written for played in refusals.values()),
            "mldsa_per_second": round(mldsa.rate),
            "bare_us": bare,
            "budget_us": budget,
            "processor_us": {
                "one_log": round(one.processor_us),
                "twenty_logs": round(twenty.processor_us),
                "two_hundred_logs": round(two_hundred.processor_us),
                "mldsa": round(mldsa.processor_us),
                **{name: round(played.processor_us) for name, played in refusals.items()},
            },
        },
        "ratio": round(twenty.rate * bare / 1e6, 3),
        "targets": TARGETS,
    }


def _cosign(logs: "Logs", number: int, growths: int, *more: SignerKey) -> Played:
    with _witness(logs, number, *more) as witness:
        witness.play([[logs.request(log, 0, START)] for log in range(number)], b"200")
        return witness.play([logs.growth(log, growths) for log in range(number)], b"200")


def _cosign_and_refuse(logs: "Logs", sizes: Sizes) -> tuple[Played, dict[str, Played], Played]:
    number, size = 20, START + sizes.twenty
    with _witness(logs, number) as witness:
        witness.play([[logs.request(log, 0, START)] for log in range(number)], b"200")
        cosigned = witness.play([logs.growth(log, sizes.twenty) for log in range(number)], b"200")
        sleep(SAVED_SECONDS)
        next_ = [logs.request(log, size, size + 1) for log in range(number)]
        stale = [logs.request(log, size - 1, size + 1) for log in range(number)]
        unknown = [logs.request(log, 0, START) for log in range(number, 2 * number)]

        def refused(requests: Sequence[bytes], status: bytes) -> Played:
            return witness.play([[request] * sizes.refusals for request in requests[:CONNECTIONS]], status)

        refusals = {
            "bad_signature": refused([_damaged(request) for request in next_], b"403"),
            "stale": refused(stale, b"409"),
            "unknown": refused(unknown, b"404"),
        }
        return cosigned, refusals, refused([post("/add-checkpoint", b"x", "text/plain")] * number, b"400")


# What is sent.


class Logs:
    """Logs that grow alike, each with its own name and key."""

    def __init__(self, size: int) -> None:
        self._tree = Tree(leaves(size))

    def key(self, log: int) -> SignerKey:
        return log_key(f"bench.example/log{log}", seed=log + 1)

    def request(self, log: int, old: int, new: int) -> bytes:
        return post("/add-checkpoint", self.body(log, old, new).format(), "text/plain")

    def body(self, log: int, old: int, new: int) -> AddCheckpoint:
        key = self.key(log)
        checkpoint = Checkpoint(key.name, new, self._tree.head(new).root_hash)
        return AddCheckpoint(old, tuple(prove_consistency(old, new, self._tree.read)), sign_checkpoint(checkpoint, key))

    def growth(self, log: int, times: int) -> list[bytes]:
        """Requests to cosign one size after the other."""
        return [self.request(log, size, size + 1) for size in range(START, START + times)]


def _damaged(request: bytes) -> bytes:
    """The same request, whose signature has another byte in its middle."""
    at = len(request) - 40
    return request[:at] + (b"A" if request[at : at + 1] != b"A" else b"B") + request[at + 1 :]


# The witness.


@contextmanager
def _witness(logs: Logs, number: int, *more: SignerKey) -> Iterator[Daemon]:
    """A new witness of some logs, on the first processor."""
    with tempfile.TemporaryDirectory() as folder:
        config = _configure(Path(folder), [logs.key(log) for log in range(number)], (witness_key(NAME), *more))
        trio.run(create, read_settings(config))
        with daemon("witness", config) as served:
            yield served


def _configure(folder: Path, logs: Sequence[SignerKey], keys: Sequence[SignerKey]) -> Path:
    for number, key in enumerate(keys):
        write_signer_key(folder / f"key{number}", key)
    listed = "".join(f'[[log]]\nvkey = "{key.verifier_key.format()}"\n' for key in logs)
    files = json.dumps([f"key{number}" for number in range(len(keys))])
    config = folder / "witness.toml"
    config.write_text(
        f'name = "{NAME}"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\ndata = "data"\n'
        f'register = "register"\nkeys = {files}\n{listed}'
    )
    return config


# The steps of one cosignature, alone.


def _steps() -> dict[str, Callable[[], object]]:
    logs = Logs(START + 1)
    tree = Tree(leaves(START + 1))
    old, new = tree.head(START), tree.head(START + 1)
    body = logs.body(0, START, START + 1)
    raw, note = body.format(), Note.parse(body.checkpoint_note)
    verifiers, path = (logs.key(0).verifier_key,), body.path
    own = witness_key(NAME)
    message = message_to_sign(own.verifier_key, note.text, NOW)

    def parse() -> None:
        Checkpoint.parse(Note.parse(AddCheckpoint.parse(raw).checkpoint_note).text)

    def verify() -> None:
        open_note(note, verifiers)
        verify_consistency(old, new, path)

    def sign() -> None:
        signature = own.sign(message)
        own.verifier_key.verify(message, signature)
        signature_line(own.verifier_key, NOW, signature).format()

    def bare() -> None:
        verify()
        own.sign(message)

    return {"parse": parse, "verify": verify, "sign": sign, "bare": bare}


if __name__ == "__main__":
    main()
