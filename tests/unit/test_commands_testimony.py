"""``sameview verify testimony``: it counts who said what, and never calls it a proof."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from gossip.testimony import MAX_TESTIMONIES, MAX_TESTIMONY_BYTES, UNSERVED, format_testimonies
from gossip.testimony import Testimony as Said  # by its own name pytest would take it for a test
from tests.commands import Ran, Sameview
from tests.keys import log_key
from tlog.hashing import Hash
from tlog.keys import SignerKey
from tlog.note import Note, message_to_sign, signature_line

PEERS = [log_key(f"monitor.example/m{number}") for number in (1, 2, 3)]
ROOT = Hash(bytes(32))


def stated(key: SignerKey, first: int, last: int, size: int = 9) -> bytes:
    text = Said("log.example/one", UNSERVED, size, ROOT, first, last, 5).format()
    line = signature_line(key.verifier_key, 0, key.sign(message_to_sign(key.verifier_key, text, 0)))
    return Note(text, (line,)).format()


def run(sameview: Sameview, folder: Path, raw: bytes, keys: Sequence[SignerKey], *options: object) -> Ran:
    (folder / "said.tlog-testimony").write_bytes(raw)
    named = [option for key in keys for option in ("--vkey", key.verifier_key)]
    return sameview("verify", "testimony", folder / "said.tlog-testimony", *named, *options)


def test_counts_the_keys_whose_windows_have_a_moment_in_common(sameview: Sameview, tmp_path: Path) -> None:
    raw = format_testimonies([stated(PEERS[0], 10, 20), stated(PEERS[1], 15, 30), stated(PEERS[2], 25, 40)])
    ran = run(sameview, tmp_path, raw, PEERS[:2], "--json")
    (said,) = ran.document["unserved"]
    assert (ran.code, ran.document["holds"]) == (0, True)
    assert said.endswith("2 monitors (monitor.example/m1, monitor.example/m2) from Unix time 15 to 20")


def test_says_that_it_is_no_proof(sameview: Sameview, tmp_path: Path) -> None:
    ran = run(sameview, tmp_path, stated(PEERS[0], 10, 20), PEERS)
    first, second = ran.out.splitlines()
    assert (ran.code, first) == (0, "OK: testimony, which is no proof: monitors said that nobody serves this")
    assert second.startswith("  unserved: log.example/one at size 9, root AAAA")
    said = "from Unix time 10 to 20 (1970-01-01 00:00:10 UTC to 1970-01-01 00:00:20 UTC)"
    assert second.endswith(f": 1 monitor (monitor.example/m1) {said}")
    assert "This is no proof." in sameview("verify", "testimony", "--help").out


def test_each_head_is_counted_for_itself(sameview: Sameview, tmp_path: Path) -> None:
    raw = format_testimonies([stated(PEERS[0], 10, 20), stated(PEERS[1], 10, 20, size=8)])
    assert len(run(sameview, tmp_path, raw, PEERS, "--json").document["unserved"]) == 2


def test_what_only_strangers_said_does_not_count(sameview: Sameview, tmp_path: Path) -> None:
    ran = run(sameview, tmp_path, stated(PEERS[0], 10, 20), PEERS[1:])
    assert (ran.code, ran.out) == (1, "FAILED: none of the keys stated any of this\n")


def test_a_line_of_a_key_that_does_not_verify_fails(sameview: Sameview, tmp_path: Path) -> None:
    raw = stated(PEERS[0], 10, 20).replace(b"\n10 20 5\n", b"\n10 21 5\n")
    assert run(sameview, tmp_path, raw, PEERS).code == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"EVIL\n\nEVIL\n",
        stated(PEERS[0], 10, 20).replace(b"unserved", b"EVIL"),
        stated(PEERS[0], 10, 20) + b"--\n",
        stated(PEERS[0], 10, 20).replace(b"10 20 5", b"20 10 5"),
        bytes((MAX_TESTIMONY_BYTES + 4) * MAX_TESTIMONIES),
    ],
)
def test_what_is_no_testimony_ends_with_2(sameview: Sameview, tmp_path: Path, raw: bytes) -> None:
    ran = run(sameview, tmp_path, raw, PEERS)
    assert (ran.code, ran.out, "EVIL" in ran.err) == (2, "", False)


def test_somebody_has_to_be_named(sameview: Sameview, tmp_path: Path) -> None:
    assert run(sameview, tmp_path, stated(PEERS[0], 10, 20), ()).code == 2
