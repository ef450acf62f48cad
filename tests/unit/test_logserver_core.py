"""Sequencing, growing and choosing, against the definitions typed out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logserver.core import EMPTY_EDGE, Edge, choose, filled, grow, parse_batch, sequence
from tests.keys import NOW, cosign, log_key, sign_checkpoint, witness_key
from tests.rfc6962 import ReferenceTree
from tlog.checkpoint import Checkpoint
from tlog.compact_range import EMPTY_RANGE, CompactRange
from tlog.errors import FormatError
from tlog.hashing import EMPTY_ROOT, Hash, leaf_hash, leaf_hashes
from tlog.keys import SignerKey
from tlog.policy import Policy, PolicyWitness
from tlog.quorum import Group
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.tiles import EntryBundle, Tile, format_entries, parse_entries, tile_hashes, tiles_at

ENTRIES = [b"entry %d" % number for number in range(70_000)]


def mth(entries: list[bytes]) -> Hash:
    return ReferenceTree(entries).mth(0, len(entries))


def sequenced(entries: list[bytes], known: dict[Hash, int] | None, tree: CompactRange = EMPTY_RANGE) -> tuple[int, ...]:
    return sequence(tree, entries, leaf_hashes(entries), known).indexes


def test_new_entries_get_the_next_indexes() -> None:
    tree = EMPTY_RANGE.extend(leaf_hashes([b"a", b"b"]))
    assert sequenced([b"c", b"d"], {}, tree) == (2, 3)


def test_an_entry_that_stands_twice_in_a_batch_gets_its_first_index_twice() -> None:
    assert sequenced([b"a", b"b", b"a", b"c"], {}) == (0, 1, 0, 2)


def test_a_known_entry_gets_its_index_again() -> None:
    tree = EMPTY_RANGE.extend(leaf_hashes([b"a", b"b"]))
    assert sequenced([b"b", b"c"], {leaf_hash(b"b"): 1}, tree) == (1, 2)


def test_without_duplicate_suppression_every_entry_is_new() -> None:
    assert sequenced([b"a", b"a"], None) == (0, 1)


@given(st.lists(st.binary(max_size=2), max_size=30))
def test_the_sequenced_tree_is_that_of_the_fresh_entries(entries: list[bytes]) -> None:
    batch = sequence(EMPTY_RANGE, entries, leaf_hashes(entries), {})
    assert batch.tree.tree_head().size == len(set(entries)) == len(batch.fresh)
    assert batch.tree.root() == mth(list(batch.fresh))
    assert [batch.fresh[index] for index in batch.indexes] == entries


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 1000])
def test_the_edge_of_a_grown_tree_has_its_root(size: int) -> None:
    edge, _ = grow(EMPTY_EDGE, ENTRIES[:size])
    assert edge.root_hash() == (mth(ENTRIES[:size]) if size else EMPTY_ROOT)


def files_at(size: int, steps: list[int]) -> dict[str, bytes]:
    edge = EMPTY_EDGE
    files: dict[str, bytes] = {}
    for step in [*[s for s in steps if s < size], size]:
        edge, grown = grow(edge, ENTRIES[edge.size : step])
        files |= {file.path: file.data for file in grown}
    return files


@given(st.integers(1, 1500), st.lists(st.integers(1, 1500), max_size=6))
def test_a_tree_has_the_same_tiles_however_it_was_grown(size: int, steps: list[int]) -> None:
    once, often = files_at(size, []), files_at(size, sorted(steps))
    assert once.items() <= often.items()
    assert {tile.path() for tile in tiles_at(size)} <= once.keys()


def test_tiles_of_three_levels_hold_the_hashes_of_their_entries() -> None:
    edge, files = grow(EMPTY_EDGE, ENTRIES)
    by_path = {file.path: file.data for file in files}
    # SPEC: T-6, T-8, T-9 the layout of 70,000 entries: 273 full tiles and 112 hashes, 1 full and 17, and 1.
    assert len(tile_hashes(by_path[Tile(0, 273, 112).path()])) == 112
    assert len(tile_hashes(by_path[Tile(1, 1, 17).path()])) == 17
    assert tile_hashes(by_path[Tile(2, 0, 1).path()]) == [mth(ENTRIES[:65536])]
    assert parse_entries(by_path["tile/entries/273.p/112"], 112) == ENTRIES[-112:] == list(edge.entries)


def test_growing_by_nothing_writes_nothing() -> None:
    edge, _ = grow(EMPTY_EDGE, ENTRIES[:300])
    assert grow(edge, []) == (edge, [])


def test_an_edge_of_an_empty_tree_has_the_empty_root() -> None:
    assert Edge(0, (), ()).root_hash() == EMPTY_ROOT


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_what_was_filled_is_full_in_the_new_tree_and_was_not_in_the_old(a: int, b: int) -> None:
    old, new = sorted((a, b))
    full = {size: {t.path() for t in tiles_at(size) if not t.is_partial} for size in (old, new)}
    bundles = {size: {EntryBundle(index).path() for index in range(size // 256)} for size in (old, new)}
    paths = list(filled(old, new))
    assert len(paths) == len(set(paths))
    assert set(paths) == (full[new] | bundles[new]) - (full[old] | bundles[old])


# Batches.


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_a_batch_is_read_as_the_bundle_it_is_written_as(entries: list[bytes]) -> None:
    assert parse_batch(format_entries(entries)) == tuple(entries)


@given(st.binary(max_size=600))
def test_whatever_is_read_as_a_batch_is_written_back_the_same(body: bytes) -> None:
    try:
        entries = parse_batch(body)
    except FormatError:
        return
    assert format_entries(entries) == body


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\1", b"\0\1ab", bytes(2 * 257)])
def test_what_is_no_batch_is_refused(body: bytes) -> None:
    with pytest.raises(FormatError):
        parse_batch(body)


# Choosing what to publish.

LOG = log_key()
WITNESSES = [witness_key(f"witness.example/w{number}") for number in (1, 2)]
KEYS = [LOG.verifier_key, *(witness.verifier_key for witness in WITNESSES)]


def cosigned(size: int, *by: SignerKey, time: int = NOW) -> SignedCheckpoint:
    note = sign_checkpoint(Checkpoint(LOG.name, size, mth(ENTRIES[:size])), LOG)
    return open_checkpoint(cosign(note, *by, time=time), KEYS)


def all_of(*witnesses: SignerKey) -> Policy:
    lines = tuple(PolicyWitness(witness.name, witness.verifier_key) for witness in witnesses)
    return Policy((), lines, (Group("all", len(lines), tuple(line.name for line in lines)),), "all")


def test_the_first_checkpoint_that_meets_the_policy_is_published() -> None:
    first = cosigned(1, *WITNESSES)
    assert choose(None, first, all_of(*WITNESSES), hold=True) == first


@pytest.mark.parametrize("published", [None, cosigned(1, *WITNESSES)])
def test_a_log_that_holds_publishes_nothing_that_misses_its_policy(published: SignedCheckpoint | None) -> None:
    assert choose(published, cosigned(2, WITNESSES[0]), all_of(*WITNESSES), hold=True) is None


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("policy", [None, all_of(WITNESSES[0])])
def test_a_larger_tree_replaces_a_smaller_one(policy: Policy | None, hold: bool) -> None:
    larger = cosigned(2, WITNESSES[0])
    assert choose(cosigned(1, *WITNESSES), larger, policy, hold=hold) == larger


def test_a_log_that_does_not_hold_publishes_what_misses_its_policy() -> None:
    larger = cosigned(2)
    assert choose(cosigned(1, *WITNESSES), larger, all_of(*WITNESSES), hold=False) == larger


@pytest.mark.parametrize("hold", [True, False])
def test_cosignatures_that_were_public_stay_public_while_the_tree_is_the_same(hold: bool) -> None:
    published, renewed = cosigned(1, *WITNESSES), cosigned(1, WITNESSES[1], time=NOW + 60)
    chosen = choose(published, renewed, all_of(*WITNESSES), hold=hold)
    assert chosen is not None
    assert [(s.key.name, s.timestamp) for s in chosen.signatures] == [
        (LOG.name, None),
        (WITNESSES[0].name, NOW),
        (WITNESSES[1].name, NOW + 60),
    ]


def test_cosignatures_that_came_apart_meet_a_policy_together() -> None:
    published, later = cosigned(1, WITNESSES[0]), cosigned(1, WITNESSES[1])
    chosen = choose(published, later, all_of(*WITNESSES), hold=True)
    assert chosen is not None
    assert all_of(*WITNESSES).cosigned(chosen).met
