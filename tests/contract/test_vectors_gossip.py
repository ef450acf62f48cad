"""The vectors of specs/gossip.md: the project reads them as the index says, and the specification shows their bytes."""

import json
import struct
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gossip import canonical, envelope
from gossip.budget import BURST_BYTES, BYTES_PER_SECOND
from gossip.core import FULL_MESH, LINKS, budget, reconcile, state
from gossip.core.links import ANCHORS
from gossip.limits import MAX_OUTSTANDING
from gossip.messages import (
    MAX_DIGEST,
    MAX_GET_EVIDENCE,
    MAX_HAVE,
    MAX_HEADS,
    MAX_PROOF,
    MAX_SIGNATURE_LINES,
    MAX_TESTIMONY_BYTES,
    MAX_TILE_BYTES,
)
from gossip.outbox import MAX_PENDING_BYTES, MAX_WAITING_EVIDENCE, MAX_WAITING_MESSAGES
from gossip.shell import MAX_WAIT_SECONDS
from monitor.store import MAX_UNSETTLED
from specs.vectors.make_gossip import FOLDER, MESSAGES, ORIGIN, text, vectors
from tests.fakes_log import signer
from tlog.keys import VerifierKey

INDEX: dict[str, Any] = json.loads((FOLDER / "vectors.json").read_text())
CASES: list[dict[str, Any]] = INDEX["vectors"]
THREE, ONCE = {3: "three"}, {1000: "once"}
SPECIFICATION = (Path(__file__).parents[2] / "specs" / "gossip.md").read_text()


def test_the_file_is_what_the_script_writes() -> None:
    assert (FOLDER / "vectors.json").read_text() == text()


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector.name)
def test_every_vector_is_read_as_the_index_says(vector: Any) -> None:
    (case,) = (case for case in CASES if case["name"] == vector.name)
    assert bytes.fromhex(case["bytes"]) == vector.data
    assert vector.result() == {name: case[name] for name in ("value", "error") if name in case}


def test_what_is_wrong_is_said_to_be_wrong_and_the_rest_is_read() -> None:
    wrong = {case["name"] for case in CASES if "error" in case}
    assert {name for name in wrong if name in MESSAGES} == set()
    assert len(wrong) > 50
    assert {case["part"] for case in CASES if "error" in case} == {"message", "envelope", "testimony"}


def test_there_is_a_message_of_every_type() -> None:
    types = {case["value"][0] for case in CASES if case["part"] == "message" and "value" in case}
    assert {*range(2, 13), 16, 20, 21} <= types


def read(data: bytes, at: int = 0) -> tuple[Any, int]:
    """A second reader of the subset, that shares nothing with the project's own: what the specification tells."""
    first = data[at]
    if first < 0x80:
        return first, at + 1
    if 0x90 <= first < 0xA0:
        return read_array(data, at + 1, first & 15)
    if 0xA0 <= first < 0xC0:
        return data[at + 1 : at + 1 + (first & 31)].decode(), at + 1 + (first & 31)
    if first >= 0xE0:
        return first - 0x100, at + 1
    match first:
        case 0xC0 | 0xC2 | 0xC3:
            return {0xC0: None, 0xC2: False, 0xC3: True}[first], at + 1
        case 0xC4 | 0xC5 | 0xC6:
            width = 1 << (first - 0xC4)
            end = at + 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")
            return data[at + 1 + width : end].hex(), end
        case 0xCC | 0xCD | 0xCE | 0xCF:
            width = 1 << (first - 0xCC)
            return int.from_bytes(data[at + 1 : at + 1 + width], "big"), at + 1 + width
        case 0xD3:
            return struct.unpack_from(">q", data, at + 1)[0], at + 9
        case 0xDC:
            return read_array(data, at + 3, struct.unpack_from(">H", data, at + 1)[0])
        case _:
            raise ValueError(first)


def read_array(data: bytes, at: int, count: int) -> tuple[list[Any], int]:
    values = []
    for _ in range(count):
        value, at = read(data, at)
        values.append(value)
    return values, at


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["part"] == "message" and "value" in case], ids=lambda case: case["name"]
)
def test_a_second_reader_finds_the_same_values(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    value, end = read(data)
    assert end == len(data)
    assert value == case["value"] or case["value"] == ["ignored", value[0]]


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["name"] in ("request", "answer")], ids=lambda c: c["name"]
)
def test_the_signature_of_an_envelope_is_over_its_own_bytes(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    value, _ = read(data)
    key = VerifierKey.parse(INDEX["vkeys"]["a"])
    key.verify(b"sameview/gossip/v1\0" + b"\x97" + data[1:-66], bytes.fromhex(value[-1]))
    assert value[:-1] == case["value"]
    assert signer("monitor.example/a").verifier_key != key


def test_the_specification_shows_the_bytes_of_an_envelope_a_testimony_and_every_message() -> None:
    shown = {"".join(line.split()) for line in SPECIFICATION.split("```")}
    for name in ("request", *MESSAGES):
        (case,) = (case for case in CASES if case["name"] == name)
        assert any(case["bytes"] in block for block in shown), name


def test_the_specification_names_the_limits_of_the_code() -> None:
    checks = budget.checks(1)
    for limit in (
        f"| 3 | DIGEST | since or nil, cursor, [[origin, size, root, flags]…] ≤ {MAX_DIGEST}, more |",
        f"| 4 | GET_HEADS | [origin…] ≤ {MAX_HEADS} |",
        f"base or nil, [hash…] ≤ {MAX_PROOF} |",
        f"| 9 | TILE | origin, level, index, data ≤ {MAX_TILE_BYTES} |",
        f"| 10 | HAVE_EVIDENCE | [[class, origin, accused, id]…] ≤ {MAX_HAVE} |",
        f"| 11 | GET_EVIDENCE | [id…] ≤ {MAX_GET_EVIDENCE} |",
        f"| 16 | TESTIMONY | note ≤ {MAX_TESTIMONY_BYTES} |",
        f"with at most {MAX_SIGNATURE_LINES} signature lines",
        f"[[origin, size, root, flags]…] ≤ {MAX_DIGEST}, answer |",
        f"at most {canonical.MAX_ARRAY} elements an array, {canonical.MAX_TEXT} bytes a str",
        f"{canonical.MAX_DEPTH} arrays deep, {canonical.MAX_VALUES:,} values altogether",
        f"is longer than 1 MiB ({envelope.MAX_ENVELOPE_BYTES:,} bytes)",
        f"a time more than {envelope.MAX_CLOCK_DISTANCE_MS // 1000} seconds from its own",
        f"used within {envelope.NONCE_MEMORY_MS // 1000} seconds",
        f"`?wait=S`, 0 ≤ S ≤ {MAX_WAIT_SECONDS:g}",
        f"Up to {FULL_MESH} peers that can be dialled all are",
        f"dials k = {LINKS}: up to {THREE[ANCHORS]} anchors",
        f"though at least {state.HELD_OPEN_MS // 1000} seconds",
        f"at most {ONCE[state.PUSH_INTERVAL_MS]} a second for each log",
        f"EVIDENCE to up to {state.EAGER_LINKS} links",
        f"the bundle has at most {state.ANNOUNCED_BYTES} bytes",
        f"in every {state.FLAT_EVERY}th SUMMARY",
        f"Of one log at most {reconcile.MAX_HELD} entries are looked at, and at most {MAX_HEADS} logs",
        f"| pending heads a log, asked about at a time | {state.MAX_PENDING}, the smallest |",
        f"| unexplained heads a log, remembered | {MAX_UNSETTLED} |",
        f"in one envelope | {state.MAX_HEADS_AT_ONCE}; in a digest {reconcile.MAX_HELD} |",
        f"| envelopes of one peer worked on at a time | 1, and {MAX_OUTSTANDING} requests open |",
        f"| evidence for each origin, key and class | {state.MAX_EVIDENCE}; ",
        f"| links that one bundle is sent to unasked | {state.EAGER_LINKS} |",
        f"| announced evidence asked for at a time | {state.MAX_OFFERS} pieces of one peer",
        f"| bundles whose bytes are remembered | {state.MAX_JUDGED} |",
        f"| messages waiting for one peer | {MAX_WAITING_MESSAGES}, and {MAX_WAITING_EVIDENCE} of evidence, "
        f"and {MAX_WAITING_EVIDENCE} that name evidence, and {MAX_WAITING_MESSAGES} pending heads, "
        f"{state.MAX_PENDING} of one log |",
        f"| pending heads in one envelope | as many as {MAX_PENDING_BYTES // 1024} KiB hold, or one |",
        f"none beyond the piece with which it comes to {state.MAX_COSIGNER_BYTES // 1024**2} MiB |",
        f"| nonces remembered for one peer | {envelope.MAX_NONCES_PER_SENDER:,} |",
        f"| repeated requests about one head | one in {state.RETRY_MS // 1000} seconds |",
        f"twice as long each time, up to {state.LAST_TILE_MS // 1000} |",
        f"| after {state.FRUITLESS_MS // 1000} seconds from the second time on",
        f"| testimony | {state.MAX_TESTIMONY} a log, {state.MAX_TESTIMONY_OF_ONE} of one peer |",
        f"are remembered | {state.MAX_CONTACTS}, those heard of last",
        f"| {checks.per_second}, or 5 for each log followed if that is more | {checks.burst}, or 40 for each log |",
        f"GET_EVIDENCE | {budget.REQUESTS.per_second} | {budget.REQUESTS.burst} |",
        f"| evidence bundles to verify | {budget.EVIDENCE.per_second} | {budget.EVIDENCE.burst} |",
        f"| bytes received | {BYTES_PER_SECOND:,} | {BURST_BYTES // 1024**2} MiB |",
        f"costs {state.LOOK_COST} more",
    ):
        assert limit in " ".join(SPECIFICATION.split())
    assert budget.checks(100) == budget.Rate(5 * 100, 40 * 100)


def test_the_hash_of_a_bucket_can_be_made_of_the_bytes_of_the_other_messages() -> None:
    """The entries stand in the PART as they are hashed: between the marks and the last byte."""
    cases = {case["name"]: bytes.fromhex(case["bytes"]) for case in CASES if case["name"] in ("buckets", "part")}
    salt, hashes = cases["buckets"][5:13], cases["buckets"][15:]
    entries = cases["part"][6:-1]
    number = sha256(ORIGIN.encode()).digest()[0] >> 5
    assert (number, cases["part"][5]) == (5, 0b100)
    assert hashes[4 * number : 4 * number + 4] == sha256(salt + entries).digest()[:4]
    assert hashes[:4] == sha256(salt + b"\x90").digest()[:4]
