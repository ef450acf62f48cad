"""What a monitor makes of served bytes, and what it tells a client."""

import pytest

from gossip.core import Branch, Candidate
from monitor.core import (
    STALE_SECONDS,
    Verdict,
    View,
    WrongBundle,
    bundles_from,
    is_extension,
    judge,
    opened_bundle,
    proof_from_tiles,
    tiles_to_prove,
)
from monitor.sources.tiles import bundled_entries
from tests.fakes_log import WITNESSES, FakeLog
from tlog.hashing import Hash, TreeHead, leaf_hashes
from tlog.proofs import verify_consistency
from tlog.signed_checkpoint import open_checkpoint
from tlog.tiles import EntryBundle, Tile, format_entries

LOG = FakeLog()
LOG.add(600)


@pytest.mark.parametrize(
    ("start", "size", "expected"),
    [
        (0, 1, [(0, 1)]),
        (0, 256, [(0, 256)]),
        (5, 300, [(0, 256), (1, 44)]),
        (256, 300, [(1, 44)]),
        (10, 10, []),
    ],
)
def test_the_next_bundles_are_those_that_growth_needs(start: int, size: int, expected: list[tuple[int, int]]) -> None:
    assert [(bundle.index, bundle.width) for bundle in bundles_from(start, size)] == expected


def test_an_absurd_size_is_approached_bundle_by_bundle() -> None:
    bundles = bundles_from(1000, 2**63 - 1)
    assert [next(bundles) for _ in range(3)] == [EntryBundle(3), EntryBundle(4), EntryBundle(5)]


ENTRIES = [b"a", b"", b"ccc"]


def test_a_bundle_begins_with_the_known_leaves() -> None:
    data = format_entries(ENTRIES)
    known = leaf_hashes(ENTRIES[:1])
    opened = opened_bundle(EntryBundle(0, 3), data, 3, known, bundled_entries)
    assert opened == (ENTRIES, leaf_hashes(ENTRIES))


def test_a_full_bundle_stands_in_for_a_partial_one() -> None:
    entries = [b"%d" % number for number in range(256)]
    opened = opened_bundle(EntryBundle(0, 2), format_entries(entries), 256, (), bundled_entries)
    assert opened == (entries[:2], leaf_hashes(entries[:2]))


@pytest.mark.parametrize(
    ("data", "known", "said"),
    [
        (b"\x00\x05abc", (), "tile/entries/001.p/3: an entry bundle ends within an entry"),
        (format_entries(ENTRIES), leaf_hashes([b"a", b"x"]), "entry 257 is another one"),
        (format_entries(ENTRIES), leaf_hashes([*ENTRIES, b"x"]), "entry 259 is another one"),
        (format_entries(ENTRIES[:2]), (), "ends before its last entry"),
    ],
    ids=["malformed", "another entry than before", "fewer than before", "too few"],
)
def test_entries_that_are_not_what_was_promised_are_named(data: bytes, known: list[Hash], said: str) -> None:
    with pytest.raises(WrongBundle, match=said):
        opened_bundle(EntryBundle(1, 3), data, 3, known, bundled_entries)


def test_a_tree_extends_another_if_the_roots_say_so() -> None:
    # SPEC: T-19 Each later checkpoint MUST be verified to be consistent with the current one.
    assert (is_extension(LOG.head(), LOG.head()), is_extension(LOG.head(599), LOG.head())) == (True, False)


def served(old: int, new: int) -> dict[Tile, bytes]:
    found = {tile: LOG.serve(tile.path()) for tile in tiles_to_prove(old, new)}
    return {tile: data for tile, data in found.items() if data is not None}


@pytest.mark.parametrize(("old", "new"), [(1, 2), (255, 600), (256, 600), (512, 513), (599, 600)])
def test_tiles_make_a_proof_of_how_a_head_extends_an_older_tree(old: int, new: int) -> None:
    # SPEC: T-13 partial tiles are fetched only where a verified checkpoint's size demands them
    log = FakeLog(LOG.entries[:new])
    tiles = {tile: log.serve(tile.path()) or b"" for tile in tiles_to_prove(old, new)}
    candidate = proof_from_tiles(old, LOG.head(new), tiles)
    assert candidate is not None
    verify_consistency(TreeHead(old, candidate.root or Hash(b"")), LOG.head(new), candidate.path)


def test_tiles_of_another_tree_prove_nothing() -> None:
    assert proof_from_tiles(255, TreeHead(600, LOG.head(599).root_hash), served(255, 600)) is None


def test_malformed_tiles_prove_nothing() -> None:
    tiles = {tile: data[:-1] for tile, data in served(255, 600).items()}
    assert proof_from_tiles(255, LOG.head(), tiles) is None


HEAD = open_checkpoint(LOG.sign(500), [LOG.key.verifier_key, *(one.verifier_key for one in WITNESSES)])
BRANCH = Branch(HEAD)
FRESH, OLD = View(1000, 1000 + STALE_SECONDS), View(1000, 1001 + STALE_SECONDS)


@pytest.mark.parametrize(
    ("branch", "head", "root_there", "view", "expected"),
    [
        (BRANCH, LOG.head(500), LOG.head(500).root_hash, FRESH, Verdict.SAME),
        (BRANCH, LOG.head(3), LOG.head(3).root_hash, FRESH, Verdict.PREFIX),
        (BRANCH, LOG.head(600), None, FRESH, Verdict.AHEAD),
        (BRANCH, LOG.head(3), LOG.head(4).root_hash, OLD, Verdict.FORK),
        (Branch(HEAD, convicted=(b"id",)), LOG.head(500), LOG.head(500).root_hash, FRESH, Verdict.FORK),
        (Branch(HEAD, convicted=(b"id",)), LOG.head(600), None, OLD, Verdict.FORK),
        (BRANCH, LOG.head(500), LOG.head(500).root_hash, OLD, Verdict.STALE),
        (BRANCH, LOG.head(600), None, View(None, 5), Verdict.STALE),
    ],
)
def test_a_client_is_told_the_truth(
    branch: Branch, head: TreeHead, root_there: Hash | None, view: View, expected: Verdict
) -> None:
    assert judge(branch, head, root_there, view) == expected


def test_a_candidate_without_a_root_is_a_claim_about_ours() -> None:
    assert Candidate(3, None, ()).root is None
