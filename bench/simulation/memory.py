"""Lets a process read and verify the same bytes once, although a thousand simulated monitors look at them.

What is remembered is the outcome of a pure function of exactly these arguments, so nothing turns out differently: a
test runs one federation with and without it and compares the traces. Only what succeeded is remembered.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tlog.keys import VerifierKey
from tlog.note import Note
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_REMEMBERED = 200_000

Outcome = TypeVar("Outcome")
Key = TypeVar("Key")
Instance = TypeVar("Instance", bound="DataclassInstance")


@contextmanager
def remembered() -> Iterator[None]:
    """Remember notes, verified signatures and opened checkpoints while this lasts."""
    verify, parse = VerifierKey.verify, Note.parse
    notes: dict[bytes, Note] = {}
    openings: dict[tuple[bytes | Note, tuple[VerifierKey, ...]], SignedCheckpoint] = {}

    def open_once(raw: bytes | Note, keys: Iterable[VerifierKey]) -> SignedCheckpoint:
        key = (raw, tuple(keys))
        found = openings.get(key)
        if found is None:
            found = _put(openings, key, open_checkpoint(raw, key[1]))
        return found

    def parse_once(raw: bytes) -> Note:
        found = notes.get(raw)
        return _put(notes, raw, parse(raw)) if found is None else found

    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("gossip.core")]
    users = [module for module in modules if vars(module).get("open_checkpoint") is open_checkpoint]
    changers = [module for module in modules if vars(module).get("replace") is replace]
    try:
        VerifierKey.verify = _once(verify)  # type: ignore[method-assign,assignment]
        Note.parse = parse_once  # type: ignore[method-assign]
        for module in users:
            vars(module)["open_checkpoint"] = open_once
        for module in changers:
            vars(module)["replace"] = _replace
        yield
    finally:
        VerifierKey.verify = verify  # type: ignore[method-assign]
        Note.parse = parse  # type: ignore[method-assign]
        for module in users:
            vars(module)["open_checkpoint"] = open_checkpoint
        for module in changers:
            vars(module)["replace"] = replace


def _once(verify: Callable[[VerifierKey, bytes, bytes], None]) -> Callable[[VerifierKey, bytes, bytes], None]:
    verified: dict[tuple[bytes, int, bytes, bytes], None] = {}

    def verify_once(self: VerifierKey, message: bytes, signature: bytes) -> None:
        key = (self.public_key, self.type, message, signature)
        if key not in verified:
            verify(self, message, signature)
            _put(verified, key, None)

    return verify_once


class _Fields(NamedTuple):
    """How a value is made anew: what it was made of, in order, and the place of each name."""

    values: Callable[[object], tuple[object, ...]]
    places: dict[str, int]


_fields: dict[type, _Fields] = {}


def _replace(one: Instance, /, **changes: object) -> Instance:
    """Do what ``dataclasses.replace`` does, and look only once at what the fields of a class are."""
    kind = type(one)
    known = _fields.get(kind)
    if known is None:
        names = [field.name for field in fields(one)]
        if len(names) < 2 or not all(field.init and not field.kw_only for field in fields(one)):
            return replace(one, **changes)
        known = _fields[kind] = _Fields(attrgetter(*names), {name: place for place, name in enumerate(names)})
    values = list(known.values(one))
    for name, value in changes.items():
        values[known.places[name]] = value
    return kind(*values)


def _put(memory: dict[Key, Outcome], key: Key, outcome: Outcome) -> Outcome:
    if len(memory) >= MAX_REMEMBERED:
        memory.clear()
    memory[key] = outcome
    return outcome
