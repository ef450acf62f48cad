"""Testimony: what is written is read back, whoever signed it is known, and it counts without ever convicting."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gossip.testimony as said
from gossip import core
from gossip.core import Advanced, Count, Ignored, KeepTestimony, Refuse, State
from gossip.core.state import MAX_TESTIMONY, MAX_TESTIMONY_OF_ONE, Budget, Contact
from gossip.messages import TestimonyNote as Heard
from tests.fakes_log import ORIGIN, signer
from tests.machine import ID, LOG, PEER_KEY, RULES, P, Q, head_of, monitor, received, run, sent
from tlog.errors import FormatError, SignatureError
from tlog.hashing import Hash, TreeHead
from tlog.keys import KeyType, SignerKey
from tlog.note import Note, signature_line

ROOT = Hash(b"r" * 32)
PLAIN = said.Testimony(ORIGIN, said.UNSERVED, 12, ROOT, 1000, 2000, 7)
OTHERS = [signer(f"monitor.example/{name}") for name in ("q", "r", "s")]


def sign(testimony: said.Testimony, *keys: SignerKey) -> bytes:
    text = testimony.format()
    return Note(text, tuple(signature_line(key.verifier_key, 0, key.sign(text)) for key in keys)).format()


def test_the_text_is_six_lines() -> None:
    assert PLAIN.format().decode().splitlines() == [
        "tlog-testimony@v1",
        ORIGIN,
        "unserved",
        "12 cnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnI=",
        "1000 2000 7",
        "-",
    ]
    assert replace(PLAIN, vantage="a café in Oslo").format().endswith("\na café in Oslo\n".encode())


SIZES = st.integers(0, 2**63 - 1)


@given(SIZES, SIZES, SIZES, st.integers(1, 2**63 - 1), st.text(max_size=60))
def test_any_testimony_comes_back(size: int, one: int, other: int, tries: int, vantage: str) -> None:
    first, last = sorted((one, other))
    try:
        testimony = said.Testimony(ORIGIN, said.UNSERVED, size, ROOT, first, last, tries, vantage)
    except ValueError:
        return
    assert said.Testimony.parse(testimony.format()) == testimony
    assert testimony.head == TreeHead(size, ROOT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"@v1", b"@v2"),
        (b"unserved", b"unheard"),
        (b"12 ", b"012 "),
        (b"12 ", b"12"),
        (b"nI=\n", b"nJ=\n"),
        (b"1000 2000 7", b"1000 2000"),
        (b"1000 2000 7", b"1000 2000 7 8"),
        (b"1000 2000 7", b"2001 2000 7"),
        (b"1000 2000 7", b"1000 2000 0"),
        (b"1000 2000 7", b"1000 9223372036854775808 7"),
        (b"\n-\n", b"\n\n"),
        (b"\n-\n", b"\n" + b"v" * 256 + b"\n"),
        (b"\n-\n", b"\n\x07\n"),
        (b"\n-\n", b"\n\xff\n"),
        (b"\n-\n", b"\n-\nmore\n"),
        (b"\n-\n", b"\n-"),
        (ORIGIN.encode(), b""),
    ],
)
def test_any_other_spelling_is_refused(old: bytes, new: bytes) -> None:
    text = PLAIN.format()
    assert old in text
    with pytest.raises(FormatError):
        said.Testimony.parse(text.replace(old, new, 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "other"},
        {"size": -1},
        {"root_hash": b"short"},
        {"first_seen": 3000},
        {"tries": 0},
        {"origin": ""},
        {"vantage": "-"},
        {"vantage": "two\nlines"},
    ],
    ids=repr,
)
def test_a_testimony_that_cannot_be_written_is_not_made(changes: dict[str, object]) -> None:
    fields = {"origin": ORIGIN, "kind": said.UNSERVED, "size": 1, "root_hash": ROOT, "first_seen": 1, "last_tried": 1}
    with pytest.raises(ValueError, match=r"."):
        said.Testimony(**{**fields, "tries": 1, **changes})  # type: ignore[arg-type]


def test_a_signed_testimony_names_its_signer() -> None:
    keys = [key.verifier_key for key in (*OTHERS, PEER_KEY)]
    assert said.open_testimony(sign(PLAIN, PEER_KEY), keys) == (PLAIN, PEER_KEY.verifier_key)


def test_only_one_peer_key_signs_a_testimony() -> None:
    key = PEER_KEY.verifier_key
    observer = signer(PEER_KEY.name, KeyType.COSIGNATURE_ED25519)
    text = PLAIN.format()
    for raw, keys in (
        (sign(PLAIN, OTHERS[0]), [key]),
        (sign(PLAIN, PEER_KEY, OTHERS[0]), [key]),
        (sign(PLAIN, PEER_KEY).replace(b"2000 7", b"2000 8"), [key]),
        (
            Note(text, (signature_line(observer.verifier_key, 9, observer.sign(text)),)).format(),
            [observer.verifier_key],
        ),
    ):
        with pytest.raises(SignatureError):
            said.open_testimony(raw, keys)
    for raw in (b"x" * 4097, b"nonsense", LOG.sign(3, ())):
        with pytest.raises(FormatError):
            said.open_testimony(raw, [key, LOG.key.verifier_key])


def test_a_file_holds_several_with_a_line_between_them() -> None:
    notes = [sign(PLAIN, key) for key in OTHERS]
    for count in (1, 2, 3):
        raw = said.format_testimonies(notes[:count])
        assert raw.count(b"\n--\n") == count - 1
        assert said.parse_testimonies(raw) == tuple(notes[:count])
    with pytest.raises(FormatError):
        said.parse_testimonies(b"\n--\n" * said.MAX_TESTIMONIES)


# What it weighs.


def weigh(*spoken: tuple[int, int, int]) -> list[tuple[tuple[str, ...], int, int]]:
    """Testimonies of these keys, from and until these times; the first two keys are of one operator."""
    keys = [key.verifier_key for key in OTHERS]
    operators = {keys[0]: "One", keys[1]: "One", keys[2]: "Two"}
    signed = [
        said.Signed(replace(PLAIN, first_seen=first, last_tried=last), key)
        for number, first, last in spoken
        for key in [[*keys, PEER_KEY.verifier_key][number]]
    ]
    return [(weight.operators, weight.since, weight.until) for weight in said.weigh_testimony(signed, operators)]


def test_operators_are_counted_whose_windows_overlap() -> None:
    assert weigh((0, 10, 20), (2, 15, 30)) == [(("One", "Two"), 15, 20)]
    assert weigh((0, 10, 20), (2, 20, 30)) == [(("One", "Two"), 20, 20)]
    assert weigh((0, 10, 20), (2, 21, 30)) == [(("Two",), 21, 30)]


def test_two_keys_of_one_operator_count_once_and_strangers_not_at_all() -> None:
    assert weigh((0, 10, 20), (1, 10, 20)) == [(("One",), 10, 20)]
    assert weigh((3, 10, 20)) == []


def test_heads_are_weighed_apart() -> None:
    key = OTHERS[0].verifier_key
    signed = [said.Signed(replace(PLAIN, size=size), key) for size in (12, 9)]
    assert [weight.head.size for weight in said.weigh_testimony(signed, {key: "One"})] == [9, 12]


# What a monitor does with it.


def about(size: int, last: int = 2000, root: Hash = ROOT) -> said.Testimony:
    return replace(PLAIN, size=size, last_tried=last, root_hash=root)


def hear(state: State, testimony: said.Testimony, key: SignerKey = PEER_KEY) -> tuple[State, list[object]]:
    after, effects = received(state, Heard(sign(testimony, key)))
    return after, [*effects]


def test_a_peer_s_testimony_is_kept_and_not_passed_on() -> None:
    after, effects = hear(monitor(9), about(12))
    assert effects == [KeepTestimony(sign(about(12), PEER_KEY), P)]
    assert [one.testimony for one in after.testimony[ID]] == [about(12)]
    again, nothing = hear(after, about(12))
    assert (nothing, again.testimony) == ([], after.testimony)


def test_a_later_testimony_takes_the_place_of_an_earlier_one_about_the_same_head() -> None:
    after = hear(hear(monitor(9), about(12))[0], about(12, 3000))[0]
    assert [one.testimony.last_tried for one in after.testimony[ID]] == [3000]


def test_there_is_room_for_a_few_of_each_peer_and_some_of_each_log() -> None:
    now = monitor(9)
    for size in range(10, 20):
        now, _ = hear(now, about(size))
    assert [one.testimony.size for one in now.testimony[ID]] == list(range(20 - MAX_TESTIMONY_OF_ONE, 20))
    peers = {bytes([number]) * 32: signer(f"peer {number}".replace(" ", "-")) for number in range(20)}
    now = monitor(9, rules=replace(RULES, testifiers={id_: key.verifier_key for id_, key in peers.items()}))
    for id_, key in peers.items():
        now, _ = received(now, Heard(sign(about(12), key)), peer=id_)
    assert [one.peer for one in now.testimony[ID]] == list(peers)[-MAX_TESTIMONY:]


def test_a_peer_speaks_in_its_own_name_only() -> None:
    unknown = [Count(Ignored.TESTIMONY_UNDER_UNKNOWN_KEY)]
    assert hear(monitor(9), about(12), OTHERS[0])[1] == unknown
    assert received(monitor(9), Heard(sign(about(12), PEER_KEY)), peer=Q)[1] == unknown
    forged = sign(about(12), PEER_KEY).replace(b"\n12 ", b"\n13 ")
    assert [type(one) for one in received(monitor(9), Heard(forged))[1]] == [Refuse]
    assert [type(one) for one in received(monitor(9), Heard(b"nonsense"))[1]] == [Refuse]


def test_testimony_about_another_log_or_beyond_the_budget_is_counted() -> None:
    elsewhere = replace(PLAIN, origin="log.example/other")
    assert hear(monitor(9), elsewhere)[1] == [Count(Ignored.TESTIMONY_OF_UNKNOWN_LOG)]
    poor = replace(monitor(9), contacts={P: Contact(budget=Budget(0, 0, 0, 0))})
    assert hear(poor, about(12))[1] == [Count(Ignored.PEER_OVER_BUDGET)]


def test_what_was_said_about_heads_that_are_served_is_forgotten() -> None:
    now = hear(hear(monitor(9), about(12))[0], about(20))[0]
    grown, _ = run(now, Advanced(ID, head_of(LOG, 12), None))
    assert [one.testimony.size for one in grown.testimony[ID]] == [20]


def test_the_own_testimony_goes_to_the_links() -> None:
    note = sign(PLAIN, OTHERS[0])
    _, effects = run(monitor(9), core.Testified(note))
    assert (sent(effects), sent(effects, Q)) == ([Heard(note)], [Heard(note)])
