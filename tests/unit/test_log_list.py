"""Log lists: their grammar, what they leave to the reader, and that they can only ever add a log."""

import pytest

from tests.keys import log_key, mldsa_key, witness_key
from tlog.errors import FormatError
from tlog.log_list import ListedLog, LogList, Merge, merge

ONE, TWO = log_key("log.example/one").verifier_key, log_key("log.example/two").verifier_key

LIST = f"""\
logs/v0

vkey {ONE}
qpd 86400
contact https://log.example/contact

vkey {TWO}
origin go.sum database tree
qpd 24
contact sysadmin (at) log.example
"""
VALUE = LogList(
    (
        ListedLog(ONE, "log.example/one", 86400, "https://log.example/contact"),
        ListedLog(TWO, "go.sum database tree", 24, "sysadmin (at) log.example"),
    )
)


def parse(text: str) -> LogList:
    return LogList.parse(text.encode())


def refuse(text: str, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        parse(text)


def test_reads_logs_in_their_order() -> None:
    # SPEC: L-2 vkey, origin, qpd, contact
    assert parse(LIST) == VALUE


def test_writes_the_canonical_list() -> None:
    assert VALUE.format().decode() == LIST


@pytest.mark.parametrize("text", ["logs/v0", "logs/v0\n", "\n# nobody yet\n \t\nlogs/v0\n#\n"])
def test_a_list_can_be_empty(text: str) -> None:
    assert parse(text) == LogList(())
    assert parse(LogList(()).format().decode()) == LogList(())


@pytest.mark.parametrize("header", ["", "logs/v1", "Logs/v0", "logs/v0 x", "logs/v0\r", "vkey"])
def test_the_header_comes_first(header: str) -> None:
    # SPEC: L-1 one header line logs/v0
    refuse(LIST.replace("logs/v0", header), "does not start with the line logs/v0")


def test_there_is_one_header() -> None:
    # SPEC: L-1 one header line
    refuse(LIST + "logs/v0\n", "more than one line logs/v0")
    refuse("", "does not start with the line logs/v0")


@pytest.mark.parametrize(
    "lines",
    [
        ["qpd 1"],
        ["origin x"],
        ["contact x"],
        ["qpd 1", "vkey"],
        ["vkey", "qpd 1", "origin x"],
        ["vkey", "contact x", "qpd 1"],
        ["vkey", "contact x", "origin x"],
        ["vkey", "qpd 1", "qpd 2"],
        ["vkey", "origin x", "origin x"],
        ["vkey", "contact x", "contact y"],
    ],
)
def test_lines_of_a_log_stand_in_one_order(lines: list[str]) -> None:
    # SPEC: L-2 the order of key-value lines is strict
    body = "\n".join(f"vkey {ONE}" if line == "vkey" else line for line in lines)
    refuse(f"logs/v0\n{body}\n", "out of order")


def test_each_vkey_begins_another_log() -> None:
    # SPEC: L-3 a log has one vkey
    assert [log.key for log in parse(f"logs/v0\nvkey {ONE}\nvkey {TWO}\n").logs] == [ONE, TWO]


@pytest.mark.parametrize("keyword", ["vkey", "origin", "qpd", "contact"])
def test_a_keyword_has_a_value(keyword: str) -> None:
    refuse(f"logs/v0\nvkey {TWO}\n{keyword} \n", "a keyword and no value")


@pytest.mark.parametrize("vkey", ["BANANAS", f"{ONE} {TWO}", f"{ONE}#", "log.example/one+00000000+AAAA"])
def test_a_vkey_is_a_vkey(vkey: str) -> None:
    refuse(f"logs/v0\nvkey {vkey}\n", "key")


def test_any_type_of_log_key_is_listed_and_no_witness_key() -> None:
    # SPEC: PO-7 a signature type appropriate to the function
    assert parse(f"logs/v0\nvkey {mldsa_key().verifier_key}\n").logs[0].origin == "log.example/one"
    refuse(f"logs/v0\nvkey {witness_key().verifier_key}\n", "that of a witness")


def test_the_origin_is_the_key_name_unless_it_is_listed() -> None:
    # SPEC: L-4 without an origin line the origin is the key name
    assert [log.origin for log in parse(LIST).logs] == ["log.example/one", "go.sum database tree"]
    assert parse(f"logs/v0\nvkey {ONE}\norigin {ONE.name}\n").format() == f"logs/v0\n\nvkey {ONE}\n".encode()


def test_no_two_logs_share_an_origin() -> None:
    # SPEC: L-5 no two logs have one origin
    refuse(f"logs/v0\nvkey {ONE}\nvkey {TWO}\norigin {ONE.name}\n", "the same origin")
    refuse(f"logs/v0\nvkey {ONE}\nvkey {ONE}\n", "the same origin")


@pytest.mark.parametrize("qpd", ["1", "2147483647"])
def test_requests_per_day_go_from_one(qpd: str) -> None:
    # SPEC: L-6 a canonical decimal from 1 to 2^31 - 1
    assert parse(LIST.replace("86400", qpd)).logs[0].qpd == int(qpd)


@pytest.mark.parametrize("qpd", ["0", "2147483648", "01", "+1", "-1", "1.5", "toast", "1 2", "\u0661"])
def test_requests_per_day_are_a_canonical_decimal_in_range(qpd: str) -> None:
    # SPEC: L-6 a canonical decimal from 1 to 2^31 - 1
    refuse(LIST.replace("86400", qpd), "qpd")


def test_spaces_and_tabs_around_lines_blank_lines_and_comments_are_ignored() -> None:
    # SPEC: L-7 leading and trailing space and tab are removed; blank lines and lines starting with # are ignored
    noisy = LIST.replace("\n", " \t\n \t # comment \x00\n\t").replace("qpd ", "qpd \t ")
    assert LogList.parse(noisy.encode() + b"# \xff\n") == VALUE


@pytest.mark.parametrize("space", ["\r", "\v", "\f", "\u00a0", "\u2028"])
def test_no_other_whitespace_is_removed(space: str) -> None:
    # SPEC: L-7 only space and tab
    refuse(LIST.replace("86400", "86400" + space), "qpd")


def test_unknown_keywords_are_ignored_wherever_they_stand() -> None:
    # SPEC: L-9 unknown keywords are ignored
    assert parse(LIST.replace("\nqpd", "\nunknown\nfoo bar\nqpd").replace("v0\n", "v0\nsince 2026\n", 1)) == VALUE


def test_requests_per_day_and_contact_may_be_missing() -> None:
    assert parse(f"logs/v0\nvkey {ONE}\n").logs == (ListedLog(ONE, ONE.name),)


def test_a_contact_is_any_text() -> None:
    text = LIST.replace("https://log.example/contact", "ops\té | +1 #2")
    assert parse(text).logs[0].contact == "ops\té | +1 #2"
    assert parse(text).format().decode() == text


@pytest.mark.parametrize("contact", [b"\xff", b"\x1b[2J", b"a\x00b", b"a\rb"])
def test_a_contact_is_text(contact: bytes) -> None:
    with pytest.raises(FormatError, match="contact"):
        LogList.parse(LIST.encode().replace(b"https://log.example/contact", contact))


def test_an_origin_fits_a_checkpoint() -> None:
    refuse(f"logs/v0\nvkey {ONE}\norigin {'x' * 256}\n", "origin is not 1 to 255 bytes long")


@pytest.mark.parametrize(
    "log",
    [(0, "x", "o"), (2**31, "x", "o"), (1, "", "o"), (1, " x", "o"), (1, "x\n", "o"), (1, "x", "o\t"), (1, None, "\n")],
)
def test_a_log_that_would_not_be_read_back_is_a_mistake(log: tuple[int, str | None, str]) -> None:
    qpd, contact, origin = log
    with pytest.raises(ValueError):
        ListedLog(ONE, origin, qpd, contact)


# Taking a list over.


def test_new_logs_are_added_and_known_ones_left_alone() -> None:
    # SPEC: L-9 pulled lists only add
    assert merge({"log.example/one": (ONE,)}, VALUE) == Merge((VALUE.logs[1],), ())


def test_a_known_origin_with_another_key_is_a_conflict() -> None:
    # SPEC: L-9 an already configured log is never changed because of a list
    assert merge({"log.example/one": (TWO,), "other": (ONE,)}, VALUE) == Merge((VALUE.logs[1],), (VALUE.logs[0],))


def test_one_of_several_known_keys_is_no_conflict() -> None:
    assert merge({ONE.name: (mldsa_key().verifier_key, ONE), "go.sum database tree": (TWO,)}, VALUE) == Merge((), ())


@pytest.mark.parametrize("own", ["log.example/one", "log.example/two", "go.sum database tree"])
def test_no_list_gives_a_log_the_name_of_the_witness(own: str) -> None:
    refused = VALUE.logs[0] if own == "log.example/one" else VALUE.logs[1]
    assert merge({}, VALUE, [own]).conflicts == (refused,)


def test_a_known_log_that_is_no_longer_listed_stays() -> None:
    # SPEC: L-9 never removed because of a list
    assert merge({"log.example/three": (ONE,)}, LogList(())) == Merge((), ())
