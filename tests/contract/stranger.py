"""Verifies evidence as somebody would who has read specs/evidence.md and never saw this project's code.

Written from the text, with another library for signatures, and without importing anything from the project: where it
and the project disagree on a vector, one of them or the text is wrong.
"""

import base64
import binascii
import hashlib
import json
import re
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

MAX = 2**63 - 1
HASH = rb"[A-Za-z0-9+/]{43}="
DECIMAL = rb"(?:0|[1-9][0-9]{0,18})"
PREFIX = rb"root (%s)\n((?:hash %s\n){1,64})" % (HASH, HASH)
OPENING = rb"node (%s)\n((?:hash %s\n){0,64})" % (HASH, HASH)
HEADERS = {
    b"bad-empty-head": rb"",
    b"same-size": rb"",
    b"openings": rb"level (%s)\nindex (%s)\n%s%s" % (DECIMAL, DECIMAL, OPENING, OPENING),
    b"non-consistent": PREFIX,
    b"log-rollback": rb"",
    b"cosigner-rollback": rb"",
    b"cosigner-same-size": rb"",
    b"cosigner-non-consistent": PREFIX,
    b"subtree": rb"",
    b"quorum-split": rb"(?:%s)?" % PREFIX,
    b"rotation": rb"",
}
CHECKPOINT = rb"(?P<size>%s)\n(?P<hash>%s)(?P<extensions>(?:\n[^\n]+)*)" % (DECIMAL, HASH)
TEXTS = {  # below the origin, where they are not checkpoints
    b"subtree": rb"(?P<place>(?P<start>%s) (?P<size>%s))\n(?P<hash>%s)" % (DECIMAL, DECIMAL, HASH),
    b"rotation": rb"(?P<place>rotate (?P<number>%s))\nnew (?P<new>[^\n]+)\ncutoff (?P<size>%s) (?P<hash>%s)"
    % (DECIMAL, DECIMAL, HASH),
}
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))

LOW_ORDER = [  # y of points of low order, the sign of x left out
    bytes(32),
    b"\1" + bytes(31),
    b"\xec" + b"\xff" * 30 + b"\x7f",
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]


class RefusedError(Exception):
    """The evidence convicts nobody; the argument is the kind of reason."""


def require(holds: object, kind: str) -> None:
    if not holds:
        raise RefusedError(kind)


def verdict(bundle: bytes, vkeys: list[str], policy: str | None, origin: str | None) -> dict[str, Any]:
    type_, header, notes = parse(bundle)
    about = notes[0]["origin"]
    require(origin in (None, about), "signature")
    logs, cosigners = asked(type_, *roles(about, vkeys, policy, origin))
    for note in notes:
        open_note(note, {**logs, **cosigners})
    require(all(note["origin"] == about for note in notes), "proof")
    first, second = notes[0], notes[-1]
    accused = cosigners if type_.startswith("cosigner") or type_ == "subtree" else logs
    one, other = choose(type_, first, second, accused)
    contradict(type_, header, first, second)
    parties = quorum(first, second, policy) if type_ == "quorum-split" else []
    pairs = [(first, one)] if type_ == "bad-empty-head" else [(first, one), (second, other)]
    stated = sorted(statement(type_, note, time) for note, (_, time) in pairs)
    packed = msgpack([type_, one[0], about, stated])
    return {
        "type": type_,
        "accused": one[0],
        "origin": about,
        "statements": [[readable(value) for value in values] for values in stated],
        "cosigners": parties,
        "id": hashlib.sha256(packed).hexdigest(),
    }


def statement(type_: str, note: dict[str, Any], time: int) -> list[Any]:
    if type_ == "subtree":
        return [note["start"], note["size"], note["root"]]
    if type_ == "rotation":
        return [note["number"], note["new"], note["size"], note["root"]]
    return [note["size"], note["root"], time]


def readable(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


# Section 2.


def parse(bundle: bytes) -> tuple[str, tuple[bytes, ...], list[dict[str, Any]]]:
    require(len(bundle) <= 204_800, "format")
    header, empty, rest = bundle.partition(b"\n\n")
    require(empty and header.startswith(b"tlog-evidence@v1\ntype "), "format")
    type_, _, fields = header.removeprefix(b"tlog-evidence@v1\ntype ").partition(b"\n")
    require(type_ in HEADERS, "format")
    match = re.fullmatch(HEADERS[type_], fields + b"\n" if fields else b"")
    if match is None:
        raise RefusedError("format")
    for value in re.findall(rb"(?m)^(?:root|hash|node) (.*)$", fields):
        decode(value)
    for value in re.findall(rb"(?m)^(?:level|index) (.*)$", fields):
        require(int(value) <= MAX, "format")
    if type_ == b"bad-empty-head":
        return type_.decode(), match.groups(), [parse_note(rest, CHECKPOINT)]
    text, empty, signatures = rest.partition(b"\n\n")
    own, separator, second = (b"\n" + signatures).partition(b"\n--\n")
    require(empty and separator, "format")
    pattern = TEXTS.get(type_, CHECKPOINT)
    halves = (text + b"\n" + own + b"\n", second)
    return type_.decode(), match.groups(), [parse_note(half, pattern) for half in halves]


def parse_note(raw: bytes, pattern: bytes) -> dict[str, Any]:
    require(len(raw) <= 98_304 and not re.search(rb"[\x00-\x09\x0b-\x1f]", raw), "format")
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise RefusedError("format") from None
    text, empty, tail = raw.rpartition(b"\n\n")
    match = re.fullmatch(rb"(?P<origin>[^\n]{1,255})\n" + pattern, text)
    if match is None or not empty or not tail.endswith(b"\n"):
        raise RefusedError("format")
    lines = [parse_line(line) for line in tail[:-1].split(b"\n")]
    require(len(lines) <= 100, "format")
    said = match.groupdict()
    start, size, number = (int(said.get(name, default)) for name, default in (("start", 0), ("size", 0), ("number", 1)))
    require(max(size, number) <= MAX and number > 0 and (start < size or "start" not in said), "format")
    return {
        "text": text + b"\n",
        "origin": said["origin"].decode(),
        "place": said.get("place"),
        "start": start,
        "size": size,
        "number": number,
        "new": said.get("new", b"").decode(),
        "root": decode(said["hash"]),
        "extended": bool(said.get("extensions")),
        "lines": lines,
    }


def parse_line(line: bytes) -> tuple[str, bytes, bytes]:
    match = re.fullmatch("— ([^ ]+) (.+)".encode(), line)
    if match is None:
        raise RefusedError("format")
    name = match[1].decode()
    require("+" not in name and not set(name) & set(WHITE_SPACE), "format")
    blob = decode(match[2], None)
    require(len(blob) >= 5, "format")
    return name, blob[:4], blob[4:]


def decode(field: bytes, size: int | None = 32) -> bytes:
    try:
        value = binascii.a2b_base64(field)
    except binascii.Error:
        raise RefusedError("format") from None
    require(base64.b64encode(value) == field and size in (None, len(value)), "format")
    return value


# Section 3.

Keys = dict[str, tuple[str, bytes, int, bytes]]


def roles(origin: str, vkeys: list[str], policy: str | None, named: str | None) -> tuple[Keys, Keys]:
    keys = {vkey: parse_vkey(vkey) for vkey in vkeys}
    listed = [line.split() for line in (policy or "").splitlines() if not line.startswith("#")]
    witnesses = {line[2]: parse_vkey(line[2]) for line in listed if line[0] == "witness"}
    policy_logs = {line[1]: parse_vkey(line[1]) for line in listed if line[0] == "log"}
    logs = {vkey: key for vkey, key in keys.items() if is_log(key, origin) and (named or key[0] == origin)}
    logs |= {vkey: key for vkey, key in policy_logs.items() if key[0] == origin}
    cosigners = {vkey: key for vkey, key in {**keys, **witnesses}.items() if not is_log(key, origin)}
    return logs, cosigners


def asked(type_: str, logs: Keys, cosigners: Keys) -> tuple[Keys, Keys]:
    if type_ == "subtree":
        return {}, {vkey: key for vkey, key in cosigners.items() if key[2] == 6}
    if type_ == "rotation":
        return {vkey: key for vkey, key in logs.items() if key[2] in (1, 2)}, {}
    return logs, cosigners


def is_log(key: tuple[str, bytes, int, bytes], origin: str) -> bool:
    return key[2] in (1, 2, 5) or (key[2] == 6 and key[0] == origin)


def parse_vkey(vkey: str) -> tuple[str, bytes, int, bytes]:
    name, id_, data = vkey.split("+", 2)
    raw = base64.b64decode(data)  # noqa: TID251  # trusted input
    return name, bytes.fromhex(id_), raw[0], raw[1:]


# Section 4.


def open_note(note: dict[str, Any], keys: Keys) -> None:
    note["by"] = []
    for name, id_, body in note["lines"]:
        for vkey, key in keys.items():
            if (name, id_) == key[:2] and vkey not in [by for by, _ in note["by"]]:
                note["by"].append((vkey, check(note, key, body)))
    require(note["by"], "signature")


def check(note: dict[str, Any], key: tuple[str, bytes, int, bytes], body: bytes) -> int:
    name, _, type_, public = key
    time = int.from_bytes(body[:8], "big") if type_ in (4, 5, 6) else 0
    require(time <= MAX, "signature")
    start, size = note["start"].to_bytes(8, "big"), note["size"].to_bytes(8, "big")
    try:
        if type_ == 1:
            verify_ed25519(public, body, note["text"])
        elif type_ == 2:
            load_der_public_key(public).verify(body, note["text"], ECDSA(SHA256()))  # type: ignore[union-attr,call-arg,arg-type]
        elif type_ == 4:
            verify_ed25519(public, body[8:], b"cosignature/v1\ntime %d\n%s" % (time, note["text"]))
        elif type_ == 5:
            require(name == note["origin"], "signature")
            require(not note["extended"] and body[8:10] == b"\x04\x03", "signature")
            require(int.from_bytes(body[10:12], "big") == len(body[12:]), "signature")
            message = b"\x00\x01" + body[:8] + size + note["root"]
            load_der_public_key(public).verify(body[12:], message, ECDSA(SHA256()))  # type: ignore[union-attr,call-arg,arg-type]
        else:
            require(not note["extended"] and not (note["place"] and time), "signature")
            message = b"subtree/v1\n\0" + prefixed(name) + body[:8] + prefixed(note["origin"])
            MLDSA44PublicKey.from_public_bytes(public).verify(body[8:], message + start + size + note["root"])
    except InvalidSignature:
        raise RefusedError("signature") from None
    return time


def verify_ed25519(public: bytes, signature: bytes, message: bytes) -> None:
    require(signature[:31] + bytes([signature[31] & 0x7F]) not in LOW_ORDER if len(signature) == 64 else 0, "signature")
    Ed25519PublicKey.from_public_bytes(public).verify(signature, message)


def prefixed(name: str) -> bytes:
    return bytes([len(name.encode())]) + name.encode()


def choose(type_: str, first: dict[str, Any], second: dict[str, Any], accused: Keys) -> list[tuple[str, int]]:
    ones = [by for by in first["by"] if by[0] in accused]
    others = [by for by in second["by"] if by[0] in accused]
    same = [(one, other) for one in ones for other in others if one[0] == other[0]]
    alone = type_.startswith("cosigner") or type_.endswith("rollback") or type_ in ("subtree", "rotation")
    pairs = same if same or alone else [(one, other) for one in ones for other in others]
    require(pairs, "signature")
    if type_.endswith("rollback"):
        pairs = [pair for pair in pairs if 0 < pair[0][1] < pair[1][1]]
        require(pairs, "proof")
    return list(pairs[0])


def contradict(type_: str, header: tuple[bytes, ...], first: dict[str, Any], second: dict[str, Any]) -> None:
    m, a, n, b = first["size"], first["root"], second["size"], second["root"]
    if type_ == "bad-empty-head":
        require(m == 0 and a != hashlib.sha256(b"").digest(), "proof")
    elif type_.endswith("rollback"):
        require(m > n, "proof")
    elif type_ in ("subtree", "rotation"):
        require(first["place"] == second["place"] and first["text"] < second["text"], "proof")
    elif type_ == "openings":
        level, index = int(header[0]), int(header[1])
        require((m, a) < (n, b) and header[2] != header[4], "proof")
        for size, root, node, path in ((m, a, *header[2:4]), (n, b, *header[4:6])):
            require(node_root(level, index, size, decode(node), hashes(path)) == root, "proof")
    elif header and header[0]:
        r = decode(header[0])
        require(0 < m < n and r != a and fold(m, n, r, hashes(header[1])) == (r, b), "proof")
    else:
        require(m == n and a < b, "proof")


def hashes(lines: bytes) -> list[bytes]:
    return [decode(line.removeprefix(b"hash ")) for line in lines.split(b"\n")[:-1]]


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(m: int, n: int, r: bytes, path: list[bytes]) -> tuple[bytes, bytes]:
    p = ([r] if m & (m - 1) == 0 else []) + path
    require(p, "proof")
    fn, sn = m - 1, n - 1
    while fn % 2:
        fn, sn = fn >> 1, sn >> 1
    a = b = p[0]
    for c in p[1:]:
        require(sn != 0, "proof")
        if fn % 2 or fn == sn:
            a, b = node_hash(c, a), node_hash(c, b)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            b = node_hash(b, c)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0, "proof")
    return a, b


def node_root(level: int, index: int, n: int, h: bytes, path: list[bytes]) -> bytes:
    require(level <= 62 and (index + 1) << level <= n, "proof")
    fn, sn = index, (n - 1) >> level
    for c in path:
        require(sn != 0, "proof")
        if fn % 2 or fn == sn:
            h = node_hash(c, h)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            h = node_hash(h, c)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0, "proof")
    return h


def quorum(first: dict[str, Any], second: dict[str, Any], policy: str | None) -> list[str]:
    if policy is None:
        raise RefusedError("signature")
    sides = []
    for note in (first, second):
        require(len(note["by"]) == len(note["lines"]), "signature")
        sides.append(parties(note, policy))
    return sorted(sides[0] & sides[1])


def parties(note: dict[str, Any], policy: str) -> set[str]:
    lines = [line.split() for line in policy.splitlines() if not line.startswith("#")]
    times = dict(note["by"])
    witnesses = {line[1]: (parse_vkey(line[2])[0], times.get(line[2])) for line in lines if line[0] == "witness"}
    reached = {line for line, (name, time) in witnesses.items() if time and name != note["origin"]}
    names = {witnesses[line][0] for line in reached}
    for line in lines:
        if line[0] == "group" and len(reached & set(line[3:])) >= least(line):
            reached.add(line[1])
        if line[0] == "quorum":
            require(line[1] in {*reached, "none"}, "signature")
    return names


def least(group: list[str]) -> int:
    return {"any": 1, "all": len(group[3:])}.get(group[2]) or int(group[2])


# Section 5.


def msgpack(value: object) -> bytes:
    """MessagePack of small arrays, strings, byte strings and integers, typed out."""
    if isinstance(value, list):
        return bytes([0x90 + len(value)]) + b"".join(map(msgpack, value))
    if isinstance(value, bytes):
        return b"\xc4" + bytes([len(value)]) + value
    if isinstance(value, str):
        raw = value.encode()
        if len(raw) < 32:
            return bytes([0xA0 + len(raw)]) + raw
        width = next(width for width in (1, 2, 4) if len(raw) < 1 << 8 * width)
        return bytes([0xD9 + (1, 2, 4).index(width)]) + len(raw).to_bytes(width, "big") + raw
    if not isinstance(value, int):
        raise TypeError(json.dumps(value))
    if value < 0x80:
        return bytes([value])
    width = next(width for width in (1, 2, 4, 8) if value < 1 << 8 * width)
    return bytes([0xCC + (1, 2, 4, 8).index(width)]) + value.to_bytes(width, "big")
