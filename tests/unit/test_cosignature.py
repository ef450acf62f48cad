import pytest

from tlog.cosignature import (
    cosignature_message,
    format_timestamped,
    parse_timestamped,
    subtree_message,
    tree_head_message,
)
from tlog.errors import FormatError
from tlog.hashing import Hash, TreeHead

ROOT = Hash(bytes(range(32)))
TEXT = b"log.example/one\n257\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
LATEST = 2**63 - 1


def test_a_cosignature_message_is_two_lines_and_the_whole_text() -> None:
    """CS-9, CS-10."""
    assert cosignature_message(1679315147, TEXT) == b"cosignature/v1\ntime 1679315147\n" + TEXT


def test_extension_lines_are_part_of_a_cosignature_message() -> None:
    """CS-11."""
    assert cosignature_message(0, TEXT + b"more\n").endswith(b"Hh8=\nmore\n")


def test_a_subtree_message_is_the_cosigned_message_structure() -> None:
    """CS-14, written out byte by byte."""
    expected = (
        b"subtree/v1\n\0"
        + b"\x09witness.x"
        + b"\0\0\0\0\x64\x18\x50\xcb"
        + b"\x05log.x"
        + bytes(8)
        + b"\0\0\0\0\0\0\x01\x01"
        + ROOT
    )
    assert subtree_message("witness.x", 0x641850CB, "log.x", 0, 257, ROOT) == expected


def test_a_subtree_that_does_not_begin_at_the_first_entry_has_no_time() -> None:
    """CS-16: if start is not 0, the timestamp MUST be 0."""
    assert subtree_message("w", 0, "l", 8, 13, ROOT)[-48:-32] == b"\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x0d"
    with pytest.raises(ValueError, match="no time"):
        subtree_message("w", 1, "l", 8, 13, ROOT)


@pytest.mark.parametrize("name", ["", "x" * 256, "ж" * 128])
def test_names_and_origins_that_do_not_fit_are_not_signed(name: str) -> None:
    """CS-14: 1 to 255 bytes."""
    with pytest.raises(ValueError, match="255"):
        subtree_message(name, 1, "l", 0, 1, ROOT)
    with pytest.raises(ValueError, match="255"):
        subtree_message("w", 1, name, 0, 1, ROOT)


@pytest.mark.parametrize(("start", "end", "root"), [(2, 1, ROOT), (-1, 1, ROOT), (0, 1, Hash(ROOT[1:]))])
def test_what_is_no_subtree_is_not_signed(start: int, end: int, root: Hash) -> None:
    with pytest.raises(ValueError, match="subtree"):
        subtree_message("w", 0, "l", start, end, root)


def test_a_tree_head_message_is_the_one_of_rfc_6962() -> None:
    """C-8: version, signature type, milliseconds, size, root hash."""
    assert tree_head_message(0x0102030405, TreeHead(257, ROOT)) == (
        b"\0\x01" + b"\0\0\0\x01\x02\x03\x04\x05" + b"\0\0\0\0\0\0\x01\x01" + ROOT
    )


@pytest.mark.parametrize("time", [-1, LATEST + 1])
def test_times_out_of_range_are_not_signed(time: int) -> None:
    """CS-8."""
    with pytest.raises(ValueError, match="range"):
        cosignature_message(time, TEXT)
    with pytest.raises(ValueError, match="range"):
        subtree_message("w", time, "l", 0, 1, ROOT)
    with pytest.raises(ValueError, match="range"):
        tree_head_message(time, TreeHead(1, ROOT))
    with pytest.raises(ValueError, match="range"):
        format_timestamped(time, b"")


@pytest.mark.parametrize("time", [0, 1, 1679315147, LATEST])
def test_a_timestamped_signature_is_read_back(time: int) -> None:
    """CS-7, CS-15."""
    body = format_timestamped(time, b"s" * 64)
    assert body == time.to_bytes(8, "big") + b"s" * 64
    assert parse_timestamped(body, 64) == parse_timestamped(body, None) == (time, b"s" * 64)


def test_the_timestamp_is_big_endian() -> None:
    """CS-7: an implementation once wrote it the other way."""
    assert parse_timestamped(b"\0\0\0\0\x64\x18\x50\xcb" + b"s" * 64, 64)[0] == 0x641850CB


@pytest.mark.parametrize("body", [b"", b"\0" * 7, b"\0" * 71, b"\0" * 73, b"\0" * 64])
def test_refuses_a_timestamped_signature_of_another_length(body: bytes) -> None:
    """CS-7."""
    with pytest.raises(FormatError, match="length"):
        parse_timestamped(body, 64)


def test_a_signature_of_any_length_still_needs_its_whole_timestamp() -> None:
    """CS-7."""
    assert parse_timestamped(bytes(8), None) == (0, b"")
    with pytest.raises(FormatError, match="length"):
        parse_timestamped(bytes(7), None)


@pytest.mark.parametrize("time", [LATEST + 1, 2**64 - 1])
def test_refuses_timestamps_above_the_signed_range(time: int) -> None:
    """CS-8."""
    with pytest.raises(FormatError, match="timestamp"):
        parse_timestamped(time.to_bytes(8, "big") + b"s" * 64, 64)
