"""Proof files hold for what was logged and for nothing else: every proof there is, and every changed bit of one."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.keys import log_key, sign_checkpoint, witness_key
from tests.rfc6962 import ReferenceTree
from tests.vectors import vector
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, ProofError, TlogError
from tlog.hashing import Hash, leaf_hash
from tlog.keys import VerifierKey
from tlog.policy import Policy
from tlog.tlog_proof import TlogProof
from tlog.trust import Trust

HASHES = st.binary(min_size=32, max_size=32).map(Hash)
PROOFS = st.builds(
    TlogProof,
    st.integers(0, 2**63 - 2),
    st.lists(HASHES, max_size=63).map(tuple),
    st.binary(min_size=1, max_size=200),
    st.none() | st.binary(min_size=1, max_size=200),
)

LOG, WITNESS = log_key(), witness_key()
POLICY = Policy.parse(f"log {LOG.verifier_key}\nwitness w {WITNESS.verifier_key}\nquorum w\n".encode())
TRUST = Trust(policy=POLICY)


@given(PROOFS)
def test_what_is_written_is_read_back_as_the_same_proof(proof: TlogProof) -> None:
    assert TlogProof.parse(proof.format()) == proof


@given(PROOFS, st.data())
def test_what_is_read_has_one_spelling(proof: TlogProof, data: st.DataObject) -> None:
    raw = bytearray(proof.format())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = TlogProof.parse(bytes(raw))
    except FormatError:
        return
    assert changed.format() == raw


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
def test_every_entry_is_proven_at_its_place_and_nowhere_else(entries: list[bytes], data: st.DataObject) -> None:
    tree, size = ReferenceTree(entries), len(entries)
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    note = sign_checkpoint(Checkpoint("log.example/one", size, tree.mth(0, size)), LOG, WITNESS)
    proof = TlogProof(index, tuple(tree.path(index, 0, size)), note)
    assert proof.verify(leaf_hash(entries[index]), TRUST).size == size
    if entries[other] != entries[index]:
        with pytest.raises(ProofError):
            proof.verify(leaf_hash(entries[other]), TRUST)


def survivors(raw: bytes, verify: Callable[[TlogProof], object], places: Iterable[int]) -> list[tuple[int, int]]:
    """The bits that can be changed in a proof file that still verifies."""
    found = []
    for place in places:
        for bit in range(8):
            changed = bytearray(raw)
            changed[place] ^= 1 << bit
            try:
                verify(TlogProof.parse(bytes(changed)))
            except TlogError:
                continue
            found.append((place, bit))
    return found


def test_no_single_bit_of_a_proof_can_be_changed() -> None:
    tree = ReferenceTree([b"a", b"b", b"c"])
    note = sign_checkpoint(Checkpoint("log.example/one", 3, tree.mth(0, 3)), LOG, WITNESS)
    raw = TlogProof(1, tuple(tree.path(1, 0, 3)), note).format()
    leaf = leaf_hash(b"b")
    assert TlogProof.parse(raw).verify(leaf, TRUST).size == 3
    assert survivors(raw, lambda proof: proof.verify(leaf, TRUST), range(len(raw))) == []


def test_no_single_bit_of_a_proof_by_others_can_be_changed() -> None:
    raw = vector("derived/sumdb-tlog-proofs/3153.tlog-proof").read_bytes()
    leaf = leaf_hash(vector("derived/sumdb-tlog-proofs/3153.leaf").read_bytes())
    key = VerifierKey.parse("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
    trust = Trust((key,), "go.sum database tree")
    assert TlogProof.parse(raw).verify(leaf, trust).size == 33318680
    assert survivors(raw, lambda proof: proof.verify(leaf, trust), range(0, len(raw), 5)) == []
