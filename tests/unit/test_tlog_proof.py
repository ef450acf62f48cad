"""Proof files: their one spelling, and that nothing in them is believed before the keys and the policy agree."""

from dataclasses import replace

import pytest

from tests.keys import cosign, log_key, sign_checkpoint, witness_key
from tests.rfc6962 import ReferenceTree
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.hashing import Hash, leaf_hash
from tlog.keys import SignerKey
from tlog.policy import Policy
from tlog.tlog_proof import MAX_PATH, TlogProof
from tlog.trust import Trust

ORIGIN = "log.example/one"
LOG = log_key(ORIGIN)
W1, W2 = witness_key("witness.example/1"), witness_key("witness.example/2")
ENTRIES = [b"entry %d" % n for n in range(7)]
TREE = ReferenceTree(ENTRIES)

HASH = b"A" * 43 + b"="
GOOD = b"c2sp.org/tlog-proof@v1\nindex 5\n" + HASH + b"\n\nexample.com/log\n9\n\nsignatures\n"


def policy(*lines: str) -> Policy:
    witnesses = [f"witness w{n} {key.verifier_key}" for n, key in enumerate((W1, W2), start=1)]
    text = "".join(line + "\n" for line in [f"log {LOG.verifier_key}", *witnesses, *lines])
    return Policy.parse(text.encode())


def proof(index: int, size: int = 7, *signers: SignerKey) -> TlogProof:
    checkpoint = Checkpoint(ORIGIN, size, TREE.mth(0, size))
    note = sign_checkpoint(checkpoint, *(signers or (LOG,)))
    return TlogProof(index, tuple(TREE.path(index, 0, size)), note)


def trust(*keys: SignerKey, policy: Policy | None = None) -> Trust:
    return Trust(tuple(key.verifier_key for key in keys), policy=policy)


def refuse(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        TlogProof.parse(data)


# The format.


def test_reads_index_path_and_checkpoint() -> None:
    # SPEC: P-6 hash lines, an empty line, and the checkpoint verbatim
    assert TlogProof.parse(GOOD) == TlogProof(5, (Hash(bytes(32)),), b"example.com/log\n9\n\nsignatures\n")


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        GOOD.replace(b"index", b"extra AAEC\nindex"),
        GOOD.replace(HASH + b"\n", b""),
        GOOD.replace(HASH, b"\n".join([HASH] * MAX_PATH)),
        GOOD + b"\n\n\xff\r",
    ],
)
def test_writes_back_what_it_read(data: bytes) -> None:
    # SPEC: P-6 the checkpoint is included verbatim, whatever it is
    assert TlogProof.parse(data).format() == data


@pytest.mark.parametrize(
    "first", [b"c2sp.org/tlog-proof@v2", b"c2sp.org/tlog-proof@v1 ", b"c2sp.org/tlog-proof@v1\r", b""]
)
def test_the_first_line_is_one_exact_string(first: bytes) -> None:
    # SPEC: P-2 the first line is c2sp.org/tlog-proof@v1
    refuse(GOOD.replace(b"c2sp.org/tlog-proof@v1", first), "does not start with the line")


def test_extra_data_is_optional_and_kept() -> None:
    # SPEC: P-3 a second line with opaque base64
    assert TlogProof.parse(GOOD.replace(b"index", b"extra AAEC\nindex")).extra == b"\0\1\2"
    assert TlogProof.parse(GOOD).extra is None


@pytest.mark.parametrize("value", [b"", b"AAE", b"AAF=", b"AAEC ", b" AAEC", b"AA\tEC"])
def test_extra_data_has_one_spelling_and_is_not_empty(value: bytes) -> None:
    # SPEC: P-3 the line is omitted when there is no extra data
    refuse(GOOD.replace(b"index", b"extra " + value + b"\nindex"), "extra")


def test_extra_data_stands_before_the_index_and_once() -> None:
    # SPEC: P-3 the second line. SPEC: P-5 the next line is the index
    refuse(GOOD.replace(b"index 5", b"index 5\nextra AAEC"), "a hash of the proof is not base64")
    refuse(GOOD.replace(b"index", b"extra AAEC\nextra AAEC\nindex"), "no index line")


@pytest.mark.parametrize("line", [b"", b"Index 5", b"index", b"index\t5", b" index 5", b"5"])
def test_the_index_line_is_there(line: bytes) -> None:
    # SPEC: P-5 the next line starts with index and a space
    refuse(GOOD.replace(b"index 5\n", line + b"\n" if line else b""), "no index line")


def test_a_proof_can_end_after_its_first_line_only_by_mistake() -> None:
    refuse(b"c2sp.org/tlog-proof@v1\n\ncheckpoint\n", "no index line")
    refuse(b"c2sp.org/tlog-proof@v1\nextra AAEC\n\ncheckpoint\n", "no index line")


@pytest.mark.parametrize("index", [b"05", b"+5", b"-5", b"5 ", b" 5", b"5\r", b"", b"0x5", b"\xd9\xa3", b"9" * 20])
def test_the_index_is_a_canonical_decimal(index: bytes) -> None:
    # SPEC: P-5 an ASCII decimal with no leading zeroes
    refuse(GOOD.replace(b"index 5", b"index " + index), "the index of a proof")


def test_an_index_that_no_tree_can_have_is_refused() -> None:
    # SPEC: P-12 the index lies below the size
    refuse(GOOD.replace(b"index 5", b"index 9223372036854775807"), "no tree is large enough")
    assert TlogProof.parse(GOOD.replace(b"index 5", b"index 9223372036854775806")).index == 2**63 - 2


@pytest.mark.parametrize(
    "line", [HASH[1:], HASH + b" ", b" " + HASH, HASH[:-2] + b"B=", b"AAAA", HASH + HASH, b"A" * 86 + b"=="]
)
def test_each_hash_is_the_canonical_base64_of_32_bytes(line: bytes) -> None:
    # SPEC: P-6 one SHA-256 hash a line
    refuse(GOOD.replace(HASH, line), "a hash of the proof")


def test_a_path_longer_than_any_tree_is_refused() -> None:
    # SPEC: P-12 the proof has exactly the length that index and size fix
    refuse(GOOD.replace(HASH, b"\n".join([HASH] * (MAX_PATH + 1))), "more hashes than any tree is high")


def test_the_proof_ends_at_the_first_empty_line() -> None:
    # SPEC: P-6 the checkpoint has an empty line of its own
    assert TlogProof.parse(GOOD).checkpoint_note.count(b"\n\n") == 1
    refuse(GOOD.replace(b"\n\n", b"\n"), "no empty line")


def test_a_missing_checkpoint_is_refused() -> None:
    # SPEC: P-12 no line is missing
    refuse(GOOD[: GOOD.index(b"\n\n") + 2], "has no checkpoint")


@pytest.mark.parametrize(
    ("index", "hashes", "note", "extra"),
    [(-1, 0, b"n", None), (2**63 - 1, 0, b"n", None), (0, 64, b"n", None), (0, 0, b"", None), (0, 0, b"n", b"")],
)
def test_a_proof_that_could_not_be_read_back_is_a_mistake(
    index: int, hashes: int, note: bytes, extra: bytes | None
) -> None:
    with pytest.raises(ValueError):
        TlogProof(index, (Hash(bytes(32)),) * hashes, note, extra)


# Verifying. Whom to trust, and for what, is the matter of test_trust.py.


@pytest.mark.parametrize("size", range(1, 8))
def test_every_entry_of_a_tree_is_proven_and_no_other(size: int) -> None:
    # SPEC: P-7 the leaf hash is computed from the entry. SPEC: P-10 the inclusion proof leads to the signed root
    for index in range(size):
        made = TlogProof.parse(proof(index, size).format())
        assert made.verify(leaf_hash(ENTRIES[index]), trust(LOG)).size == size
        with pytest.raises(ProofError):
            made.verify(leaf_hash(b"another entry"), trust(LOG))


def test_the_only_entry_of_a_tree_needs_no_hashes() -> None:
    assert proof(0, 1).path == ()


@pytest.mark.parametrize(("index", "size"), [(7, 7), (8, 7), (2**63 - 2, 7), (1, 1), (0, 0)])
def test_an_index_beyond_the_tree_proves_nothing(index: int, size: int) -> None:
    # SPEC: P-12 the index lies below the size; a tree of size 0 has no entries
    checkpoint = sign_checkpoint(Checkpoint(ORIGIN, size, TREE.mth(0, size)), LOG)
    with pytest.raises(ProofError):
        TlogProof(index, (), checkpoint).verify(TREE.mth(0, size), trust(LOG))


def test_a_path_of_another_length_proves_nothing() -> None:
    # SPEC: P-12 the proof has exactly the length that index and size fix
    good = proof(3)
    for path in (good.path[:-1], good.path[1:], (*good.path, good.path[-1]), ()):
        with pytest.raises(ProofError):
            replace(good, path=path).verify(leaf_hash(ENTRIES[3]), trust(LOG))


def test_extra_data_plays_no_part() -> None:
    # SPEC: P-4 extra data is not trusted by itself
    opened = replace(proof(3), extra=b"anything").verify(leaf_hash(ENTRIES[3]), trust(LOG))
    assert opened == proof(3).verify(leaf_hash(ENTRIES[3]), trust(LOG))


def test_what_is_not_a_signed_checkpoint_is_malformed() -> None:
    with pytest.raises(FormatError):
        TlogProof.parse(GOOD).verify(leaf_hash(b""), trust(LOG))


def test_the_log_itself_has_to_have_signed() -> None:
    # SPEC: P-8 a log public key, not only witnesses
    with pytest.raises(SignatureError, match="no log key signed"):
        proof(3, 7, W1, W2).verify(leaf_hash(ENTRIES[3]), trust(policy=policy("quorum w1")))


def test_the_quorum_of_the_policy_has_to_be_reached() -> None:
    # SPEC: P-9 all cosignatures are verified, then the policy judges
    both = trust(policy=policy("group g all w1 w2", "quorum g"))
    leaf = leaf_hash(ENTRIES[3])
    assert proof(3, 7, LOG, W1, W2).verify(leaf, both).signed_by(W2.verifier_key)
    with pytest.raises(SignatureError, match="do not reach the quorum"):
        proof(3, 7, LOG, W1).verify(leaf, both)


def test_the_signatures_are_judged_before_the_proof() -> None:
    # SPEC: P-9 comes before SPEC: P-10
    with pytest.raises(SignatureError, match="do not reach the quorum"):
        proof(3).verify(leaf_hash(b"another entry"), trust(policy=policy("quorum w1")))


def test_timestamps_are_returned_and_not_judged() -> None:
    # SPEC: P-11 the timestamp value is ignored by this procedure
    old = cosign(proof(3).checkpoint_note, W1, time=1)
    opened = replace(proof(3), checkpoint_note=old).verify(leaf_hash(ENTRIES[3]), trust(policy=policy("quorum w1")))
    assert [signature.timestamp for signature in opened.signatures] == [None, 1]
