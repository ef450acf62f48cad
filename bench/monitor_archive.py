"""What a monitor's archive takes on disk in a year, and what it costs to keep it, with 100 logs and 10 witnesses.

Hours are played minute by minute: each log shows its head with all cosignatures, each witness shows the head with its
own, newly signed each minute, and the minute's samples and scores are written. ``minute`` are logs that grow every
minute, ``hour`` ones that grow each hour, ``quiet`` ones that never do. ``mb_a_year`` is what the second half of the
time added to the database, as if it went on for a year, with the samples of minutes that are kept for 30 days and those
of hours. ``cpu_ms_a_minute`` is the processor time of noting and writing all of that, of which the verification of
signatures is no part. ``bytes_a_head`` is for a head with eleven signatures and eleven sightings of it.

    python -m bench.monitor_archive [--short]
"""

import argparse
import contextlib
import json
import os
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from monitor.archive import LOG, Archive, witness_who
from monitor.limits import ArchiveLimits
from monitor.marks import Outcome
from monitor.samples import MINUTE_MS, Sample
from monitor.scores import Scores
from monitor.tables import METADATA
from runtime.database import open_database
from tests.keys import log_key, witness_key
from tlog.checkpoint import Checkpoint
from tlog.hashing import Hash
from tlog.keys import VerifierKey
from tlog.note import Note, SignatureLine, VerifiedSignature
from tlog.signed_checkpoint import SignedCheckpoint

LOGS, WITNESSES = 100, 10
MINUTES_A_YEAR = 365 * 24 * 60
START_MS = 1_767_139_200_000
PACES = {"minute": (1, 40), "hour": (60, 240), "quiet": (10**9, 240)}
"""How many minutes pass until a log grows, and how many are played."""
SHORT_MINUTES = 6
SIGNATURE_BYTES = 64
TIME_BYTES = 8


def main() -> None:
    """Run everything and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    a_sample = trio.run(_bytes_a_sample)
    found = {
        pace: trio.run(_played, SHORT_MINUTES if short else minutes, every, a_sample)
        for pace, (every, minutes) in PACES.items()
    }
    figures = {"logs": LOGS, "witnesses": WITNESSES, "bytes_a_sample": round(a_sample), **found}
    print(json.dumps({"bench": "monitor_archive", "figures": figures, "machine": {"processors": os.cpu_count()}}))


async def _bytes_a_sample() -> float:
    """What one of many samples takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive.sqlite"
        async with open_database(path, METADATA, create=True) as database:
            archive, before = Archive(database, ArchiveLimits()), _size(path)
            for minute in range(60):
                now_ms = START_MS + minute * MINUTE_MS
                await archive.samples.note([_sample(f"log.example/{log}", now_ms) for log in range(LOGS)])
            return (_size(path) - before) / (60 * LOGS)


async def _played(minutes: int, every: int, a_sample: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive.sqlite"
        async with open_database(path, METADATA, create=True) as database:
            archive, scores = Archive(database, ArchiveLimits()), Scores(database)
            await archive.load()
            half, half_size, cpu = minutes // 2, 0, 0.0
            for minute in range(minutes):
                if minute == half:
                    half_size = _size(path)
                notes = list(_notes(minute, every))
                began = time.process_time()
                await _minute(archive, scores, notes, START_MS + minute * MINUTE_MS)
                cpu += time.process_time() - began
        grown = _size(path) - half_size
        grown -= round(a_sample * (minutes - half) * LOGS)
    samples = a_sample * LOGS * (ArchiveLimits().minutes_days * 24 * 60 + 365 * 24)
    a_year = grown / (minutes - half) * MINUTES_A_YEAR + samples
    heads = max((minutes - half) / every * LOGS, 1)
    return {
        "mb_a_year": round(a_year / 1e6),
        "bytes_a_head": round(grown / heads) if every == 1 else 0,
        "cpu_ms_a_minute": round(cpu / minutes * 1000, 1),
    }


async def _minute(archive: Archive, scores: Scores, notes: list[tuple[str, SignedCheckpoint]], now_ms: int) -> None:
    for number, (who, signed) in enumerate(notes):
        archive.saw(who, signed, now_ms)
        if number % 100 == 0:
            await archive.flush()  # every five seconds a twelfth of them
    await archive.flush()
    await archive.samples.note([_sample(f"log.example/{log}", now_ms) for log in range(LOGS)])
    for witness in range(WITNESSES):
        name = f"witness.example/{witness}"
        for log in range(LOGS):
            scores.behind(name, log % 60, now_ms)
            scores.looked(name, str(log), {Outcome.HEARD: now_ms // MINUTE_MS}, now_ms)
    await scores.flush(now_ms)


def _notes(minute: int, every: int) -> Iterator[tuple[str, SignedCheckpoint]]:
    """What everybody shows in one minute. Nobody verifies these signatures."""
    for log in range(LOGS):
        size = 1000 + minute // every * 50
        root = Hash(size.to_bytes(16) + log.to_bytes(16))
        checkpoint = Checkpoint(f"log.example/{log}", size, root)
        own = VerifiedSignature(_LOG, SignatureLine(_LOG.name, _LOG.id, root + root), None)
        stated = START_MS // 1000 + minute * 60
        lines = [
            VerifiedSignature(key, SignatureLine(key.name, key.id, stated.to_bytes(TIME_BYTES) + _noise()), stated)
            for key in _WITNESSES
        ]
        yield LOG, _signed(checkpoint, own, *lines)
        for key, line in zip(_WITNESSES, lines, strict=True):
            yield witness_who(key.name), _signed(checkpoint, own, line)


def _signed(checkpoint: Checkpoint, *signatures: VerifiedSignature) -> SignedCheckpoint:
    note = Note(checkpoint.format(), tuple(one.line for one in signatures))
    return SignedCheckpoint(checkpoint, note, signatures)


def _noise() -> bytes:
    return secrets.token_bytes(SIGNATURE_BYTES)


def _sample(origin: str, now_ms: int) -> Sample:
    return Sample(origin, now_ms, 10**6, 10**6, now_ms // 1000, 3, now_ms, 0, 0)


def _size(path: Path) -> int:
    """What is in use of the database, with all that is committed."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        pages, free, size = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


_LOG: VerifierKey = log_key().verifier_key
_WITNESSES = tuple(witness_key(f"witness.example/{number}").verifier_key for number in range(WITNESSES))


if __name__ == "__main__":
    main()
