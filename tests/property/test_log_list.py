"""Log lists are read back as they were written, whatever is written around them, and merging one twice adds nothing."""

from functools import cache
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.keys import log_key, mldsa_key
from tlog.errors import FormatError
from tlog.keys import VerifierKey
from tlog.log_list import MAX_QPD, ListedLog, LogList, merge

WORDS = st.text(st.characters(min_codepoint=0x21, codec="utf-8"), min_size=1, max_size=8)
TEXTS = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)


@cache
def keys() -> list[VerifierKey]:
    return [log_key(f"log.example/{n}").verifier_key for n in range(4)] + [mldsa_key("log.example/0").verifier_key]


@st.composite
def lists(draw: st.DrawFn) -> LogList:
    qpd, contact = st.none() | st.integers(1, MAX_QPD), st.none() | TEXTS
    logs = [
        ListedLog(key, draw(st.just(key.name) | TEXTS), draw(qpd), draw(contact))
        for key in draw(st.lists(st.sampled_from(keys()), max_size=5))
    ]
    return LogList(tuple({log.origin: log for log in logs}.values()))


@given(lists())
def test_what_is_written_is_read_back_as_the_same_list(found: LogList) -> None:
    assert LogList.parse(found.format()) == found


@given(lists(), st.randoms(use_true_random=False))
def test_comments_blanks_and_unknown_keywords_mean_nothing(found: LogList, choices: Random) -> None:
    noise = [b"", b"\n", b" \t\n", b"# vkey \xff\n", b"\t#\n"]
    lines = found.format().split(b"\n")
    noisy = b"".join(choices.choice(noise) + choices.choice([b"", b" ", b"\t"]) + line + b" \n" for line in lines)
    assert LogList.parse(noisy + b"weight 3\nlast") == found


@given(lists(), st.data())
def test_a_changed_octet_is_refused_or_read_as_what_it_says(found: LogList, data: st.DataObject) -> None:
    raw = bytearray(found.format())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = LogList.parse(bytes(raw))
    except FormatError:
        return
    assert LogList.parse(changed.format()) == changed


@given(lists(), lists())
def test_a_list_only_adds_and_only_once(first: LogList, second: LogList) -> None:
    known = {log.origin: (log.key,) for log in merge({}, first).added}
    merged = merge(known, second)
    assert not known.keys() & {log.origin for log in merged.added}
    assert all(known[log.origin] != (log.key,) for log in merged.conflicts)
    known.update({log.origin: (log.key,) for log in merged.added})
    assert merge(known, second).added == ()
