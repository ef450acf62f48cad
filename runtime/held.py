"""What the register of a log holds, as bytes: the epoch, and the statement that was made last."""

from typing import Annotated, Literal

import msgspec

from tlog.advance import Statement
from tlog.errors import FormatError
from tlog.hashing import HASH_SIZE, Hash
from tlog.text import MAX_INTEGER

MAX_HELD_BYTES = 1024 * 1024  # one statement, whose extension lines cannot exceed a note's 96 KiB, even in base64

_Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


class Stated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A statement, without its origin."""

    size: _Number
    root_hash: Annotated[bytes, msgspec.Meta(min_length=HASH_SIZE, max_length=HASH_SIZE)]
    time: _Number
    extensions: tuple[bytes, ...]


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """As JSON, in the one spelling that ``format`` gives it."""

    version: Literal[1] = 1
    origin: str
    epoch: _Number
    stated: Stated | None = None

    @classmethod
    def of(cls, new: Statement, epoch: int) -> "Held":
        """What is held once this was stated."""
        stated = Stated(new.size, new.root_hash, new.time, new.extensions)
        return cls(origin=new.origin, epoch=epoch, stated=stated)

    @classmethod
    def parse(cls, raw: bytes) -> "Held":
        """Read what ``format`` wrote.

        Raises:
            FormatError: it is damaged, as one that has another spelling is.
        """
        try:
            held = msgspec.json.decode(raw, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise FormatError("this is not what a register holds") from None
        if held.format() != raw:
            raise FormatError("this is not as a register spells it")
        return held

    def format(self) -> bytes:
        """As one line of JSON."""
        return msgspec.json.encode(self) + b"\n"

    def next_epoch(self) -> "Held":
        """What is held once somebody has taken it over."""
        return msgspec.structs.replace(self, epoch=self.epoch + 1)

    @property
    def statement(self) -> Statement | None:
        """The statement that was made last."""
        if self.stated is None:
            return None
        stated = self.stated
        return Statement(self.origin, stated.size, Hash(stated.root_hash), stated.time, stated.extensions)
