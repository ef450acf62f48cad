import pytest

from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import EMPTY_ROOT, Hash, TreeHead

ROOT = Hash(bytes(range(32)))
ROOT_LINE = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
TEXT = b"log.example/one\n257\n" + ROOT_LINE


def test_the_three_lines_are_origin_size_and_root_hash() -> None:
    checkpoint = Checkpoint.parse(TEXT)
    assert checkpoint == Checkpoint("log.example/one", 257, ROOT)
    assert checkpoint.head == TreeHead(257, ROOT)


GOOD = {
    "three lines": TEXT,
    "CP-3 an origin that is no URL": TEXT.replace(b"log.example/one", b"go.sum database tree"),
    "CP-3 an origin with a plus sign": TEXT.replace(b"log.example/one", b"a+b - 1"),
    "an origin that is not ASCII": TEXT.replace(b"log.example/one", "журнал".encode()),
    "an origin of one byte": TEXT.replace(b"log.example/one", b"e"),
    "CS-14 an origin of 255 bytes": TEXT.replace(b"log.example/one", b"x" * 255),
    "CP-4 the size of the empty tree": TEXT.replace(b"257", b"0"),
    "the largest size": TEXT.replace(b"257", b"9223372036854775807"),
    "CP-6 extension lines": TEXT + b"6086d1a9\nWaxing gibbous\n",
    "CP-6 an extension line of one space": TEXT + b" \n",
    "CP-5 the empty tree": b"log.example/one\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_reads_and_writes_back(text: bytes) -> None:
    assert Checkpoint.parse(text).format() == text


def test_the_root_of_the_empty_tree_is_known() -> None:
    """CP-5."""
    assert Checkpoint.parse(GOOD["CP-5 the empty tree"]).root_hash == EMPTY_ROOT


def test_a_wrong_root_of_the_empty_tree_is_well_formed() -> None:
    """It has to be readable in order to be evidence; who must not sign it judges it elsewhere."""
    assert Checkpoint.parse(TEXT.replace(b"257", b"0")).root_hash == ROOT


def test_extension_lines_are_kept_verbatim_and_in_order() -> None:
    """CP-6."""
    assert Checkpoint.parse(TEXT + b"b 2\na 1\n").extensions == (b"b 2", b"a 1")


BAD = {
    "CP-1 nothing": b"",
    "CP-1 two lines": TEXT[: -len(ROOT_LINE)],
    "CP-1 no last line feed": TEXT[:-1],
    "CP-1 carriage returns": TEXT.replace(b"\n", b"\r\n"),
    "CP-2 empty origin": TEXT.removeprefix(b"log.example/one"),
    "CS-14 an origin of 256 bytes": TEXT.replace(b"log.example/one", b"x" * 256),
    "an origin that is not UTF-8": TEXT.replace(b"one", b"\xff"),
    "a control character in the origin": TEXT.replace(b"one", b"\x00"),
    "CP-4 leading zero": TEXT.replace(b"257", b"0257"),
    "CP-4 two zeros": TEXT.replace(b"257", b"00"),
    "CP-4 no size": TEXT.replace(b"257", b""),
    "CP-4 plus sign": TEXT.replace(b"257", b"+257"),
    "CP-4 minus sign": TEXT.replace(b"257", b"-257"),
    "CP-4 spaces": TEXT.replace(b"257", b" 257"),
    "CP-4 underscore": TEXT.replace(b"257", b"2_57"),
    "CP-4 digits that are not ASCII": TEXT.replace(b"257", "٢٥٧".encode()),
    "CP-4 hexadecimal": TEXT.replace(b"257", b"0x257"),
    "a size above 2^63 - 1": TEXT.replace(b"257", b"9223372036854775808"),
    "a size above 2^64": TEXT.replace(b"257", b"18446744073709551616"),
    "CP-5 a root hash of 31 bytes": TEXT.replace(ROOT_LINE, b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==\n"),
    "CP-5 a root hash of 33 bytes": TEXT.replace(ROOT_LINE, b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g\n"),
    "CP-5 an empty root hash": TEXT.replace(ROOT_LINE, b"\n"),
    "CP-5 a root hash in hexadecimal": TEXT.replace(ROOT_LINE, b"00" * 32 + b"\n"),
    "CP-12 trailing bits": TEXT.replace(b"Hh8=", b"Hh9="),
    "CP-12 no padding": TEXT.replace(b"Hh8=", b"Hh8"),
    "CP-12 surplus padding": TEXT.replace(b"Hh8=", b"Hh8=="),
    "CP-12 URL-safe alphabet": TEXT.replace(b"AAEC", b"__EC"),
    "CP-12 a space": TEXT.replace(b"Hh8=", b"Hh8= "),
    "CP-6 an empty extension line": TEXT + b"\n",
    "CP-6 an empty extension line before another": TEXT + b"\nmore\n",
    "SN-2 a control character in an extension line": TEXT + b"\x07\n",
    "SN-2 an extension line that is not UTF-8": TEXT + b"\xff\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_refuses(text: bytes) -> None:
    with pytest.raises(FormatError):
        Checkpoint.parse(text)


def test_cannot_be_made_with_a_root_of_another_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Checkpoint("log.example/one", 257, Hash(ROOT[1:]))
