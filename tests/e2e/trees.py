"""Static trees of every kind of log that a monitor follows, as folders for a plain web server.

Their entries are real: what a log of that kind holds, taken from the vectors. Where the vectors have no signed
checkpoint for them, keys of ours sign one.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.keys import log_key, sign_checkpoint
from tests.log_nodes import log
from tests.vectors import vector
from tlog.checkpoint import Checkpoint
from tlog.compact_range import EMPTY_RANGE
from tlog.cosignature import format_timestamped, tree_head_message
from tlog.hashing import Hash, TreeHead, leaf_hashes, node_hashes
from tlog.keys import KeyType, VerifierKey
from tlog.note import Note, SignatureLine
from tlog.static_ct import TileLeaf, data_tile_path, format_extensions, format_leaves, issuer_path, parse_leaves
from tlog.sumdb import ORIGIN as SUMDB_ORIGIN
from tlog.sumdb import data_tile_path as sumdb_data_path
from tlog.sumdb import format_records, hash_tile_path
from tlog.text import decode_base64, encode_base64
from tlog.tiles import EntryBundle, Tile, bundles_for, format_entries, tiles_at

OURS = "log.example/ours"
CT = "ct.example/2025h2"
REKOR = "rekor.example"
NOW_MS = 1_767_139_200_000
NAVIGLI = "FiloSottile-sunlight/navigli2025h2/tile/data"


@dataclass(frozen=True, slots=True)
class Tree:
    """A log in a folder: what the configuration says of it, its size, and bytes of one of its entries in a file."""

    name: str
    origin: str
    kind: str
    keys: str
    size: int
    bundle: str
    entry: int
    part: bytes

    @property
    def place(self) -> str:
        """Where the bundle lies for those who read the log, below its URL."""
        return self.bundle.removeprefix("api/v2/")

    def config(self, url: str) -> str:
        """The ``[[log]]`` of a monitor."""
        return (
            f'[[log]]\norigin = "{self.origin}"\nurl = "{url}/{self.name}"\nkind = "{self.kind}"\n'
            f'policy = "none.txt"\n{self.keys}\n'
        )


def write(root: Path, path: str, data: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data)


def write_tiles(root: Path, leaves: Sequence[Hash], path: Callable[[Tile], str] = Tile.path) -> TreeHead:
    """Write the hash tiles of a tree; return its head."""
    rows = [list(leaves)]
    while len(rows[-1]) > 1:
        rows.append(node_hashes(rows[-1]))
    for tile in tiles_at(len(leaves)):
        first = tile.index * 256
        write(root, path(tile), b"".join(rows[8 * tile.level][first : first + tile.width]))
    return EMPTY_RANGE.extend(leaves).tree_head()


async def ours(root: Path, state: Path) -> Tree:
    """What our own log writes into the folder that a web server serves: 300 entries."""
    key = log_key(OURS)
    await trio.Path(state).mkdir()
    async with log(state, [key]) as (opened, _):
        await opened.add(*(b"entry %d " % number * 20 for number in range(300)))
        await opened.publisher.publish()
    shutil.copytree(state / "public", root / "ours")
    return Tree(
        "ours", OURS, "tiles", f'vkeys = ["{key.verifier_key}"]', 300, "tile/entries/000", 77, b"entry 77 " * 20
    )


def tessera(root: Path) -> Tree:
    """The tree of Tessera's own tests, as Tessera wrote it."""
    shutil.copytree(vector("transparency-dev-tessera/log"), root / "tessera")
    key = json.loads(vector("transparency-dev-tessera/keys.json").read_text())["vkey"]
    origin = "example.com/log/testdata"
    return Tree("tessera", origin, "tiles", f'vkeys = ["{key}"]', 15, "tile/entries/000.p/15", 10, b"ileven")


def sumdb(root: Path) -> Tree:
    """The tree of the Go checksum test server: its records, signed tree and hashes."""
    server = json.loads(vector("golang-mod/sumdb_client.json").read_text())
    records = [record["text"].encode() for record in server["records"]]
    write_tiles(root / "sumdb", leaf_hashes(records), hash_tile_path)
    bundle = sumdb_data_path(EntryBundle(0, len(records)))
    write(root / "sumdb", bundle, format_records(records))
    write(root / "sumdb", "latest", server["signed_trees"][str(len(records))].encode())
    return Tree("sumdb", SUMDB_ORIGIN, "sumdb", f'vkeys = ["{server["vkey"]}"]', len(records), bundle, 2, records[2])


def rekor(root: Path) -> Tree:
    """Bodies of real Rekor entries, in a log of ours."""
    cases = json.loads(vector("sigstore/rekor_entries_fixtures.json").read_text())["cases"]
    found = [case["entry"]["canonicalizedBody"] for case in cases if case["tlog_valid"]]
    entries = [decode_base64(body.encode(), "body") for body in found]
    folder, key = root / "rekor" / "api" / "v2", log_key(REKOR)
    head = write_tiles(folder, leaf_hashes(entries))
    bundle = EntryBundle(0, len(entries))
    write(folder, bundle.path(), format_entries(entries))
    write(folder, "checkpoint", sign_checkpoint(Checkpoint(REKOR, head.size, head.root_hash), key))
    info = bytes.fromhex("302a300506032b6570032100") + key.verifier_key.public_key
    keys = f'public_keys = ["{encode_base64(info).decode()}"]'
    return Tree("rekor", REKOR, "rekor2", keys, head.size, f"api/v2/{bundle.path()}", 9, entries[9])


def certificates(root: Path) -> Tree:
    """Real entries of a certificate log, 300 of them in the order of another log, which a key of ours signs."""
    first = real_leaves()
    more = parse_leaves(vector(f"{NAVIGLI}/003").read_bytes(), 768, 256)[:44]
    leaves = [*first, *(replace(leaf, extensions=format_extensions(at)) for at, leaf in enumerate(more, 256))]
    key = derive_private_key(7, SECP256R1())
    head = write_tiles(root / "ct", leaf_hashes([leaf.merkle_tree_leaf() for leaf in leaves]))
    for bundle in bundles_for(0, head.size, head.size):
        write(root / "ct", data_tile_path(bundle), format_leaves(leaves[bundle.start : bundle.end]))
    write(root / "ct", "checkpoint", sign_tree_head(CT, head, key))
    keys = f'public_keys = ["{encode_base64(public_bytes(key)).decode()}"]'
    return Tree("ct", CT, "static-ct", keys, head.size, data_tile_path(EntryBundle(0)), 100, leaves[100].certificate)


def real_issuers() -> list[str]:
    """Where the certificates would be that the chains of the real entries name; the vectors do not have them."""
    return sorted({issuer_path(fingerprint) for leaf in real_leaves() for fingerprint in leaf.chain})


def real_leaves() -> list[TileLeaf]:
    """The first 256 entries of the certificate log."""
    return parse_leaves(vector(f"{NAVIGLI}/000").read_bytes(), 0, 256)


def sign_tree_head(origin: str, head: TreeHead, key: EllipticCurvePrivateKey) -> bytes:
    """Sign a checkpoint as certificate logs do (RFC6962NoteSignature)."""
    signature = key.sign(tree_head_message(NOW_MS, head), ECDSA(SHA256()))
    body = format_timestamped(NOW_MS, b"\x04\x03" + len(signature).to_bytes(2) + signature)
    verifier = VerifierKey.of(origin, KeyType.RFC6962, public_bytes(key))
    text = Checkpoint(origin, head.size, head.root_hash).format()
    return Note(text, (SignatureLine(origin, verifier.id, body),)).format()


def public_bytes(key: EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
