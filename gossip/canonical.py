"""Canonical msgpack: every value that gossip exchanges has exactly one spelling.

The subset is arrays, byte strings, short text, integers, booleans and nil; no maps, no floats, no extension types. What
is read is bounded before it is built, then written again: bytes that are not what ``pack`` writes are refused. So two
monitors can never disagree about what a message says, and a signature over the bytes is a signature over the value.
"""

from typing import TypeAlias

import msgpack  # type: ignore[import-untyped]  # the package has no type information

from tlog.errors import FormatError

Value: TypeAlias = "bytes | str | int | bool | list[Value] | tuple[Value, ...] | None"

MAX_ARRAY = 4096  # the entries of one DIGEST, the longest array there is
MAX_TEXT = 255  # no field holds more than a name
MAX_DEPTH = 6  # envelope, messages, message, entries, entry: one to spare

_SCALARS = (bytes, str, int, bool, type(None))


def pack(value: Value) -> bytes:
    """Write a value in its one spelling."""
    packed = msgpack.packb(value, use_bin_type=True)
    if not isinstance(packed, bytes):
        raise AssertionError("msgpack packs to bytes")
    return packed


def unpack(data: bytes) -> Value:
    """Read a value that ``pack`` wrote; arrays become tuples. The caller has capped the length of ``data``."""
    try:
        value: object = msgpack.unpackb(
            data,
            raw=False,
            use_list=False,
            strict_map_key=True,
            max_str_len=MAX_TEXT,
            max_bin_len=len(data),
            max_array_len=MAX_ARRAY,
            max_map_len=0,
            max_ext_len=0,
        )
    except ValueError:  # what every error of msgpack is, its message made of the input
        raise FormatError("not well-formed msgpack within the limits") from None
    checked = _checked(value, MAX_DEPTH)
    if pack(checked) != data:
        raise FormatError("not canonical msgpack")
    return checked


def _checked(value: object, depth: int) -> Value:
    """Refuse the types that msgpack has and gossip has not."""
    if type(value) is tuple:
        if not depth:
            raise FormatError("arrays are nested too deeply")
        return tuple(_checked(item, depth - 1) for item in value)
    if isinstance(value, _SCALARS):
        return value
    raise FormatError("a map or a floating-point number where none is allowed")
