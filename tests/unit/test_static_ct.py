"""Data tiles of certificate logs, against the real entries of one."""

import json
from dataclasses import replace

import pytest

from tests.vectors import vector
from tlog.errors import FormatError
from tlog.hashing import leaf_hash
from tlog.precertificate import parse_precertificate, with_empty_signature
from tlog.static_ct import (
    MAX_DATA_TILE_BYTES,
    TileLeaf,
    data_tile_path,
    format_extensions,
    format_leaves,
    issuer_path,
    parse_extensions,
    parse_leaves,
    parse_merkle_tree_leaf,
)
from tlog.text import MAX_INTEGER
from tlog.tiles import EntryBundle

REAL = "FiloSottile-sunlight/navigli2025h2/tile"
CERTIFICATE = TileLeaf(1, b"certificate", format_extensions(5), (bytes(32),))
PRECERTIFICATE = TileLeaf(2, b"tbs", format_extensions(6), (bytes(32), bytes(32)), bytes(32), b"whole")
TILE = format_leaves([CERTIFICATE, PRECERTIFICATE])
POISON = bytes.fromhex("300a06082b06010401020304")  # an extension that is none: another object identifier
REAL_POISON = bytes.fromhex("3013060a2b06010401d6790204030101ff04020500")


def element(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([tag, len(body)]) + body


def precertificate(*extensions: bytes) -> bytes:
    tbs = element(0x30, b"\x02\x01\x07", element(0xA3, element(0x30, *extensions)))
    return element(0x30, tbs, element(0x30), b"\x03\x01\x00")


@pytest.mark.parametrize(("name", "first", "width"), [("000", 0, 256), ("003", 768, 256), ("003.p/10", 768, 10)])
def test_real_entries_hash_to_the_real_tiles(name: str, first: int, width: int) -> None:
    data = vector(f"{REAL}/data/{name}").read_bytes()
    leaves = parse_leaves(data, first, width)
    hashes = b"".join(leaf_hash(leaf.merkle_tree_leaf()) for leaf in leaves)
    assert hashes == vector(f"{REAL}/0/{name}").read_bytes()
    assert format_leaves(leaves) == data


def test_real_precertificates_without_their_poison_are_what_was_hashed() -> None:
    leaves = parse_leaves(vector(f"{REAL}/data/003").read_bytes(), 768, 256)
    whole = [leaf for leaf in leaves if leaf.pre_certificate is not None]
    assert whole
    assert all(leaf.is_precertificate for leaf in whole)
    for leaf in whole:
        assert parse_precertificate(leaf.pre_certificate or b"").tbs_certificate == leaf.certificate


def test_what_is_written_is_read() -> None:
    assert parse_leaves(TILE, 5, 2) == [CERTIFICATE, PRECERTIFICATE]
    assert [leaf.is_precertificate for leaf in (CERTIFICATE, PRECERTIFICATE)] == [False, True]


def test_the_tree_hashes_neither_the_chain_nor_the_precertificate_as_it_was_submitted() -> None:
    other = replace(PRECERTIFICATE, chain=(), pre_certificate=b"another")
    assert other.merkle_tree_leaf() == PRECERTIFICATE.merkle_tree_leaf()


@pytest.mark.parametrize(
    ("data", "width", "why"),
    [
        (TILE[:-1], 2, "entry 6: it ends too early"),
        (TILE + b"\0", 2, "goes on after its last entry"),
        (TILE, 1, "goes on after its last entry"),
        (TILE, 3, "entry 7: it ends too early"),
        (b"", 1, "entry 5: it ends too early"),
        (replace(CERTIFICATE, extensions=format_extensions(6)).format(), 1, "entry 5 names another index"),
        (replace(CERTIFICATE, extensions=b"").format(), 1, "entry 5: an entry does not name its index"),
        (replace(CERTIFICATE, certificate=b"").format(), 1, "entry 5: its certificate is empty"),
        (replace(CERTIFICATE, chain=(b"short",)).format(), 1, "entry 5: its chain"),
        (replace(CERTIFICATE, timestamp_ms=MAX_INTEGER + 1).format(), 1, "entry 5: it is of no known type"),
        (b"\0" * 9 + b"\x02" + bytes(100), 1, "entry 5: it is of no known type"),
        (bytes(MAX_DATA_TILE_BYTES + 1), 1, "larger than 16 MiB"),
    ],
)
def test_what_no_log_serves_is_refused_by_the_name_of_the_entry(data: bytes, width: int, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse_leaves(data, 5, width)


def test_extensions_are_read_as_others_read_them() -> None:
    # SPEC: C-4 the leaf index is a number of 40 bits
    cases = json.loads(vector("derived/ct_extensions.json").read_text())["cases"]
    assert {read_index(bytes.fromhex(case["hex"])) == case.get("leaf_index") for case in cases} == {True}


def read_index(extensions: bytes) -> int | None:
    try:
        return parse_extensions(extensions)
    except FormatError:
        return None


def test_extensions_come_in_any_order_and_once() -> None:
    # SPEC: C-3 the order is ignored, and no type occurs twice
    other = b"\x09\x00\x01x"
    assert parse_extensions(other + format_extensions(7)) == parse_extensions(format_extensions(7) + other) == 7
    with pytest.raises(FormatError, match="occurs twice"):
        parse_extensions(format_extensions(7) * 2)


@pytest.mark.parametrize("index", [-1, 2**40])
def test_an_index_beyond_40_bits_is_not_written(index: int) -> None:
    with pytest.raises(ValueError, match="below 2"):
        format_extensions(index)


def test_paths_are_those_of_the_static_api() -> None:
    assert data_tile_path(EntryBundle(1067, 8)) == "tile/data/x001/067.p/8"
    assert issuer_path(bytes(31) + b"\xab") == "issuer/" + "00" * 31 + "ab"


def test_poison_is_taken_out_of_a_precertificate() -> None:
    found = parse_precertificate(precertificate(POISON, REAL_POISON))
    assert found.tbs_certificate == element(0x30, b"\x02\x01\x07", element(0xA3, element(0x30, POISON)))
    assert (found.algorithm, found.signature) == (element(0x30), b"\x03\x01\x00")


def test_extensions_go_with_the_poison_where_there_is_nothing_else_in_them() -> None:
    assert parse_precertificate(precertificate(REAL_POISON)).tbs_certificate == element(0x30, b"\x02\x01\x07")


@pytest.mark.parametrize(
    ("der", "why"),
    [
        (b"", "not made of the parts"),
        (b"\x31\x00", "not made of the parts"),
        (precertificate(REAL_POISON) + b"\0", "something after"),
        (precertificate(REAL_POISON)[:-1], "ends too early"),
        (precertificate(POISON), "not poisoned once"),
        (precertificate(REAL_POISON, REAL_POISON), "not poisoned once"),
        (element(0x30, element(0x30, b"\x02\x01\x07"), element(0x30), b"\x03\x00"), "has no extensions"),
        (element(0x30, element(0x30), element(0x30), b"\x03\x00"), "has no extensions"),
        (element(0x30, element(0x30), element(0x30), b"\x03\x00", b"\x05\x00"), "goes on after its signature"),
        (element(0x30, element(0x30, b"\x1f\x01\x00"), element(0x30), b"\x03\x00"), "not made of the parts"),
        (b"\x30\x80\x00\x00", "as DER demands"),
        (b"\x30\x81\x01\x00", "as DER demands"),
        (b"\x30\x85\x01\x00\x00\x00\x00", "as DER demands"),
        (b"\x30\x84\xff", "as DER demands"),
    ],
)
def test_what_is_no_precertificate_is_refused(der: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse_precertificate(der)


def test_lengths_are_written_as_short_as_der_demands() -> None:
    tbs = b"\x02\x01\x07" + b"\x04\x82\x01\x00" + bytes(256)
    inner = tbs + element(0xA3, element(0x30, REAL_POISON))
    whole = b"\x30\x82" + len(inner).to_bytes(2) + inner + element(0x30) + b"\x03\x00"
    found = parse_precertificate(b"\x30\x82" + len(whole).to_bytes(2) + whole)
    assert found.tbs_certificate == b"\x30\x82" + len(tbs).to_bytes(2) + tbs


@pytest.mark.parametrize("issuer_key_hash", [None, b"\x07" * 32])
def test_what_the_tree_hashes_is_read_back(issuer_key_hash: bytes | None) -> None:
    entry = TileLeaf(5, b"\x30\x00", format_extensions(9), issuer_key_hash=issuer_key_hash)
    assert parse_merkle_tree_leaf(entry.merkle_tree_leaf()) == entry


@pytest.mark.parametrize(
    "data", [b"", b"\x00\x01", b"\x00\x00", TileLeaf(5, b"\x30\x00", b"").merkle_tree_leaf() + b"x"]
)
def test_refuses_what_no_tree_of_certificates_hashes(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_merkle_tree_leaf(data)


def test_what_is_to_be_signed_must_name_its_algorithm() -> None:
    with pytest.raises(FormatError, match="algorithm"):
        with_empty_signature(b"\x30\x03\x02\x01\x01")
