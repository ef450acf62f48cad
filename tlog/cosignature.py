"""The exact bytes that keys sign for a checkpoint, and the bytes their signatures travel in (C2SP tlog-cosignature).

    key type             signs                      of the checkpoint
    ED25519, ECDSA       the text of the note       all lines
    COSIGNATURE_ED25519  ``cosignature_message``    all lines, and the time
    RFC6962              ``tree_head_message``      size and root hash, and the time; not the origin
    COSIGNATURE_MLDSA44  ``subtree_message``        origin, size and root hash, and the time and the signer's name

The last two sign no extension lines. A time is in Unix seconds, for ``RFC6962`` in milliseconds. Signatures that state
a time travel behind it, as ``<8 bytes, big endian> || <signature>``.

Here are bytes only: nothing is verified, and nothing is decided about what a time means.
"""

from tlog.errors import FormatError
from tlog.hashing import HASH_SIZE, Hash, TreeHead
from tlog.text import MAX_INTEGER, MAX_ORIGIN_BYTES

TIMESTAMP_BYTES = 8

_COSIGNATURE_HEADER = b"cosignature/v1\n"
_SUBTREE_LABEL = b"subtree/v1\n\x00"
_TREE_HEAD_V1 = b"\x00\x01"  # version v1, signature type tree_hash: RFC 6962 section 3.5


def cosignature_message(time: int, text: bytes) -> bytes:
    """Return what an Ed25519 cosigner signs: that at this time it had seen no larger tree than this text's."""
    # SPEC: CS-10 The header MUST be `cosignature/v1`, the second line `time`, one space and the decimal timestamp.
    # SPEC: CS-9 The message is those two lines and the whole note body with its final newline, without signatures.
    # SPEC: CS-11 Extension lines, where a log has them, MUST be part of the message.
    return b"%stime %d\n%s" % (_COSIGNATURE_HEADER, _checked(time), text)


def subtree_message(name: str, time: int, origin: str, start: int, end: int, hash: Hash) -> bytes:
    """Return what an ML-DSA-44 cosigner of this name signs about the entries from ``start`` up to ``end`` of a log.

    With ``start`` 0 it speaks of the whole tree of size ``end``. Time 0 makes no statement about the time.
    """
    # SPEC: CS-16 If start is not zero, the timestamp MUST be zero.
    if start and time:
        raise ValueError("a statement about a part of a tree has no time")
    if not 0 <= start <= end or len(hash) != HASH_SIZE:
        raise ValueError("no subtree")
    # SPEC: CS-14 The message is the cosigned_message structure; the name and the origin are 1 to 255 bytes long.
    parts = (_SUBTREE_LABEL, _prefixed(name), _u64(time), _prefixed(origin), _u64(start), _u64(end), hash)
    return b"".join(parts)


def tree_head_message(time_ms: int, head: TreeHead) -> bytes:
    """Return what a certificate log signs: the TreeHeadSignature of RFC 6962 section 3.5. It names no log."""
    return b"".join((_TREE_HEAD_V1, _u64(time_ms), _u64(head.size), head.root_hash))


def format_timestamped(time: int, signature: bytes) -> bytes:
    """Write the body of a signature line that states a time."""
    return _u64(time) + signature


def parse_timestamped(body: bytes, signature_size: int | None) -> tuple[int, bytes]:
    """Read the time and the signature; its size must be the given one, unless that is None."""
    # SPEC: CS-7 The fields of a timestamped signature MUST be in order, the timestamp big-endian.
    time, signature = int.from_bytes(body[:TIMESTAMP_BYTES], "big"), body[TIMESTAMP_BYTES:]
    if len(body) < TIMESTAMP_BYTES or signature_size not in (None, len(signature)):
        raise FormatError("a timestamped signature has the wrong length")
    # SPEC: CS-8 The timestamp MUST NOT be larger than 2^63 - 1.
    if time > MAX_INTEGER:
        raise FormatError("a timestamp is larger than 2^63 - 1")
    return time, signature


def _prefixed(name: str) -> bytes:
    data = name.encode()
    if not 0 < len(data) <= MAX_ORIGIN_BYTES:
        raise ValueError(f"a name is not 1 to {MAX_ORIGIN_BYTES} bytes long")
    return bytes([len(data)]) + data


def _u64(value: int) -> bytes:
    return _checked(value).to_bytes(8, "big")


def _checked(value: int) -> int:
    if not 0 <= value <= MAX_INTEGER:
        raise ValueError("number out of range")
    return value
