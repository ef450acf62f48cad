#!/usr/bin/env python3
"""Entries that watches look through: no rule raises, and what it found is short and printable.

Input: the entry. It is also looked at as the certificate of a leaf, so that names are looked for in it.
"""

from monitor.watch import CertificateNames, Digests, JsonPath, ModulePaths, Pattern, Substring, Watch, matched
from monitor.watch.core import MAX_EXCERPT, MAX_EXCERPTS
from tlog.static_ct import TileLeaf

RULES = (
    Substring(b"needle"),
    Pattern.compile("(a+)+b|^x.*y$"),
    JsonPath.compile("$..a[?@.b == 'c' || @.*]"),
    JsonPath.compile("$[*].a", matches="e+d"),
    CertificateNames.of(["www.example.com", ".example.org", "192.0.2.1"]),
    ModulePaths.compile(["*.example.com/a?[b-d]", "x/y"]),
    Digests(frozenset([bytes(32), bytes(48)])),
)


def target(data: bytes) -> None:
    entries = [data]
    if data:
        entries += [
            TileLeaf(1, data, b"").merkle_tree_leaf(),
            TileLeaf(1, data, b"", issuer_key_hash=bytes(32)).merkle_tree_leaf(),
        ]
    for entry in entries:
        for rule in RULES:
            found = matched(Watch("w", rule), entry)
            if found is not None and not _is_presentable(found):
                raise AssertionError("what was found cannot be shown to people")


def _is_presentable(found: tuple[str, ...]) -> bool:
    return 0 < len(found) <= MAX_EXCERPTS and all(len(one) <= MAX_EXCERPT and one.isprintable() for one in found)


SEEDS = [
    b"",
    b"needle \xff\x00",
    b'{"a":[{"b":"c"},{"a":"eed"}]}',
    b'[{"a":"needle"}]',
    b"a.example.com/abc v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
    b"00" * 32,
    bytes(64),
    bytes.fromhex("3023301c020107a31730153013060a2b06010401d6790204030101ff040205003000030100"),
    TileLeaf(1, b"\x30\x00", b"").merkle_tree_leaf(),
]

if __name__ == "__main__":
    from fuzz.harness import main

    main(target, SEEDS)
