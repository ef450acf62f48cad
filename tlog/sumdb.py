"""How a Go checksum database serves what is in it: paths and data tiles (go.dev/design/25530-sumdb).

It differs from c2sp.org/tlog-tiles in three places. Paths of tiles name the height of the tiles; the entries lie in
data tiles, each a text, with an empty line between one and the next; and the checkpoint, whose origin is not the name
of its key, lies at ``latest``:

    latest                     go.sum database tree, its size and root: a checkpoint like any other
    tile/8/0/x001/067.p/8      the hash tile that others call tile/0/x001/067.p/8
    tile/8/data/x001/067.p/8   the entries below it

An entry is the lines of one module version. Its bytes, with the line feed of its last line, are what the tree hashes.
"""

from collections.abc import Sequence

from tlog.errors import FormatError
from tlog.text import parse_utf8
from tlog.tiles import TILE_HEIGHT, TILE_WIDTH, EntryBundle, Tile

ORIGIN = "go.sum database tree"
CHECKPOINT_PATH = "latest"
MAX_DATA_TILE_BYTES = TILE_WIDTH * 64 * 1024  # an entry is two lines of less than a kilobyte


def hash_tile_path(tile: Tile) -> str:
    """Return the path of a hash tile below the database's URL."""
    return f"tile/{TILE_HEIGHT}/{tile.path().removeprefix('tile/')}"


def data_tile_path(bundle: EntryBundle) -> str:
    """Return the path of a data tile below the database's URL."""
    return f"tile/{TILE_HEIGHT}/data/{bundle.path().removeprefix('tile/entries/')}"


def parse_records(data: bytes, first: int, width: int) -> list[bytes]:
    """Split a data tile, which begins with entry ``first``, into exactly ``width`` entries.

    The last one may be followed by an empty line: the Go library writes one, the public database does not.
    """
    if len(data) > MAX_DATA_TILE_BYTES:
        raise FormatError("a data tile is larger than 16 MiB")
    # Every line feed that ends a text is followed by one that separates, but for the last.
    body = data[:-1] if data.endswith(b"\n\n") else data
    # No more pieces than are wanted, or a tile of line feeds would become millions of them.
    texts = body.removesuffix(b"\n").split(b"\n\n", width)
    if not body.endswith(b"\n") or len(texts) != width:
        raise FormatError(f"a data tile does not hold {width} entries with empty lines between them")
    records = [text + b"\n" for text in texts]
    for index, record in enumerate(records, first):
        _check(record, f"entry {index}")
    return records


def format_records(records: Sequence[bytes]) -> bytes:
    """Write a data tile as the Go library does."""
    for record in records:
        if not record.endswith(b"\n") or b"\n\n" in record or record.startswith(b"\n"):
            raise ValueError("the text of an entry ends with a line feed and has no empty line")
    return b"".join(record + b"\n" for record in records)


def _check(record: bytes, what: str) -> None:
    if record.startswith(b"\n") or record.endswith(b"\n\n"):
        raise FormatError(f"{what} has an empty line in it")
    parse_utf8(record, what)
