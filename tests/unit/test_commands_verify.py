"""``sameview verify``: what its options mean, and that nothing of a file is repeated before somebody trusted signed it.

What others signed and proved is verified in tests/contract/test_vectors_cli.py.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.clock import SystemClock
from tests.commands import Sameview
from tests.evidence_cases import LOG, W1_MLDSA, make_rotation, make_subtree
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog, policy, signer
from tests.keys import log_key, sign_checkpoint
from tlog.checkpoint import Checkpoint
from tlog.evidence import same_size
from tlog.hashing import Hash
from tlog.keys import KeyType, VerifierKey
from tlog.proofs import prove_inclusion
from tlog.signed_checkpoint import open_checkpoint
from tlog.tlog_proof import TlogProof

ENTRIES = [b"entry %d" % number for number in range(9)]
INDEX = 5
SECRET = "EVIL\u202e\x9b31m"  # what no malformed input may bring to a terminal


@dataclass(frozen=True, slots=True)
class Files:
    """A checkpoint, a proof, its entry, evidence and a policy, written down."""

    folder: Path
    log: FakeLog

    @property
    def vkey(self) -> str:
        return self.log.key.verifier_key.format()

    def path(self, name: str) -> Path:
        return self.folder / name

    def write(self, name: str, data: bytes) -> Path:
        self.path(name).write_bytes(data)
        return self.path(name)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    log = FakeLog(ENTRIES)
    made = Files(tmp_path, log)
    note = log.sign(time=SystemClock().now())
    made.write("checkpoint", note)
    made.write("proof", TlogProof(INDEX, tuple(prove_inclusion(INDEX, 9, log.node)), note).format())
    made.write("entry", ENTRIES[INDEX])
    made.write("policy", policy().format())
    sides = (open_checkpoint(one.sign(9), [log.key.verifier_key]) for one in (log, FakeLog(ENTRIES[::-1])))
    made.write("evidence", same_size(*sides).format())
    return made


# What the options mean.


@pytest.mark.parametrize("what", ["checkpoint", "proof", "evidence"])
def test_somebody_has_to_be_trusted(sameview: Sameview, files: Files, what: str) -> None:
    more = ["--entry", files.path("entry")] if what == "proof" else []
    ran = sameview("verify", what, files.path(what), *more)
    assert (ran.code, ran.err) == (2, "sameview: say whom you trust: give --policy, --vkey or both\n")
    ran = sameview("verify", what, files.path(what), *more, "--policy", files.path("policy"), "--origin", ORIGIN)
    assert (ran.code, "--origin says which log a --vkey speaks for" in ran.err) == (2, True)
    for trusted in (["--vkey", files.vkey], ["--policy", files.path("policy")]):
        assert sameview("verify", what, files.path(what), *more, *trusted).code == 0


def test_with_both_the_policy_judges_witnesses_and_the_vkey_names_the_log(sameview: Sameview, files: Files) -> None:
    checkpoint = ("verify", "checkpoint", files.path("checkpoint"), "--policy", files.path("policy"))
    assert sameview(*checkpoint, "--vkey", files.vkey).code == 0
    stranger = log_key("log.example/two").verifier_key
    assert sameview(*checkpoint, "--vkey", stranger, "--origin", ORIGIN).code == 1
    files.write("checkpoint", files.log.sign(witnesses=WITNESSES[:1]))
    ran = sameview(*checkpoint, "--vkey", files.vkey)
    said = "FAILED: the cosignatures on the checkpoint do not reach the quorum of the policy"
    assert (ran.code, ran.out.splitlines()[0]) == (1, said)


def test_an_origin_stands_for_the_name_of_the_key(sameview: Sameview, files: Files) -> None:
    files.write("checkpoint", FakeLog(ENTRIES, key=signer("sum.example")).sign())
    checkpoint = ("verify", "checkpoint", files.path("checkpoint"), "--vkey", signer("sum.example").verifier_key)
    assert sameview(*checkpoint).code == 1
    assert sameview(*checkpoint, "--origin", ORIGIN).code == 0
    assert sameview(*checkpoint, "--origin", "log.example/two").code == 1


def test_an_age_is_counted_from_now(sameview: Sameview, files: Files) -> None:
    checkpoint = ("verify", "checkpoint", files.path("checkpoint"), "--policy", files.path("policy"))
    assert sameview(*checkpoint, "--max-age", "600").code == 0
    files.write("checkpoint", files.log.sign(time=SystemClock().now() - 1000))
    ran = sameview(*checkpoint, "--max-age", "600", "--explain", "--json")
    assert (ran.code, ran.document["holds"]) == (1, False)
    assert "that are recent enough" in ran.document["verdict"]
    assert sum(" seconds too old" in line for line in ran.document["explanation"]) == 3
    assert sameview(*checkpoint).code == 0
    assert sameview(*checkpoint, "--max-age", "-1").code == 2


@pytest.mark.parametrize(("ahead", "code"), [(30, 0), (3600, 1)])
def test_a_clock_may_be_a_minute_ahead_and_no_more(sameview: Sameview, files: Files, ahead: int, code: int) -> None:
    files.write("checkpoint", files.log.sign(time=SystemClock().now() + ahead))
    checkpoint = ("verify", "checkpoint", files.path("checkpoint"), "--policy", files.path("policy"))
    ran = sameview(*checkpoint, "--max-age", "600")
    assert (ran.code, "one states a time that has not come yet" in ran.out) == (code, code == 1)
    assert sameview(*checkpoint).code == 0


def test_two_keys_of_one_name_are_told_apart(sameview: Sameview, files: Files) -> None:
    keys = log_key(), signer(ORIGIN, KeyType.COSIGNATURE_MLDSA44)
    checkpoint = Checkpoint(ORIGIN, 9, Hash(bytes(32)))
    files.write("checkpoint", sign_checkpoint(checkpoint, *keys))
    trusted = [word for key in keys for word in ("--vkey", key.verifier_key)]
    ran = sameview("verify", "checkpoint", files.path("checkpoint"), *trusted)
    assert [line for line in ran.out.splitlines() if "signed by" in line] == [
        f"  signed by: {ORIGIN} (ed25519)",
        f"  signed by: {ORIGIN} (cosignature mldsa44)",
    ]
    document = sameview("verify", "checkpoint", files.path("checkpoint"), *trusted, "--json").document
    assert document["signed_by"] == [ORIGIN, ORIGIN]


def test_a_time_has_its_date_beside_it_for_people_alone(sameview: Sameview, files: Files) -> None:
    files.write("checkpoint", files.log.sign(time=1_800_000_000))
    checkpoint = ("verify", "checkpoint", files.path("checkpoint"), "--policy", files.path("policy"), "--explain")
    assert "cosigned at Unix time 1800000000 (2027-01-15 08:00:00 UTC)\n" in sameview(*checkpoint).out
    assert "UTC" not in sameview(*checkpoint, "--json").out


@pytest.mark.parametrize(
    ("file", "command", "meant"),
    [
        ("proof", "checkpoint", "proof"),
        ("evidence", "checkpoint", "evidence"),
        ("evidence", "proof", "evidence"),
        ("proof", "view", "proof"),
        ("proof", "completeness", "proof"),
        ("evidence", "testimony", "evidence"),
        ("proof", "evidence", "proof"),
    ],
)
def test_a_file_for_another_command_names_it(
    sameview: Sameview, files: Files, file: str, command: str, meant: str
) -> None:
    trusted = ["--vkey", files.vkey] if command == "testimony" else ["--policy", files.path("policy")]
    entry = ["--entry", files.path("entry")] if command == "proof" else []
    ran = sameview("verify", command, files.path(file), *trusted, *entry)
    said = f"this is for `sameview verify {meant}`, not for `sameview verify {command}`"
    assert (ran.code, ran.err) == (2, f"sameview: {files.path(file)}: {said}\n")


def test_a_proof_of_another_entry_says_what_may_be_wrong(sameview: Sameview, files: Files) -> None:
    proof = ("verify", "proof", files.path("proof"), "--entry", files.path("policy"), "--policy", files.path("policy"))
    ran = sameview(*proof)
    assert ran.code == 1
    assert ran.out.startswith(
        "FAILED: the proof leads to another root\n"
        "  either the file is not the entry that the proof is of, or the proof was altered\n"
    )
    assert sameview(*proof, "--json").document["verdict"] == "the proof leads to another root"
    assert "altered" not in sameview(*proof[:5], "--vkey", log_key("log.example/two").verifier_key).out


def test_evidence_that_convicts_nobody_who_was_named_says_so(sameview: Sameview, files: Files) -> None:
    stranger = log_key(ORIGIN, seed=9).verifier_key
    ran = sameview("verify", "evidence", files.path("evidence"), "--vkey", stranger)
    assert (ran.code, "note" in ran.out, "name the keys of the log" in ran.out) == (1, False, True)


def test_a_log_key_alone_states_no_age(sameview: Sameview, files: Files) -> None:
    checkpoint = ("verify", "checkpoint", files.path("checkpoint"), "--vkey", files.vkey)
    ran = sameview(*checkpoint, "--max-age", 10**12, "--explain")
    assert (ran.code, "signed, which states no time" in ran.out) == (1, True)


def test_evidence_says_what_the_key_did(sameview: Sameview, files: Files) -> None:
    ran = sameview("verify", "evidence", files.path("evidence"), "--vkey", files.vkey, "--explain")
    first, *rest = ran.out.splitlines()
    said = "OK: same-size: the key log.example/one contradicted itself: it signed two roots for one size"
    assert (ran.code, first) == (0, said)
    assert f"  accused: {files.vkey}" in rest
    assert sum(line.startswith("  statements: size 9, root ") for line in rest) == 2
    assert rest[-2:] == [f"  - checkpoint {n}: log {ORIGIN} (ed25519): signed" for n in (1, 2)]


def test_evidence_says_which_statements_contradict_each_other(sameview: Sameview, files: Files) -> None:
    log = ("--vkey", LOG.verifier_key, "--explain")
    ran = sameview("verify", "evidence", files.write("rotation", make_rotation().format()), *log)
    first, *rest = ran.out.splitlines()
    said = "OK: rotation: the key log.example/one contradicted itself: it signed two rotation records of one number"
    assert (ran.code, first) == (0, said)
    assert sum(line.startswith("  statements: rotation 1 to log.example/one+") for line in rest) == 2
    assert rest[-2:] == [f"  - statement {n}: a line that names the key {ORIGIN}" for n in (1, 2)]
    cosigner = ("--vkey", W1_MLDSA.verifier_key)
    ran = sameview("verify", "evidence", files.write("subtree", make_subtree().format()), *cosigner)
    assert ran.code == 0
    assert sum(line.startswith("  statements: entries 16 to 31, hash ") for line in ran.out.splitlines()) == 2
    ran = sameview("verify", "evidence", files.path("subtree"), *log)
    assert (ran.code, ran.out.splitlines()[-1]) == (
        1,
        "  - statement 2: a line of a key that is not trusted",
    )


def test_evidence_is_explained_where_it_convicts_nobody(sameview: Sameview, files: Files) -> None:
    stranger = log_key(ORIGIN, seed=9).verifier_key
    ran = sameview("verify", "evidence", files.path("evidence"), "--vkey", stranger, "--explain")
    explained = [f"  - checkpoint {n}: log {ORIGIN} (ed25519): no signature" for n in (1, 2)]
    assert (ran.code, ran.out.splitlines()[1:]) == (1, explained)


def test_an_entry_may_be_empty_or_large(sameview: Sameview, files: Files) -> None:
    for entry in (b"", bytes(1_000_000)):
        log = FakeLog([entry])
        proof = files.write("proof", TlogProof(0, (), log.sign()).format())
        ran = sameview("verify", "proof", proof, "--entry", files.write("entry", entry), "--vkey", files.vkey)
        assert ran.code == 0


def test_a_key_that_disturbs_a_terminal_is_shown_with_escapes(sameview: Sameview, files: Files) -> None:
    odd = signer("log.example/\u202eeno")
    files.write("checkpoint", sign_checkpoint(Checkpoint(odd.name, 1, Hash(bytes(32))), odd))
    ran = sameview("verify", "checkpoint", files.path("checkpoint"), "--vkey", odd.verifier_key, "--explain")
    assert (ran.code, "\u202e" in ran.out, ran.out.count(r"\u202e")) == (0, False, 3)


# What is wrong with an input.


@pytest.mark.parametrize("what", ["checkpoint", "proof", "evidence"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        SECRET.encode(),
        f"{SECRET}\n1\n{'A' * 43}=\n\n\N{EM DASH} {SECRET} AAAA\n".encode(),
        f"c2sp.org/tlog-proof@v1\nindex {SECRET}\n\n{SECRET}\n".encode(),
        f"c2sp.org/tlog-proof@v1\nindex 1\n\n{SECRET}\n\n".encode(),
        f"tlog-evidence@v1\ntype {SECRET}\n\n".encode(),
        f"tlog-evidence@v1\ntype same-size\n\n{SECRET}\n--\n{SECRET}\n".encode(),
        b"\xff" * 100,
        b"A" * 1_000_000,
    ],
)
def test_malformed_input_ends_with_2_and_is_never_repeated(
    sameview: Sameview, files: Files, what: str, data: bytes
) -> None:
    files.write(what, data)
    more = ["--entry", files.path("entry")] if what == "proof" else []
    ran = sameview("verify", what, files.path(what), *more, "--vkey", files.vkey, "--explain")
    assert (ran.code, ran.out, "EVIL" in ran.err) == (2, "", False)
    assert ran.err.startswith(f"sameview: {files.path(what)}")
    assert ran.err.count("\n") == 1


def test_what_nobody_trusted_signed_is_not_shown(sameview: Sameview, files: Files) -> None:
    stranger = signer("evil.example")
    note = sign_checkpoint(Checkpoint("EVIL origin", 1, Hash(bytes(32))), stranger)
    proof = files.write("proof", TlogProof(0, (), note).format())
    verify = ("verify", "proof", proof, "--entry", files.path("entry"), "--vkey", files.vkey, "--explain")
    for options in ((), ("--json",)):
        ran = sameview(*verify, *options)
        assert (ran.code, "evil" in (ran.out + ran.err).lower()) == (1, False)


@pytest.mark.parametrize("what", ["checkpoint", "proof", "evidence", "entry", "policy"])
def test_a_file_that_cannot_be_read_ends_with_2_and_its_name(sameview: Sameview, files: Files, what: str) -> None:
    kind = what if what in ("checkpoint", "proof", "evidence") else "proof"
    more = ["--entry", files.path("entry")] if kind == "proof" else []
    files.path(what).unlink()
    command = ("verify", kind, files.path(kind), *more, "--policy", files.path("policy"))
    ran = sameview(*command)
    assert (ran.code, ran.err) == (2, f"sameview: cannot read {files.path(what)}: No such file or directory\n")
    files.path(what).mkdir()
    assert sameview(*command).code == 2


def test_a_policy_that_is_malformed_names_file_and_line(sameview: Sameview, files: Files) -> None:
    files.write("policy", policy().format() + f"witness {SECRET}\n".encode("utf-8", "surrogateescape"))
    ran = sameview("verify", "checkpoint", files.path("checkpoint"), "--policy", files.path("policy"))
    assert (ran.code, "EVIL" in ran.err) == (2, False)
    assert ran.err.startswith(f"sameview: {files.path('policy')}: policy line 7: ")


def test_a_vkey_that_is_malformed_is_named_by_its_place(sameview: Sameview, files: Files) -> None:
    checkpoint = ("verify", "checkpoint", files.path("checkpoint"), "--vkey", files.vkey)
    ran = sameview(*checkpoint, "--vkey", f"{SECRET}+01020304+AAAA")
    assert (ran.code, "EVIL" in ran.err) == (2, False)
    assert ran.err.startswith("sameview: --vkey number 2: ")


def test_keys_that_no_signature_can_tell_apart_are_refused(sameview: Sameview, files: Files) -> None:
    # Found by trying: their ids, the first four bytes of a hash, are the same.
    one, other = (
        VerifierKey.of(ORIGIN, KeyType.COSIGNATURE_MLDSA44, number.to_bytes(1312, "big")) for number in (80434, 99957)
    )
    files.write("policy", f"log {other}\nquorum none\n".encode())
    said = "sameview: two different trusted keys have the same name and key ID: find out which of them is right"
    for options in (("--vkey", other), ("--policy", files.path("policy"))):
        ran = sameview("verify", "checkpoint", files.path("checkpoint"), "--vkey", one, *options)
        assert (ran.code, ran.out, ran.err.startswith(said)) == (2, "", True)
