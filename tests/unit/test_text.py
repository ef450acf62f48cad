"""Every spelling that Python's own decoders would take and these must not."""

import base64
from collections.abc import Callable

import pytest

from tlog.errors import FormatError
from tlog.text import (
    MAX_INTEGER,
    MAX_ORIGIN_BYTES,
    cut,
    decode_base64,
    encode_base64,
    format_decimal,
    is_key_name,
    parse_decimal,
    parse_hash,
    parse_key_name,
    parse_origin,
    parse_utf8,
    split_lines,
)

# What str.splitlines() breaks on besides LF, as UTF-8.
OTHER_LINE_BREAKS = [
    b"\r",
    b"\x0b",
    b"\x0c",
    b"\x1c",
    b"\x1d",
    b"\x1e",
    "\u0085".encode(),
    "\u2028".encode(),
    "\u2029".encode(),
]
# Unicode's White_Space property.
WHITE_SPACE = [
    *range(0x09, 0x0E),
    0x20,
    0x85,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
]


# Decimals


@pytest.mark.parametrize("value", [0, 1, 9, 10, 42, 2**53 + 1, MAX_INTEGER])
def test_a_decimal_reads_back(value: int) -> None:
    assert parse_decimal(format_decimal(value), "size") == value


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"+5",
        b"-0",
        b"-1",
        b" 5",
        b"5 ",
        b"5\t",
        b"5\n",
        b"\n5",
        b"1_0",
        b"00",
        b"007",
        b"01",
        b"0x1",
        b"1.0",
        b"1e3",
        b"1,000",
        b"5\x00",
        b"\x005",
        "\u0663".encode(),
        "\u0661\u0660".encode(),
        "\u00b2".encode(),
        "\uff15".encode(),
        b"9" * 20,
        b"1" + b"0" * 5000,
    ],
)
def test_a_decimal_has_one_spelling_and_it_is_ascii(field: bytes) -> None:
    with pytest.raises(FormatError, match=r"^size is not a decimal"):
        parse_decimal(field, "size")


def test_a_decimal_is_at_most_what_a_signed_64_bit_integer_holds() -> None:
    assert parse_decimal(b"9223372036854775807", "size") == MAX_INTEGER
    for field in (b"9223372036854775808", b"9999999999999999999"):
        with pytest.raises(FormatError, match="larger than"):
            parse_decimal(field, "size")


@pytest.mark.parametrize("value", [-1, MAX_INTEGER + 1])
def test_a_number_that_could_not_be_read_is_not_written(value: int) -> None:
    with pytest.raises(ValueError, match="range"):
        format_decimal(value)


# Base64


@pytest.mark.parametrize("size", [0, 1, 2, 3, 31, 32, 33, 2420])
def test_base64_reads_back(size: int) -> None:
    data = bytes(range(256)) * 10
    assert decode_base64(encode_base64(data[:size]), "hash") == data[:size]
    assert encode_base64(data[:size]) == base64.b64encode(data[:size])


@pytest.mark.parametrize(
    "field",
    [
        b"AB==",  # one byte with trailing bits: a second spelling of AA==
        b"AAB=",
        b"AAAA====",  # surplus padding
        b"AAAA=",
        b"AAA",  # missing padding
        b"AA=",
        b"A",
        b"=",
        b"====",
        b"AA==AA==",
        b"AA-_",  # the URL alphabet
        b"AA AA",
        b"AAAA\n",
        b"\nAAAA",
        b"AA\nAA",
        b"AA\r\nAA",
        b"AAAA ",
        b"AAAA\x00",
        b"AA!A",
        "AAAÄ".encode(),
        "ＡＡＡＡ".encode(),
        b"\xff\xff\xff\xff",
    ],
)
def test_base64_has_one_spelling(field: bytes) -> None:
    # SPEC: CP-12 base64 is padded and canonical
    with pytest.raises(FormatError, match=r"^hash is not"):
        decode_base64(field, "hash")


def test_trailing_bits_are_refused_in_a_hash_line() -> None:
    canonical = b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert len(canonical) == 44
    assert len(parse_hash(canonical)) == 32
    with pytest.raises(FormatError, match="canonical"):
        parse_hash(canonical.replace(b"2I=", b"2J="))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_hash_is_32_bytes(size: int) -> None:
    with pytest.raises(FormatError, match=r"^root hash is not 32 bytes"):
        parse_hash(encode_base64(bytes(size)), "root hash")


# Lines


@pytest.mark.parametrize("separator", OTHER_LINE_BREAKS)
def test_no_other_byte_ends_a_line(separator: bytes) -> None:
    assert split_lines(b"a" + separator + b"b\n", "note") == [b"a" + separator + b"b"]


def test_a_carriage_return_belongs_to_its_line() -> None:
    assert split_lines(b"a\r\nb\r\n", "note") == [b"a\r", b"b\r"]


@pytest.mark.parametrize("text", [b"", b"a", b"a\nb", b"a\n\r", b"\n\n ", b"a\n\x85"])
def test_the_last_line_ends_too(text: bytes) -> None:
    with pytest.raises(FormatError, match=r"^note does not end with a line feed"):
        split_lines(text, "note")


def test_empty_lines_are_lines() -> None:
    assert split_lines(b"\n", "note") == [b""]
    assert split_lines(b"a\n\n\nb\n", "note") == [b"a", b"", b"", b"b"]


def test_lines_join_to_what_was_split() -> None:
    text = b"origin\n12\n\n\xff \r\n"
    assert b"".join(line + b"\n" for line in split_lines(text, "note")) == text


def test_cutting_takes_the_first_separator() -> None:
    assert cut(b"a\n\nb\n\nc", b"\n\n", "no empty line") == (b"a", b"b\n\nc")
    with pytest.raises(FormatError, match=r"^no empty line$"):
        cut(b"a\nb", b"\n\n", "no empty line")


# UTF-8


@pytest.mark.parametrize(
    "field",
    [
        b"\x80",
        b"\xff",
        b"\xc0\x80",  # NUL spelled in two bytes
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",  # half of a surrogate pair
        b"\xf4\x90\x80\x80",  # beyond U+10FFFF
        b"\xf8\x88\x80\x80\x80",
        b"\xe2\x82",  # cut off
        b"a\xcc",
    ],
)
def test_utf8_is_strict(field: bytes) -> None:
    # SPEC: SN-2 valid UTF-8
    with pytest.raises(FormatError, match=r"^note is not UTF-8"):
        parse_utf8(field, "note")


@pytest.mark.parametrize("code", [code for code in range(0x20) if code != 0x0A])
def test_ascii_control_characters_are_refused(code: int) -> None:
    # SPEC: SN-2 no ASCII control character except the line feed
    with pytest.raises(FormatError, match="control character"):
        parse_utf8(b"a" + bytes([code]) + b"b", "note")


def test_text_is_not_normalised() -> None:
    composed, decomposed = "\u00e9".encode(), "e\u0301".encode()
    assert parse_utf8(composed, "note").encode() == composed
    assert parse_utf8(decomposed, "note").encode() == decomposed
    assert parse_utf8(composed, "note") != parse_utf8(decomposed, "note")


def test_a_byte_order_mark_and_line_feeds_stay() -> None:
    assert parse_utf8(b"\xef\xbb\xbfa\nb\x7f", "note") == "\ufeffa\nb\x7f"


# Origins and key names


@pytest.mark.parametrize("origin", ["example.com/log", "go.sum database tree", "a", "Größe", "x" * MAX_ORIGIN_BYTES])
def test_origins_may_hold_spaces(origin: str) -> None:
    # SPEC: CP-3 a client assumes nothing about the form of an origin
    assert parse_origin(origin.encode()) == origin


@pytest.mark.parametrize(
    "field", [b"", b"x" * 256, "ä".encode() * 128, b"a\n", b"\na", b"a\nb", b"a\tb", b"a\r", b"\x00", b"\xff"]
)
def test_an_origin_is_one_line_of_at_most_255_bytes(field: bytes) -> None:
    with pytest.raises(FormatError, match="origin"):
        parse_origin(field)


@pytest.mark.parametrize("name", ["example.com/log", "witness", "名前", "a\u200bb", "a=b", "-"])
def test_a_key_name_reads_as_it_is(name: str) -> None:
    assert parse_key_name(name.encode()) == name


@pytest.mark.parametrize("code", WHITE_SPACE)
def test_a_key_name_has_no_unicode_space(code: int) -> None:
    # SPEC: SN-4 no Unicode space
    assert not is_key_name(f"a{chr(code)}b")
    with pytest.raises(FormatError, match="key name"):
        parse_key_name(f"a{chr(code)}".encode())


def test_spaces_are_those_of_unicode_and_of_nothing_else() -> None:
    assert [code for code in range(0x110000) if not is_key_name(chr(code))] == sorted([*WHITE_SPACE, ord("+")])


def test_python_calls_four_control_characters_spaces_that_are_none() -> None:
    for code in range(0x1C, 0x20):
        assert chr(code).isspace()
        assert is_key_name(chr(code))
        with pytest.raises(FormatError, match="control character"):
            parse_key_name(bytes([code]))


@pytest.mark.parametrize("field", [b"", b"+", b"a+b", b"a+", b"\xff", b"a\nb"])
def test_a_key_name_is_not_empty_and_has_no_plus(field: bytes) -> None:
    # SPEC: SN-4 not empty, no plus sign
    with pytest.raises(FormatError, match="key name"):
        parse_key_name(field)


# Messages


@pytest.mark.parametrize(
    "parse",
    [
        lambda field: parse_decimal(field, "size"),
        lambda field: decode_base64(field, "hash"),
        parse_hash,
        lambda field: split_lines(field, "note"),
        lambda field: cut(field, b"\n", "no line feed"),
        lambda field: parse_utf8(b"\xff" + field, "note"),
        lambda field: parse_origin(b"\xff" + field),
        lambda field: parse_key_name(field + b" "),
    ],
)
def test_a_refusal_does_not_repeat_what_was_sent(parse: Callable[[bytes], object]) -> None:
    with pytest.raises(FormatError) as refusal:
        parse(b"<script>")
    assert "script" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
