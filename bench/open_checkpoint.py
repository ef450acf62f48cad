"""How fast a cosigned checkpoint is parsed, opened and verified, beside its four bare Ed25519 verifications.

The checkpoint has the signature of its log and the cosignatures of three witnesses. PyNaCl alone verifies the same four
from bytes that lie ready, with its bindings and with its key objects; the opening is compared with the faster of these.
All three take turns, so that whatever else the machine does slows all; figures are medians of processor time.
``--short`` measures for a moment only.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from time import process_time

from nacl.bindings import crypto_sign_open
from nacl.signing import VerifyKey

from tests.keys import log_key, sign_checkpoint, witness_key
from tlog.checkpoint import Checkpoint
from tlog.hashing import leaf_hash
from tlog.note import message_to_sign
from tlog.signed_checkpoint import open_checkpoint

TARGET = 0.85  # of the speed of the verifications alone
BATCH = 2  # checkpoints between two readings of the clock: few, so that neither finds the caches all to itself

SIGNERS = [log_key(), *(witness_key(f"witness.example/{name}") for name in ("one", "two", "three"))]
KEYS = [signer.verifier_key for signer in SIGNERS]
RAW = sign_checkpoint(Checkpoint("log.example/one", 123456789, leaf_hash(b"")), *SIGNERS)

OPENED = open_checkpoint(RAW, KEYS)
MESSAGES = [message_to_sign(one.key, OPENED.note.text, one.timestamp or 0) for one in OPENED.signatures]
SIGNATURES = [one.line.body[-64:] for one in OPENED.signatures]
BARE = [
    (signature + message, key.public_key) for signature, message, key in zip(SIGNATURES, MESSAGES, KEYS, strict=True)
]
OBJECTS = [
    (VerifyKey(key.public_key), message, signature)
    for signature, message, key in zip(SIGNATURES, MESSAGES, KEYS, strict=True)
]


def opening() -> None:
    for _ in range(BATCH):
        open_checkpoint(RAW, KEYS)


def with_bindings() -> None:
    for _ in range(BATCH):
        for signed, public_key in BARE:
            crypto_sign_open(signed, public_key)


def with_objects() -> None:
    for _ in range(BATCH):
        for key, message, signature in OBJECTS:
            key.verify(message, signature)


def seconds(work: Callable[[], None]) -> float:
    started = process_time()
    work()
    return (process_time() - started) / BATCH


def measure(turns: int) -> dict[Callable[[], None], list[float]]:
    contenders = [opening, with_bindings, with_objects]
    taken: dict[Callable[[], None], list[float]] = {work: [] for work in contenders}
    for turn in range(turns):
        for place in range(len(contenders)):
            work = contenders[(turn + place) % len(contenders)]
            taken[work].append(seconds(work))
    return taken


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a quick look instead of a measurement")
    taken = measure(turns=50 if parser.parse_args(arguments).short else 4_000)
    medians = {work: statistics.median(times) for work, times in taken.items()}
    base = min(with_bindings, with_objects, key=medians.__getitem__)
    ratios = [bare / ours for bare, ours in zip(taken[base], taken[opening], strict=True)]
    figures = {
        "open_microseconds": round(1e6 * medians[opening], 1),
        "bindings_microseconds": round(1e6 * medians[with_bindings], 1),
        "objects_microseconds": round(1e6 * medians[with_objects], 1),
        "signatures": len(SIGNERS),
        "bytes": len(RAW),
    }
    ratio = round(statistics.median(ratios), 3)
    print(json.dumps({"bench": "open_checkpoint", "figures": figures, "ratio": ratio, "target": TARGET}))


if __name__ == "__main__":
    main(sys.argv[1:])
