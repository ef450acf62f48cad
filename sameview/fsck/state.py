"""What an interrupted check had done, kept in a file, so that the next one goes on from there.

Only whole segments are kept. What was derived until then is bound to the signed root as ever: were the file another
log's, or changed, the root would differ in the end. What it cannot tell is whether files changed since they were read.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from runtime.errors import UsageError
from runtime.files import replace_file
from sameview.fsck.derived import SEGMENT, DerivedTree
from tlog.compact_range import CompactRange
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.text import encode_base64, parse_hash

MAX_STATE_BYTES = 16 * 1024 * 1024


class _State(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    origin: str
    tiles_only: bool
    size: int
    tiles: int
    range: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class StateFile:
    """The file, and which check it is about."""

    path: Path
    source: str
    origin: str
    tiles_only: bool

    def read(self) -> tuple[DerivedTree, int] | None:
        """The tree that was derived so far and the number of its tiles; None to begin at the beginning.

        Raises:
            UsageError: the file is about another check, or is no such file.
        """
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from None
        try:
            state = msgspec.json.decode(raw, type=_State)
            tree = _tree(state)
        except (msgspec.MsgspecError, UnicodeDecodeError, FormatError, ValueError):
            raise UsageError(f"{self.path} does not say how far a check had come: remove it") from None
        if (state.source, state.origin, state.tiles_only) != (self.source, self.origin, self.tiles_only):
            raise UsageError(f"{self.path} is of another check: name another file, or remove it")
        return tree, state.tiles

    def write(self, tree: DerivedTree, tiles: int) -> None:
        """Keep what is done until now; the end of a segment."""
        rows = [[_text(one) for one in row] for row in tree.rows]
        kept = [_text(one) for one in tree.range.hashes]
        state = _State(self.source, self.origin, self.tiles_only, tree.range.end, tiles, kept, rows)
        try:
            replace_file(self.path, msgspec.json.encode(state), mode=0o644)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None

    def forget(self) -> None:
        """The check has come to its end."""
        self.path.unlink(missing_ok=True)


def _tree(state: _State) -> DerivedTree:
    tree = DerivedTree()
    if state.size % SEGMENT or state.tiles < 0:
        raise ValueError("a check is kept at the end of a segment")
    tree.range = CompactRange(0, state.size, tuple(_hash(one) for one in state.range))
    tree.rows = [[_hash(one) for one in row] for row in state.rows]
    return tree


def _text(hash_: Hash) -> str:
    return encode_base64(hash_).decode()


def _hash(text: str) -> Hash:
    return parse_hash(text.encode())
