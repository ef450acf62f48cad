"""Canonical msgpack: every value that gossip exchanges has exactly one spelling.

The subset is arrays, byte strings, short text, integers, booleans and nil; no maps, no floats, no extension types. What
is read is bounded before it is built, then written again: bytes that are not what ``pack`` writes are refused. So two
monitors can never disagree about what a message says, and a signature over the bytes is a signature over the value.
"""

from itertools import chain
from typing import TypeAlias, cast

import msgpack  # type: ignore[import-untyped]  # the package has no type information

from tlog.errors import FormatError

Value: TypeAlias = "bytes | str | int | bool | list[Value] | tuple[Value, ...] | None"

MAX_ARRAY = 4096  # the entries of one DIGEST, the longest array there is
MAX_TEXT = 255  # no field holds more than a name
MAX_DEPTH = 6  # envelope, messages, message, entries, entry: one to spare
MAX_VALUES = 100_000  # arrays and what is in them: an envelope full of entries has 70,000

MAX_UNCOUNTED_BYTES = 65_536  # a value takes a byte at least

# What a first byte says: how long the value is, or of how many bytes the length is that follows.
_FIXED = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9, 0xDC: 3, 0xDD: 5}
_MEASURED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_SHORT_TEXT = range(0xA0, 0xC0)
_STEPS = [1 + first - 0xA0 if first in _SHORT_TEXT else _FIXED.get(first, 1) for first in range(256)]

_SCALARS = frozenset({bytes, str, int, bool, type(None)})
_TYPES = _SCALARS | {tuple}


def pack(value: Value) -> bytes:
    """Write a value in its one spelling."""
    packed = msgpack.packb(value, use_bin_type=True)
    if not isinstance(packed, bytes):
        raise AssertionError("msgpack packs to bytes")
    return packed


def unpack(data: bytes) -> Value:
    """Read a value that ``pack`` wrote; arrays become tuples. The caller has capped the length of ``data``."""
    if len(data) > MAX_UNCOUNTED_BYTES:
        _check_count(data)
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
    checked = _checked(value)
    if pack(checked) != data:
        raise FormatError("not canonical msgpack")
    return checked


def _check_count(data: bytes) -> None:
    """Refuse too many values before any is built: a megabyte of arrays in arrays would take more than a second."""
    at = count = 0
    while at < len(data):
        count += 1
        if count > MAX_VALUES:
            raise FormatError("too many values")
        first = data[at]
        width = _MEASURED.get(first, 0)
        at += _STEPS[first] + width + int.from_bytes(data[at + 1 : at + 1 + width])


def _checked(value: object) -> Value:
    """Refuse the types that msgpack has and gossip has not, and arrays in arrays in arrays; level by level, in C."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        if not _TYPES.issuperset(map(type, level)):
            raise FormatError("a map or a floating-point number where none is allowed")
        level = list(chain.from_iterable(one for one in level if type(one) is tuple))
        if not level:
            break
    if not _SCALARS.issuperset(map(type, level)):
        raise FormatError("arrays are nested too deeply")
    return cast(Value, value)
