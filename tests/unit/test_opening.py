"""Truncated proofs: their one spelling, what they hide, and that nothing in them is believed before it is verified."""

import pytest

from tests.forks import Tree, leaves, signed
from tests.keys import log_key, witness_key
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.hashing import Hash
from tlog.opening import LEVEL, MAX_OPENING_BYTES, TruncatedProof, complete_level
from tlog.policy import Policy
from tlog.proofs import prove_inclusion
from tlog.text import encode_base64
from tlog.tlog_proof import MAX_PATH, TlogProof
from tlog.trust import Trust

LOG, WITNESS = log_key(), witness_key()
TRUST = Trust((LOG.verifier_key,))
LEAVES = leaves(600)
TREE = Tree(LEAVES)

HASH = encode_base64(bytes(32))
NOTE = signed(TREE.head(600), LOG).raw
GOOD = b"tlog-opening@v1\nlevel 8\nindex 1\nnode " + HASH + b"\nhash " + HASH + b"\n\n" + NOTE


def proof(index: int, size: int = 600, tree: Tree = TREE) -> TlogProof:
    return TlogProof(index, tuple(prove_inclusion(index, size, tree.read)), signed(tree.head(size), LOG).raw)


def opening(index: int, size: int = 600, level: int = LEVEL) -> TruncatedProof:
    return TruncatedProof.of(proof(index, size), LEAVES[index], level)


def refuse(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        TruncatedProof.parse(data)


# The format.


def test_reads_level_index_node_path_and_checkpoint() -> None:
    found = TruncatedProof.parse(GOOD)
    assert (found.level, found.index, found.node, found.path) == (8, 1, Hash(bytes(32)), (Hash(bytes(32)),))
    assert (found.note.format(), found.checkpoint.size) == (NOTE, 600)


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        GOOD.replace(b"hash " + HASH + b"\n", b""),
        GOOD.replace(b"hash " + HASH, b"\n".join([b"hash " + HASH] * MAX_PATH)),
        GOOD.replace(b"level 8", b"level 0"),
        GOOD.replace(b"level 8", b"level 62"),
    ],
)
def test_writes_back_what_it_read(data: bytes) -> None:
    assert TruncatedProof.parse(data).format() == data


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"@v1", b"@v2", "does not start"),
        (b"tlog-opening@v1\n", b"", "does not start"),
        (b"level 8\n", b"", "a line 'level' here"),
        (b"level 8", b"Level 8", "a line 'level' here"),
        (b"level 8", b"level 08", "the level of an opening is not a decimal"),
        (b"level 8", b"level 63", "no tree has a complete subtree"),
        (b"index 1", b"index -1", "the index of an opening is not a decimal"),
        (b"index 1", b"index 9223372036854775808", "larger than"),
        (b"node ", b"hash ", "a line 'node' here"),
        (b"\nhash ", b"\nnode ", "a line 'hash' here"),
        (b"hash " + HASH, b"hash " + HASH[:-1], "a hash of an opening is not base64"),
        (b"hash " + HASH, b"hash AAAA", "a hash of an opening is not 32 bytes"),
        (b"hash " + HASH, b"\n".join([b"hash " + HASH] * (MAX_PATH + 1)), "more hashes than any tree"),
        (b"\n\n" + NOTE, b"\n", "no empty line"),
        (NOTE, b"no note", "the note has no empty line"),
        (NOTE, b"a text\n\n" + NOTE.partition(b"\n\n")[2], "checkpoint|lines"),
    ],
)
def test_there_is_one_spelling(old: bytes, new: bytes, match: str) -> None:
    refuse(GOOD.replace(old, new, 1), match)


def test_an_opening_has_all_its_lines() -> None:
    refuse(b"tlog-opening@v1\nlevel 8\nindex 1\n\n" + NOTE, "too few lines")


def test_an_opening_that_is_too_large_is_not_read() -> None:
    refuse(GOOD + b"\n" * MAX_OPENING_BYTES, "too large")


@pytest.mark.parametrize(
    ("level", "index", "node", "count"), [(-1, 0, 32, 0), (63, 0, 32, 0), (8, -1, 32, 0), (8, 0, 31, 0), (8, 0, 32, 64)]
)
def test_no_value_is_made_that_could_not_be_read_back(level: int, index: int, node: int, count: int) -> None:
    path = (Hash(bytes(32)),) * count
    with pytest.raises(ValueError, match=r"no tree has|32 bytes"):
        TruncatedProof(level, index, Hash(bytes(node)), path, signed(TREE.head(1), LOG).note)


# What it hides and what it shows.


def test_every_entry_of_a_tile_gives_the_same_opening() -> None:
    assert len({opening(index).format() for index in (256, 257, 300, 511)}) == 1
    assert opening(300).hidden_among == 256


@pytest.mark.parametrize(
    ("index", "size", "level"),
    [
        (0, 1, 0),
        (0, 255, 7),
        (255, 256, 8),
        (0, 600, 8),
        (512, 600, 6),
        (599, 600, 3),
        (592, 600, 3),
        (599, 599 + 1, 3),
    ],
)
def test_near_the_right_edge_an_entry_is_hidden_among_fewer(index: int, size: int, level: int) -> None:
    found = opening(index, size)
    assert (found.level, found.index) == (level, index >> level)
    found.verify(TRUST)


def test_whoever_wants_to_hide_less_may() -> None:
    assert [opening(300, level=level).level for level in (0, 1, 4)] == [0, 1, 4]
    opening(300, level=0).verify(TRUST)


@pytest.mark.parametrize(("index", "size", "level"), [(-1, 1, 8), (1, 1, 8), (0, 0, 8), (0, 1, -1)])
def test_there_is_no_level_of_a_leaf_that_is_not_there(index: int, size: int, level: int) -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        complete_level(index, size, level)


def test_every_leaf_of_every_small_tree_opens() -> None:
    for size in range(1, 40):
        for index in range(size):
            opening(index, size).verify(TRUST)


def test_a_proof_of_another_entry_is_not_truncated() -> None:
    with pytest.raises(ProofError):
        TruncatedProof.of(proof(300), LEAVES[301])


def test_a_proof_whose_checkpoint_is_none_is_not_truncated() -> None:
    with pytest.raises(FormatError):
        TruncatedProof.of(TlogProof(0, (), b"no note"), LEAVES[0])


def test_returns_the_checkpoint_that_the_log_signed() -> None:
    assert opening(300).verify(TRUST).head == TREE.head(600)


@pytest.mark.parametrize("field", ["node", "path", "index", "level"])
def test_a_part_of_another_tree_does_not_verify(field: str) -> None:
    found = opening(300)
    wrong = {
        "node": TruncatedProof(8, 1, Hash(bytes(32)), found.path, found.note),
        "path": TruncatedProof(8, 1, found.node, found.path[::-1], found.note),
        "index": TruncatedProof(8, 0, found.node, found.path, found.note),
        "level": TruncatedProof(7, 1, found.node, found.path, found.note),
    }[field]
    with pytest.raises(ProofError):
        wrong.verify(TRUST)


def test_a_subtree_that_is_not_complete_does_not_verify() -> None:
    found = opening(300)
    with pytest.raises(ProofError, match="no such node"):
        TruncatedProof(8, 2, found.node, found.path, found.note).verify(TRUST)


def test_who_signed_decides_before_the_path_does() -> None:
    stranger = Trust((log_key(seed=9).verifier_key,))
    with pytest.raises(SignatureError):
        opening(300).verify(stranger)
    policy = Policy.parse(f"log {LOG.verifier_key}\nwitness w {WITNESS.verifier_key}\nquorum w\n".encode())
    with pytest.raises(SignatureError, match="quorum"):
        opening(300).verify(Trust(policy=policy))
