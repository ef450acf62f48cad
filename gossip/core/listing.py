"""What a monitor holds, as it is listed to others: entry by entry, and in buckets of logs.

A bucket is all logs whose ids begin with the same bits. There are about as many buckets as logs, and each is summed up
in ``BUCKET_BYTES``, so two monitors find out by a few hundred bytes in which logs they differ, however long ago they
met. Two different buckets look alike by chance only, since a hash begins with a salt that nobody could know before; and
then the frontiers still differ, and another salt is drawn in the next exchange.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256

from gossip.canonical import Value, pack
from gossip.core.state import Branch, State
from gossip.messages import (
    BUCKET_BYTES,
    CONVICTED,
    MAX_BUCKETS,
    MAX_DIGEST,
    MIN_BUCKETS,
    PENDING,
    VERIFIED,
    Buckets,
    DigestEntry,
)

_ID_BITS = 256


def entries(state: State, origins: Iterable[bytes]) -> Iterator[DigestEntry]:
    """List what is held of these logs."""
    return (entry for origin in origins for entry in branch_entries(origin, state.branches[origin]))


def branch_entries(origin: bytes, branch: Branch) -> list[DigestEntry]:
    """List what is held of one log, the smallest head first."""
    convicted = CONVICTED if branch.convicted else 0
    heads = [] if branch.signed is None else [(branch.signed.head, VERIFIED)]
    heads += [(pending.signed.head, PENDING) for pending in branch.pending]
    found = [DigestEntry(origin, head.size, head.root_hash, status | convicted) for head, status in heads]
    return sorted(found, key=lambda one: (one.size, one.root_hash))


def packed(listed: Iterable[DigestEntry]) -> bytes:
    """Write entries as hashes are made of them."""
    values: list[Value] = [[one.origin, one.size, one.root_hash, one.flags] for one in listed]
    return pack(values)


def bucket_count(logs: int) -> int:
    """Tell how many buckets so many logs are put into: one each, up to a power of two."""
    return min(max(1 << (logs - 1).bit_length(), MIN_BUCKETS), MAX_BUCKETS)


def bucket_of(origin: bytes, count: int) -> int:
    """Name the bucket of a log."""
    return int.from_bytes(origin) >> (_ID_BITS + 1 - count.bit_length())


def buckets(state: State, salt: bytes, count: int) -> Buckets:
    """Sum up every bucket."""
    hashes = (sha256(salt + packed(entries(state, inside))).digest()[:BUCKET_BYTES] for inside in _sorted(state, count))
    return Buckets(state.cursor, salt, b"".join(hashes))


def differing(state: State, theirs: Buckets) -> tuple[bytes, list[DigestEntry]]:
    """Mark the buckets that differ from a peer's and list what is in them, as many as find room."""
    ours = buckets(state, theirs.salt, theirs.count)
    places = range(0, len(ours.hashes), BUCKET_BYTES)
    wrong = [
        ours.hashes[place : place + BUCKET_BYTES] != theirs.hashes[place : place + BUCKET_BYTES] for place in places
    ]
    return part(state, _marks(wrong), ())


def part(state: State, marks: bytes, known: Iterable[DigestEntry]) -> tuple[bytes, list[DigestEntry]]:
    """List what is in the marked buckets except for what is known there; return the marks of those that found room."""
    already = frozenset(known)
    listed: list[DigestEntry] = []
    fit: list[bool] = []
    for bucket, inside in enumerate(_sorted(state, 8 * len(marks))):
        marked = bool(marks[bucket // 8] & 0x80 >> bucket % 8)
        found = [entry for entry in entries(state, inside) if entry not in already] if marked else []
        fit.append(marked and len(listed) + len(found) <= MAX_DIGEST)
        listed += found if fit[-1] else ()
    return _marks(fit), listed


def _sorted(state: State, count: int) -> list[list[bytes]]:
    """Put the logs of which something is held into their buckets."""
    found: list[list[bytes]] = [[] for _ in range(count)]
    for origin in sorted(state.branches):
        found[bucket_of(origin, count)].append(origin)
    return found


def _marks(marked: list[bool]) -> bytes:
    number = sum(1 << (len(marked) - 1 - place) for place, one in enumerate(marked) if one)
    return number.to_bytes(len(marked) // 8)
