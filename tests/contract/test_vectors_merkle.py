"""What other implementations say about Merkle trees, proofs and tiles, replayed with their verdicts."""

import json
from binascii import a2b_base64
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.rfc6962 import tiles_of
from tests.vectors import vector, vector_files
from tlog.compact_range import EMPTY_RANGE
from tlog.errors import FormatError, ProofError
from tlog.hashing import EMPTY_ROOT, EMPTY_TREE, Hash, TreeHead, leaf_hash, leaf_hashes, node_hash
from tlog.proofs import (
    NodeId,
    ReadNode,
    covering_subtrees,
    is_valid_subtree,
    prove_consistency,
    prove_inclusion,
    prove_subtree_consistency,
    prove_subtree_inclusion,
    root_at,
    subtree_hash,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)
from tlog.tiles import (
    EntryBundle,
    Tile,
    TileReader,
    bundles_for,
    format_entries,
    parse_entries,
    right_edge,
    tile_hashes,
    tile_of,
    tiles_at,
)

Case = dict[str, Any]


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


def inline(identifier: str) -> Case:
    entries: list[Case] = load(vector("c2sp-inline-vectors.json"))["entries"]
    return next(entry for entry in entries if entry["id"] == identifier)


def base64(text: str) -> Hash:
    return Hash(a2b_base64(text))  # leniently: some hashes there are of another length


def from_hex(text: str) -> Hash:
    return Hash(bytes.fromhex(text))


def path_of(case: Case, field: str = "proof") -> list[Hash]:
    return [base64(text) for text in case[field] or []]


def in_memory(leaves: list[Hash]) -> ReadNode:
    """Reads nodes through tiles of these leaves: what is checked with it goes through the tile reader as well."""
    tiles = tiles_of(leaves)
    return TileReader(len(leaves), lambda tile: tiles[tile.level, tile.index][: 32 * tile.width]).node


def verdict_of(path: Path) -> str:
    """A readable test id: the part of a vector's path that names it."""
    return "/".join(path.parts[-3:])


# transparency-dev/merkle: field wantErr tells whether the proof has to be refused.


def accepted(verify: Any, *arguments: Any) -> bool:
    try:
        verify(*arguments)
    except ProofError:
        return False
    return True


@pytest.mark.parametrize("file", vector_files("transparency-dev-merkle/inclusion", "**/*.json"), ids=verdict_of)
def test_inclusion_verdicts(file: Path) -> None:
    case = load(file)
    head = TreeHead(case["treeSize"], base64(case["root"]))
    leaf = base64(case["leafHash"])
    assert accepted(verify_inclusion, leaf, case["leafIdx"], head, path_of(case)) is not case["wantErr"]


# RFC 6962 defines no proof from size 0 and that library refuses it. Witnesses are asked for it with an empty proof.
FROM_THE_EMPTY_TREE = {
    "size1-is-zero-and-does-not-equal-size2.json",
    "size1-is-zero-and-size2-is-not-zero.json",
    "sizes-are-equal-zero-and-proof-is-empty.json",
}


def consistency_files() -> list[Path]:
    return vector_files("transparency-dev-merkle/consistency", "**/*.json")


@pytest.mark.parametrize(
    "file", [file for file in consistency_files() if file.name not in FROM_THE_EMPTY_TREE], ids=verdict_of
)
def test_consistency_verdicts(file: Path) -> None:
    case = load(file)
    old = TreeHead(case["size1"], base64(case["root1"]))
    new = TreeHead(case["size2"], base64(case["root2"]))
    assert accepted(verify_consistency, old, new, path_of(case)) is not case["wantErr"]


@pytest.mark.parametrize(
    "file", [file for file in consistency_files() if file.name in FROM_THE_EMPTY_TREE], ids=verdict_of
)
def test_growth_from_the_empty_tree_is_accepted_where_that_library_refuses_it(file: Path) -> None:
    case = load(file)
    assert case["wantErr"]
    assert (case["size1"], case["proof"] or []) == (0, [])
    new = TreeHead(case["size2"], base64(case["root2"])) if case["size2"] else EMPTY_TREE
    verify_consistency(EMPTY_TREE, new, [])


@pytest.mark.parametrize("file", vector_files("transparency-dev-merkle/subtreeinclusion", "**/*.json"), ids=verdict_of)
def test_subtree_inclusion_verdicts(file: Path) -> None:
    case = load(file)
    arguments = base64(case["leafHash"]), case["leafIdx"], case["start"], case["end"], base64(case["root"])
    assert accepted(verify_subtree_inclusion, *arguments, path_of(case)) is not case["wantErr"]


@pytest.mark.parametrize(
    "file", vector_files("transparency-dev-merkle/subtreeconsistency", "**/*.json"), ids=verdict_of
)
def test_subtree_consistency_verdicts(file: Path) -> None:
    case = load(file)
    head = TreeHead(case["size"], base64(case["root2"]))
    arguments = case["start"], case["end"], head, base64(case["root1"]), path_of(case)
    assert accepted(verify_subtree_consistency, *arguments) is not case["wantErr"]


# google/certificate-transparency


@pytest.fixture(scope="module")
def classic() -> Case:
    return dict(load(vector("google-certificate-transparency/merkle.json")))


def test_the_classic_tree_has_the_roots_it_always_had(classic: Case) -> None:
    leaves = leaf_hashes(bytes.fromhex(text) for text in classic["leaves_hex"])
    roots = [EMPTY_RANGE.extend(leaves[: size + 1]).root() for size in range(8)]
    assert roots == [from_hex(text) for text in classic["roots_hex"]]
    assert from_hex(classic["empty_root"]) == EMPTY_ROOT


def test_the_classic_leaf_and_node_hashes(classic: Case) -> None:
    for case in classic["hash_leaf"]:
        assert leaf_hash(bytes.fromhex(case["data_hex"])) == from_hex(case["hash"])
    for case in classic["hash_node"]:
        assert node_hash(from_hex(case["left"]), from_hex(case["right"])) == from_hex(case["hash"])


def test_the_classic_consistency_proofs_verify_and_are_made_again(classic: Case) -> None:
    read = in_memory(leaf_hashes(bytes.fromhex(text) for text in classic["leaves_hex"]))
    for case in classic["consistency"]:
        proof = [from_hex(text) for text in case["proof"]]
        old = TreeHead(case["old"], from_hex(case["old_root"]))
        assert case["valid"]
        verify_consistency(old, TreeHead(case["new"], from_hex(case["new_root"])), proof)
        assert prove_consistency(case["old"], case["new"], read) == proof


def test_an_entry_of_a_log_of_2013_is_included(classic: Case) -> None:
    case = classic["inclusion_real"]
    leaf = leaf_hash(bytes.fromhex(case["leaf_input_hex"]))
    assert leaf == from_hex(case["leaf_hash"])
    head = TreeHead(case["tree_size"], from_hex(case["root"]))
    verify_inclusion(leaf, case["leaf_index"], head, [from_hex(text) for text in case["proof"]])


def test_the_known_answers_of_rfc_6962_hashing() -> None:
    case = inline("rfc6962-hash-kat")
    assert from_hex(case["empty_root"]) == EMPTY_ROOT
    assert leaf_hash(b"") == from_hex(case["leaf_hash_of_empty"])
    assert leaf_hash(b"L123456") == from_hex(case["leaf_hash_of_L123456"])
    assert node_hash(Hash(b"N123"), Hash(b"N456")) == from_hex(case["node_hash_of_N123_N456"])
    leaves = leaf_hashes(bytes.fromhex(text) for text in case["leaf_inputs_hex"])
    roots = [EMPTY_RANGE.extend(leaves[:size]).root() for size in range(9)]
    assert roots == [from_hex(text) for text in case["roots_by_size"]]


# mullvad/sigsum-rs


@pytest.mark.parametrize("verdict", ["valid", "invalid"])
def test_sigsum_inclusion_verdicts(verdict: str) -> None:
    cases = load(vector(f"mullvad-sigsum-rs/inclusion-{verdict}.json"))
    assert len(cases) == 4
    for case in cases:
        head = TreeHead(case["tree_size"], base64(case["root_hash"]))
        arguments = base64(case["leaf_hash"]), case["leaf_index"], head, path_of(case, "inclusion_path")
        assert accepted(verify_inclusion, *arguments) is (verdict == "valid")


# golang/mod


def test_the_roots_of_the_go_test_tree() -> None:
    roots = [from_hex(text) for text in load(vector("derived/go_leaf_n_roots.json"))["roots_hex"]]
    leaves = leaf_hashes([b"leaf %d" % i for i in range(len(roots))])
    read = in_memory(leaves)
    assert len(roots) == 100
    assert [root_at(size, read) for size in range(1, 101)] == roots
    assert [EMPTY_RANGE.extend(leaves[:size]).root() for size in range(1, 101)] == roots


def go_path(case: Case) -> str:
    """The path without the height of tiles that Go writes first; a full tile is 2**height wide there, 256 here."""
    return "tile/" + str(case["path"]).split("/", 2)[2]


def go_tile_cases() -> list[Case]:
    return list(load(vector("golang-mod/tile_paths.json"))["paths"])


def test_go_tile_paths_without_their_height() -> None:
    seen = 0
    for case in go_tile_cases():
        path, tile = go_path(case), case["tile"]
        if tile is None or tile["l"] == "data":
            # Malformed there as well, or a kind of tile whose place tlog-tiles gives to entry bundles.
            with pytest.raises(FormatError):
                Tile.parse(path)
            continue
        width = 256 if tile["w"] == 2 ** tile["h"] else tile["w"]
        assert Tile.parse(path) == Tile(tile["l"], tile["n"], width)
        assert Tile(tile["l"], tile["n"], width).path() == path
        seen += 1
    assert seen == 5


def test_go_data_tiles_are_at_the_places_of_entry_bundles() -> None:
    (case,) = [case for case in go_tile_cases() if case["tile"] and case["tile"]["l"] == "data"]
    assert EntryBundle.parse(go_path(case).replace("data", "entries")) == EntryBundle(case["tile"]["n"])


# transparency-dev/tessera: a log grown from 0 to 15 entries, with every tile, bundle and checkpoint on the way


TESSERA_SIZES = range(16)


def tessera(relative: str) -> bytes:
    return vector(f"transparency-dev-tessera/log/{relative}").read_bytes()


def tessera_head(size: int) -> TreeHead:
    _, size_line, root, *_ = tessera(f"checkpoint.{size}").split(b"\n")
    return TreeHead(int(size_line), base64(root.decode()))


def tessera_read(tile: Tile) -> bytes:
    return tessera(tile.path())


@pytest.mark.parametrize("size", TESSERA_SIZES)
def test_tessera_tiles_hash_to_the_checkpoint(size: int) -> None:
    assert TreeHead(size, root_at(size, TileReader(size, tessera_read).node)) == tessera_head(size)


@pytest.mark.parametrize("size", TESSERA_SIZES[1:])
def test_tessera_bundles_hash_to_the_tiles_and_are_written_again(size: int) -> None:
    (tile,), (bundle,) = tiles_at(size), bundles_for(0, size, size)
    data = tessera(bundle.path())
    entries = parse_entries(data, size)
    assert [entry.decode() for entry in entries] == load(vector("transparency-dev-tessera/keys.json"))["entries"][:size]
    assert leaf_hashes(entries) == tile_hashes(tessera(tile.path()))
    assert format_entries(entries) == data


@pytest.mark.parametrize("old", TESSERA_SIZES)
def test_tessera_checkpoints_are_consistent_with_all_later_ones(old: int) -> None:
    for new in range(old, 16):
        path = prove_consistency(old, new, TileReader(new, tessera_read).node)
        verify_consistency(tessera_head(old), tessera_head(new), path)


def test_tessera_holds_just_the_tiles_and_bundles_of_its_sizes() -> None:
    root = vector("transparency-dev-tessera/log")
    files = {str(path.relative_to(root)) for path in vector_files("transparency-dev-tessera/log/tile")}
    expected = {tile.path() for size in TESSERA_SIZES for tile in tiles_at(size)}
    expected |= {bundle.path() for size in TESSERA_SIZES for bundle in bundles_for(0, size, size)}
    assert files == expected


@pytest.fixture(scope="module")
def layout() -> Case:
    return dict(load(vector("transparency-dev-tessera/layout_paths.json")))


def test_tessera_paths(layout: Case) -> None:
    for case in layout["tile_path"]:
        assert Tile(case["level"], case["index"], case["p"] or 256).path() == case["path"]
    for case in layout["entries_path"]:
        assert EntryBundle(case["n"], case["p"] or 256).path() == case["path"]
    for case in layout["entries_path_for_index"]:
        (bundle,) = bundles_for(case["seq"], case["seq"] + 1, case["log_size"])
        assert bundle.path() == case["path"]


def test_tessera_path_verdicts(layout: Case) -> None:
    for case in layout["parse"]:
        path = f"tile/{case['level']}/{case['index']}"
        if case["valid"]:
            assert Tile.parse(path) == Tile(case["want_level"], case["want_index"], case["want_p"] or 256)
        else:
            with pytest.raises(FormatError):
                Tile.parse(path)


def test_tessera_ranges_of_entries(layout: Case) -> None:
    for case in layout["ranges"]:
        start, size = case["start"], case["tree_size"]
        end = max(start, min(start + case["n"], size))  # there ranges beyond the tree are cut, here they are mistakes
        bundles = bundles_for(start, end, size) if end <= size else []
        assert [
            {
                "index": bundle.index,
                "partial": bundle.width % 256,
                "first": max(start - bundle.start, 0),
                "n": min(end, bundle.end) - max(start, bundle.start),
            }
            for bundle in bundles
        ] == case["want"]


def test_tessera_coordinates_of_nodes(layout: Case) -> None:
    for case in layout["node_coords"]:
        level, index = case["tree_level"], case["tree_index"]
        tile = tile_of(NodeId(level, index), (index + 1) << level)
        assert (tile.level, tile.index) == (case["tile_level"], case["tile_index"])
        assert level - 8 * tile.level == case["node_level"]
        assert index - (tile.index << (8 - case["node_level"])) == case["node_index"]


def test_tessera_bundle_verdicts() -> None:
    for case in load(vector("transparency-dev-tessera/entry_bundles.json"))["cases"]:
        data = bytes.fromhex(case["hex"])
        if case["valid"]:
            entries = [bytes.fromhex(text) for text in case["entries_hex"]]
            assert parse_entries(data, len(entries)) == entries
            assert format_entries(entries) == data
            continue
        for width in range(4):
            with pytest.raises(FormatError):
                parse_entries(data, width)


# FiloSottile/sunlight: a mirror's 300 leaves, and hash tiles of a real log


MIRROR = "FiloSottile-sunlight/skylight/mirror"


def test_the_mirror_of_300_leaves_is_computed_again() -> None:
    leaves = leaf_hashes([b"record %d" % i for i in range(300)])
    tiles = tiles_of(leaves)
    for tile in tiles_at(300):
        assert vector(f"{MIRROR}/{tile.path()}").read_bytes() == tiles[tile.level, tile.index]
    _, size, root, *_ = vector(f"{MIRROR}/checkpoint").read_bytes().split(b"\n")
    assert TreeHead(int(size), base64(root.decode())) == EMPTY_RANGE.extend(leaves).tree_head()


def test_the_mirror_has_the_right_edge_of_its_checkpoint() -> None:
    reader = TileReader(300, lambda tile: vector(f"{MIRROR}/{tile.path()}").read_bytes())
    root = vector(f"{MIRROR}/checkpoint").read_bytes().split(b"\n")[2]
    assert root_at(300, reader.node) == base64(root.decode())
    files = {str(path.relative_to(vector(MIRROR))) for path in vector_files(f"{MIRROR}/tile")}
    assert files == {tile.path() for tile in tiles_at(300)}


def test_the_mirror_and_the_log_disagree_about_the_same_size() -> None:
    _, size, root, *_ = vector("FiloSottile-sunlight/skylight/log.checkpoint").read_bytes().split(b"\n")
    mirrored = EMPTY_RANGE.extend(leaf_hashes([b"record %d" % i for i in range(300)])).tree_head()
    with pytest.raises(ProofError, match="different roots"):
        verify_consistency(mirrored, TreeHead(int(size), base64(root.decode())), [])


NAVIGLI = "FiloSottile-sunlight/navigli2025h2"


def test_a_partial_tile_of_a_real_log_is_the_beginning_of_the_full_one() -> None:
    partial, full = Tile.parse("tile/0/003.p/10"), Tile.parse("tile/0/003")
    head = tile_hashes(vector(f"{NAVIGLI}/{partial.path()}").read_bytes())
    assert len(head) == partial.width
    assert tile_hashes(vector(f"{NAVIGLI}/{full.path()}").read_bytes())[: partial.width] == head


def test_the_first_tile_of_a_real_log_hashes_to_the_roots_derived_from_it() -> None:
    derived = load(vector("derived/navigli2025h2_roots.json"))
    tiles = {0: vector(f"{NAVIGLI}/tile/0/000").read_bytes()}
    reader = TileReader(256, lambda tile: tiles[tile.index][: 32 * tile.width])
    for size in (1, 2, 255):
        assert root_at(size, reader.node) == from_hex(derived["roots_hex"][str(size)])
    leaves = tile_hashes(tiles[0])
    assert EMPTY_RANGE.extend(leaves).root() == from_hex(derived["roots_hex"]["256"])
    assert EMPTY_RANGE.extend(leaves).root() == from_hex(derived["level1_hashes_hex"][0])
    last = tile_hashes(vector(f"{NAVIGLI}/tile/0/003").read_bytes())
    assert EMPTY_RANGE.extend(last).root() == from_hex(derived["level1_hashes_hex"][3])
    roots = EMPTY_RANGE.extend([from_hex(text) for text in derived["level1_hashes_hex"]])
    assert roots.root() == from_hex(derived["roots_hex"]["1024"])


# c2sp.org/tlog-tiles: the numbers of the text


def test_the_paths_of_the_specification() -> None:
    for case in inline("tlog-tiles-layout-cases")["paths"]:
        tile = Tile(case["level"], case["index"], case["width"])
        assert tile.path() == case["path"]
        assert Tile.parse(case["path"]) == tile


def test_the_tiles_of_the_sizes_of_the_specification() -> None:
    for case in inline("tlog-tiles-layout-cases")["sizes"]:
        size, counted = case["size"], dict[int, list[int]]()
        for tile in tiles_at(size):
            level = counted.setdefault(tile.level, [0, 0])
            level[0] += not tile.is_partial
            level[1] = tile.width % 256
        assert [{"level": k, "full": v[0], "partial_width": v[1]} for k, v in counted.items()] == case["levels"]
        assert [tile.width % 256 for tile in right_edge(size)] == [v["partial_width"] for v in case["levels"]]


def test_the_subtree_example_of_the_specification_is_not_a_proof() -> None:
    case = inline("c2sp-sign-subtree-example-does-not-verify")
    start, end = map(int, case["range"].split())
    head = TreeHead(case["size"], base64(case["root"]))
    with pytest.raises(ProofError, match="another root"):
        verify_subtree_consistency(start, end, head, base64(case["subtree_hash"]), path_of(case))


# draft-ietf-plants-merkle-tree-certs, appendix "Subtree Test Vectors": every answer for trees of up to 130 leaves, the
# leaf i being the byte i, goes into one hash for each algorithm. The four values are printed there.

LIMIT = 130


def accumulated(lines: Iterator[str]) -> str:
    state = sha256()
    for line in lines:
        state.update(line.encode())
    return state.hexdigest()


def subtrees(size: int) -> Iterator[tuple[int, int]]:
    return ((start, end) for end in range(size + 1) for start in range(end + 1) if is_valid_subtree(start, end))


def in_hex(proof: list[Hash]) -> str:
    return "".join(f" {value.hex()}" for value in proof)


@pytest.fixture(scope="module")
def bytes_tree() -> ReadNode:
    return in_memory(leaf_hashes([bytes([i]) for i in range(LIMIT)]))


def test_accumulated_subtree_hashes(bytes_tree: ReadNode) -> None:
    lines = (f"[{start}, {end}) {subtree_hash(start, end, bytes_tree).hex()}\n" for start, end in subtrees(LIMIT))
    assert accumulated(lines) == "b82806ad4265bb151c1119c0f4db437bb4d1a1f887b3a7fba1cd4ebf552e3e81"


def test_accumulated_subtree_inclusion_proofs(bytes_tree: ReadNode) -> None:
    lines = (
        f"{index} [{start}, {end}){in_hex(prove_subtree_inclusion(index, start, end, bytes_tree))}\n"
        for start, end in subtrees(LIMIT)
        for index in range(start, end)
    )
    assert accumulated(lines) == "ac2a8f989e44d99e399db448050ff5f19757df53cfb716aa81015d3955d8163f"


def test_accumulated_subtree_consistency_proofs(bytes_tree: ReadNode) -> None:
    roots = [root_at(size, bytes_tree) for size in range(LIMIT + 1)]
    known = {part: subtree_hash(*part, bytes_tree) for part in subtrees(LIMIT)}

    def lines() -> Iterator[str]:
        for size in range(LIMIT + 1):
            for start, end in subtrees(size):
                proof = prove_subtree_consistency(start, end, size, bytes_tree)
                verify_subtree_consistency(start, end, TreeHead(size, roots[size]), known[start, end], proof)
                yield f"[{start}, {end}) {size}{in_hex(proof)}\n"

    assert accumulated(lines()) == "10fa99b37bf9bf9ffa26b412fbd98bd75363256d0b75d61bc4538b9c9c5a0a74"


def test_accumulated_covering_subtrees() -> None:
    def lines() -> Iterator[str]:
        for end in range(LIMIT + 1):
            for start in range(end + 1):
                left, right = covering_subtrees(start, end)
                yield f"[{left[0]}, {left[1]}) [{right[0]}, {right[1]})\n"

    assert accumulated(lines()) == "7fd9c8b926e9d2b5cf831560e8ce295a5ef97ad5c5ede4ea0dea28a8c8fc8bb0"


def test_proofs_of_the_subtrees_of_one_tree_agree_with_the_plain_ones(bytes_tree: ReadNode) -> None:
    for index in range(LIMIT):
        assert prove_subtree_inclusion(index, 0, LIMIT, bytes_tree) == prove_inclusion(index, LIMIT, bytes_tree)
