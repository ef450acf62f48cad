"""The checkpoints that a log published before and keeps, held to its tree: each has to be a signed beginning of it."""

from typing import TypeVar

import msgspec

from runtime.errors import CannotTell
from sameview.fsck.served import Served
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.hashing import Hash
from tlog.note import MAX_NOTE_BYTES
from tlog.proofs import root_at, root_nodes
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import encode_base64
from tlog.tiles import Tile, TileReader, tiles_for
from tlog.trust import Trust

ROWS_AT_ONCE = 100
MAX_PAGE_BYTES = 1024 * 1024
MAX_ROWS_BYTES = ROWS_AT_ONCE * 2 * MAX_NOTE_BYTES  # in JSON a note takes a little more than its bytes
MAX_TILES = 256  # remembered: neighbours in the history have most of theirs in common


T = TypeVar("T")


class _Size(msgspec.Struct):
    size: int


class _Page(msgspec.Struct):
    checkpoints: list[_Size]
    next: str | None


class _Signature(msgspec.Struct):
    name: str
    key_id: str


class _Row(msgspec.Struct):
    size: int
    root_hash: str
    note: str
    signatures: list[_Signature]


async def check_history(served: Served, trust: Trust) -> int:
    """Check every checkpoint that the log keeps up to the one it was checked against; how many there are.

    Raises:
        ProofError: one is not what the log signed, or not a beginning of its tree; names it.
        CannotTell: the log does not serve a history.
    """
    roots, count, after, reached = _Roots(served), 0, "", -1
    while True:
        asked = f"limit={ROWS_AT_ONCE}&max_size={served.head.size}{after}"
        page = _decoded(await _read(served, f"v1/checkpoints?{asked}", MAX_PAGE_BYTES), _Page, "v1/checkpoints")
        if page.checkpoints:
            first, last = page.checkpoints[0].size, page.checkpoints[-1].size
            if not reached < first <= last:
                raise ProofError("v1/checkpoints: a page does not go on where the last one ended")
            reached = last
            path = f"v1/checkpoints.ndjson?min_size={first}&max_size={last}"
            for line in (await _read(served, path, MAX_ROWS_BYTES)).splitlines():
                await _check_row(_decoded(line, _Row, path), trust, roots)
                count += 1
        if page.next is None or not page.checkpoints:
            return count
        after = f"&after={page.next}"


async def _check_row(row: _Row, trust: Trust, roots: "_Roots") -> None:
    name = f"v1/checkpoints/{row.size}"
    signed = _opened(row, trust, name)
    if (signed.size, encode_base64(signed.root_hash).decode()) != (row.size, row.root_hash):
        raise ProofError(f"{name}: the note in the history is of another tree than the row it stands in")
    lines = {(line.name, line.key_id.hex()) for line in signed.note.signatures}
    if {(one.name, one.key_id) for one in row.signatures} != lines:
        raise ProofError(f"{name}: the history names other signatures than the note has")
    if signed.size > roots.served.head.size or await roots.at(signed.size) != signed.root_hash:
        raise ProofError(f"{name}: the log signed it, and it is not a beginning of the tree that the log serves")


def _opened(row: _Row, trust: Trust, name: str) -> SignedCheckpoint:
    try:
        return trust.open(row.note.encode()).require_any()
    except (FormatError, SignatureError) as error:
        raise ProofError(f"{name}: {error}") from None


class _Roots:
    """Roots of earlier sizes, from tiles that were found to be right."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._tiles: dict[Tile, bytes] = {}

    async def at(self, size: int) -> Hash:
        now = self.served.head.size
        for tile in tiles_for(root_nodes(size), now):
            if tile not in self._tiles:
                self._tiles[tile] = b"".join(await self.served.tile(tile))
        root = root_at(size, TileReader(now, self._tiles.__getitem__).node)
        while len(self._tiles) > MAX_TILES:
            del self._tiles[next(iter(self._tiles))]
        return root


async def _read(served: Served, path: str, cap: int) -> bytes:
    data = await served.source.read(path, cap)
    if data is None:
        raise CannotTell(
            "no history is served here: name the log's own URL, or run `sameview log replay` on its machine"
        )
    return data


def _decoded(data: bytes, shape: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ProofError(f"{name}: this is not how a log writes its history") from None
