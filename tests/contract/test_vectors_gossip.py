"""The vectors of specs/gossip.md: the project reads them as the index says, and the specification shows their bytes."""

import json
import struct
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gossip.messages import MAX_DIGEST, MAX_HAVE, MAX_HEADS, MAX_SIGNATURE_LINES
from gossip.outbox import MAX_WAITING_EVIDENCE, MAX_WAITING_MESSAGES
from specs.vectors.make_gossip import FOLDER, MESSAGES, ORIGIN, text, vectors
from tests.fakes_log import signer
from tlog.keys import VerifierKey

INDEX: dict[str, Any] = json.loads((FOLDER / "vectors.json").read_text())
CASES: list[dict[str, Any]] = INDEX["vectors"]
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
    for limit in (
        f"| 3 | DIGEST | since or nil, cursor, [[origin, size, root, flags]…] ≤ {MAX_DIGEST}, more |",
        f"| 4 | GET_HEADS | [origin…] ≤ {MAX_HEADS} |",
        f"| 10 | HAVE_EVIDENCE | [[class, origin, accused, id]…] ≤ {MAX_HAVE} |",
        f"with at most {MAX_SIGNATURE_LINES} signature lines",
        f"[[origin, size, root, flags]…] ≤ {MAX_DIGEST}, answer |",
        f"| messages waiting for one peer | {MAX_WAITING_MESSAGES}, and {MAX_WAITING_EVIDENCE} of evidence |",
    ):
        assert limit in SPECIFICATION


def test_the_hash_of_a_bucket_can_be_made_of_the_bytes_of_the_other_messages() -> None:
    """The entries stand in the PART as they are hashed: between the marks and the last byte."""
    cases = {case["name"]: bytes.fromhex(case["bytes"]) for case in CASES if case["name"] in ("buckets", "part")}
    salt, hashes = cases["buckets"][5:13], cases["buckets"][15:]
    entries = cases["part"][6:-1]
    number = sha256(ORIGIN.encode()).digest()[0] >> 5
    assert (number, cases["part"][5]) == (5, 0b100)
    assert hashes[4 * number : 4 * number + 4] == sha256(salt + entries).digest()[:4]
    assert hashes[:4] == sha256(salt + b"\x90").digest()[:4]
