"""A checkpoint and the proof that ties it to another one: what views and completeness certificates are made of.

<word>                          says which of the file's parts this is
hash <base64 hash>...           the consistency proof between the two trees; none where there is nothing to prove
                                an empty line
<checkpoint with signatures>
"""

from collections.abc import Sequence

from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.note import Note
from tlog.signed_checkpoint import take_checkpoint
from tlog.text import cut, encode_base64, parse_hash

MAX_HASHES = 64  # the longest consistency proof between sizes below 2^63

_HASH = b"hash "


def format_tied(word: bytes, note: Note, path: Sequence[Hash]) -> bytes:
    """Write one part."""
    return b"\n".join([word, *(_HASH + encode_base64(value) for value in path)]) + b"\n\n" + note.format()


def take_tied(raw: bytes, word: bytes, what: str) -> tuple[Note, tuple[Hash, ...], bytes | None]:
    """Take one part off the beginning, and what follows its line ``--``, if one does. Nothing is verified.

    Raises:
        FormatError: there is none at the beginning; names it as ``what``.
    """
    header, rest = cut(raw, b"\n\n", f"{what} has no empty line after its header")
    first, *lines = header.split(b"\n")
    if first != word:
        raise FormatError(f"{what} does not start with the line {word.decode()}")
    if len(lines) > MAX_HASHES:
        raise FormatError(f"{what} has more than {MAX_HASHES} hashes")
    if not all(line.startswith(_HASH) for line in lines):
        raise FormatError(f"{what} has a line that is no hash")
    path = tuple(parse_hash(line.removeprefix(_HASH), f"a hash of {what}") for line in lines)
    note, more = take_checkpoint(rest, what)
    return note, path, more
