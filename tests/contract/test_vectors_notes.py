"""Notes, keys, checkpoints and cosignatures of other implementations and of running logs."""

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from hashlib import sha256

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.vectors import vector, vector_files
from tlog.checkpoint import Checkpoint
from tlog.cosignature import cosignature_message, parse_timestamped, subtree_message
from tlog.errors import FormatError, SignatureError, TlogError
from tlog.hashing import EMPTY_ROOT, Hash, TreeHead, leaf_hash
from tlog.keys import KeyType, SignerKey, VerifierKey, key_id
from tlog.note import (
    BadSignatureError,
    Note,
    NotSignedError,
    SignatureLine,
    message_to_sign,
    open_note,
    parse_signature_lines,
    signature_line,
)
from tlog.proofs import verify_inclusion
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.text import decode_base64, encode_base64


class Json:
    """A value of a JSON file; every access says which type it expects."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __getitem__(self, key: str) -> "Json":
        assert isinstance(self._value, dict)
        return Json(self._value[key])

    def get(self, key: str) -> "Json | None":
        assert isinstance(self._value, dict)
        return Json(self._value[key]) if self._value.get(key) is not None else None

    def __iter__(self) -> "Iterator[Json]":
        return iter(self.all)

    @property
    def all(self) -> "list[Json]":
        assert isinstance(self._value, list)
        return [Json(value) for value in self._value]

    @property
    def items(self) -> "list[tuple[str, Json]]":
        assert isinstance(self._value, dict)
        return [(key, Json(value)) for key, value in self._value.items()]

    @property
    def text(self) -> str:
        assert isinstance(self._value, str)
        return self._value

    @property
    def raw(self) -> bytes:
        return self.text.encode()

    @property
    def hex(self) -> bytes:
        return bytes.fromhex(self.text)

    @property
    def base64(self) -> bytes:
        return decode_base64(self.raw, "vector")

    @property
    def number(self) -> int:
        assert isinstance(self._value, int)
        return self._value

    @property
    def true(self) -> bool:
        assert isinstance(self._value, bool)
        return self._value

    @property
    def texts(self) -> "list[str]":
        return [one.text for one in self]


def load(relative: str) -> Json:
    return Json(json.loads(vector(relative).read_text()))


def inline(id: str) -> Json:
    return next(entry for entry in load("c2sp-inline-vectors.json")["entries"] if entry["id"].text == id)


def vkeys(texts: list[str]) -> list[VerifierKey]:
    return [VerifierKey.parse(text) for text in texts]


def opened(raw: bytes, *texts: str) -> SignedCheckpoint:
    """The checkpoint, after whatever holds for every real one: it is written back byte for byte."""
    checkpoint = open_checkpoint(raw, vkeys(list(texts)))
    assert checkpoint.raw == raw
    assert checkpoint.checkpoint.format() == checkpoint.note.text
    assert len(checkpoint.signatures) == len(texts)
    return checkpoint


# --- Signed notes ---


def test_the_note_printed_in_the_specification_opens() -> None:
    """SN-9, SN-11: the only vector that the specification prints."""
    case = load("florolf-tlog-scales/signed_note_spec_vector.json")
    assert case["note"].text == inline("c2sp-signed-note-example")["note"].text
    key = VerifierKey.parse(case["vkey"].text)
    assert key.public_key == case["pubkey_hex"].hex
    (signature,) = open_note(Note.parse(case["note"].raw), [key])
    assert signature.key == key


OPEN = load("golang-mod/note_open.json")["cases"].all


@pytest.mark.parametrize("case", OPEN, ids=lambda case: case["id"].text)
def test_notes_open_as_in_the_go_library(case: Json) -> None:
    """SN-5 to SN-9, SN-18, SN-19."""
    message, keys, result = case.get("msg"), vkeys(case["verifiers"].texts), case["result"].text
    raw = message.raw if message else case["msg_b64"].base64
    match result:
        case "ok":
            signatures = open_note(Note.parse(raw), keys)
            assert [signature.key.name for signature in signatures] == case["verified"].texts
        case "unverified":
            with pytest.raises(NotSignedError):
                open_note(Note.parse(raw), keys)
        case "malformed":
            with pytest.raises(FormatError):
                Note.parse(raw)
        case "invalid-signature":
            with pytest.raises(BadSignatureError):
                open_note(Note.parse(raw), keys)
        case "ambiguous":
            # The same key given twice. Go compares objects and calls it ambiguous; here equal keys are one key.
            assert [signature.key for signature in open_note(Note.parse(raw), keys)] == [keys[0]]
        case _:
            pytest.fail(f"the vector has a result {result} that this test does not know")


def test_a_note_of_two_signers_opens_for_both() -> None:
    case = inline("gomod-note-two-signers")
    note = Note.parse(case["note"].raw)
    assert note.text == case["text"].raw
    assert [signature.key for signature in open_note(note, vkeys(case["vkeys"].texts))] == vkeys(case["vkeys"].texts)


# --- vkeys ---

VKEYS = load("golang-mod/vkeys.json")
PETER = VKEYS["good"].texts[0]


@pytest.mark.parametrize("vkey", VKEYS["good"].texts)
def test_good_vkeys_of_the_go_library_are_read(vkey: str) -> None:
    assert VerifierKey.parse(vkey).format() == vkey


@pytest.mark.parametrize("vkey", [case["vkey"].text for case in VKEYS["bad"]] + VKEYS["bad_manglings"].texts)
def test_bad_vkeys_of_the_go_library_are_refused(vkey: str) -> None:
    with pytest.raises(FormatError):
        VerifierKey.parse(vkey)


def test_every_proper_substring_of_a_vkey_is_refused() -> None:
    for start in range(len(PETER)):
        for end in range(start, len(PETER) + (start > 0)):
            with pytest.raises(FormatError):
                VerifierKey.parse(PETER[start:end])


def test_a_vkey_with_any_byte_increased_is_refused() -> None:
    for i in range(len(PETER)):
        with pytest.raises(FormatError):
            VerifierKey.parse(PETER[:i] + chr(ord(PETER[i]) + 1) + PETER[i + 1 :])


PUBLISHED = re.compile(r"[^\s\"'+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44,}=*")
VKEY_FILES = [
    *vector_files("transparency-dev-distributor", "*.yaml"),
    *vector_files("transparency-dev-witness-network", "lists/*/*"),
    *vector_files("transparency-dev-witness", "*.yaml"),
    *vector_files("transparency-dev-witness", "*.vkey"),
    *vector_files("FiloSottile-torchwood", "*.vkey"),
    vector("real-checkpoints/keys.json"),
    vector("real-checkpoints/markovianprotocol.com/tlog.policy"),
    vector("florolf-tlog-scales/keys.json"),
    vector("project-oak/keys.json"),
    vector("transparency-dev-tessera/keys.json"),
]
# The one published vkey whose key ID is wrong; the right one would be 657ccfb7.
MISPRINTED = "ConfidentialWitness-buoyant-breeze+0259a715+Aa8Q+XxXXROuuaEyqioqILcmsr4M8bQ6tQYHU5NQBnCe"


@pytest.mark.parametrize("file", VKEY_FILES, ids=lambda file: "/".join(file.parts[-2:]))
def test_published_vkeys_are_read_but_for_the_misprinted_one(file: object) -> None:
    """SN-16, SN-20."""
    assert hasattr(file, "read_text")
    found = [text for text in PUBLISHED.findall(file.read_text()) if text != MISPRINTED]
    assert found
    assert [VerifierKey.parse(text).format() for text in found] == found


def test_the_misprinted_vkey_is_refused() -> None:
    """SN-20: the key ID is recomputed and compared."""
    assert MISPRINTED in vector("transparency-dev-distributor/witnesses-dev.yaml").read_text()
    with pytest.raises(FormatError, match="key ID"):
        VerifierKey.parse(MISPRINTED)
    assert VerifierKey.parse(MISPRINTED.replace("0259a715", "657ccfb7")).name.startswith("ConfidentialWitness")


def test_every_key_of_the_chrome_log_list_makes_a_vkey() -> None:
    """C-8: the LogID in the key ID is the one that the list prints."""
    operators = list(load("cloudflare-azul/chrome_log_list_81.14.json")["operators"])
    logs = [log for operator in operators for kind in ("logs", "tiled_logs") for log in operator[kind]]
    assert len(logs) == 75
    for log in logs:
        name = (log.get("url") or log["submission_url"]).text.removeprefix("https://").rstrip("/")
        key = VerifierKey.of(name, KeyType.RFC6962, log["key"].base64)
        assert key.id == sha256(name.encode() + b"\n\x05" + log["log_id"].base64).digest()[:4]
        assert VerifierKey.parse(str(key)) == key


# --- Checkpoint texts ---

AZUL = load("cloudflare-azul/checkpoint_text.json")


@pytest.mark.parametrize("text", [one.raw for one in AZUL["good"]])
def test_good_checkpoint_texts_are_read(text: bytes) -> None:
    """CP-1, CP-6."""
    assert Checkpoint.parse(text).format() == text


@pytest.mark.parametrize("case", AZUL["bad"].all, ids=lambda case: case["id"].text)
def test_bad_checkpoint_texts_are_refused(case: Json) -> None:
    """CP-1, CP-2, CP-4, CP-5, CP-6, CP-12."""
    with pytest.raises(FormatError):
        Checkpoint.parse(case["body"].raw)


FORMATS = load("transparency-dev-formats/checkpoint_body.json")


@pytest.mark.parametrize("case", FORMATS["cases"].all, ids=lambda case: case["id"].text)
def test_checkpoint_bodies_of_the_go_library_differ_only_in_their_root_hashes(case: Json) -> None:
    """CP-5, CP-6: that library takes roots of any length and empty extension lines, the specification neither."""
    with pytest.raises(FormatError):
        Checkpoint.parse(case["body"].raw)
    grammatical = case["valid"].true and "" not in case["rest"].text.split("\n")[:-1]
    with_root = _with_root_of_32_bytes(case["body"].raw)
    try:
        checkpoint: Checkpoint | None = Checkpoint.parse(with_root)
    except FormatError:
        checkpoint = None
    assert (checkpoint is not None) == grammatical
    if checkpoint is not None:
        assert (checkpoint.origin, checkpoint.size) == (case["origin"].text, case["size"].number)
        assert b"".join(line + b"\n" for line in checkpoint.extensions) == case["rest"].raw


def test_extension_lines_of_the_go_library_are_read() -> None:
    """CP-6."""
    case = FORMATS["extended"]
    checkpoint = Checkpoint.parse(_with_root_of_32_bytes(case["body"].raw))
    assert (checkpoint.origin, checkpoint.size) == (case["origin"].text, case["size"].number)
    assert [line.decode() for line in checkpoint.extensions] == case["extensions"].texts


def _with_root_of_32_bytes(body: bytes) -> bytes:
    """Pad a third line that is base64 to the length that these vectors lack; leave other lines as they are."""
    lines = body.split(b"\n")
    if len(lines) > 2:
        with contextlib.suppress(FormatError):
            lines[2] = encode_base64(decode_base64(lines[2], "root").ljust(32, b"\0")[:32])
    return b"\n".join(lines)


STRICT = inline("derived-strict-parser-negatives")["rules"].all
ROOT_LINE = encode_base64(bytes(32)) + b"\n"
LINE = "\n— stranger.example MTIzNDU=\n".encode()


@pytest.mark.parametrize("size", STRICT[0]["reject"].texts)
def test_lax_decimals_are_refused(size: str) -> None:
    """CP-4."""
    with pytest.raises(FormatError):
        Checkpoint.parse(b"log.example\n" + size.encode() + b"\n" + ROOT_LINE)


@pytest.mark.parametrize("root", STRICT[1]["reject"].texts)
def test_lax_root_hashes_are_refused(root: str) -> None:
    """CP-5, CP-12."""
    with pytest.raises(FormatError):
        Checkpoint.parse(b"log.example\n1\n" + root.encode() + b"\n")


@pytest.mark.parametrize("root", STRICT[1]["accept"].texts)
def test_canonical_root_hashes_are_read(root: str) -> None:
    """CP-12."""
    text = b"log.example\n1\n" + root.encode() + b"\n"
    assert Checkpoint.parse(text).format() == text


@pytest.mark.parametrize("raw", [bytes.fromhex(text) for text in STRICT[2]["reject_bytes_hex"].texts])
def test_lax_note_bytes_are_refused(raw: bytes) -> None:
    """SN-2: also with a signature behind them, where the last of these becomes a note."""
    with pytest.raises(FormatError):
        Note.parse(raw)
    if raw != b"a\n":
        with pytest.raises(FormatError):
            Note.parse(raw + LINE)


# --- Logs signed with Ed25519 and ECDSA ---

SUMDB = load("sum.golang.org/signed_trees.json")
SERVERLESS = load("transparency-dev-serverless-log/checkpoints.json")
REKOR_TILES = load("sigstore-rekor-tiles/checkpoints.json")


@pytest.mark.parametrize("case", SUMDB["cases"].all, ids=lambda case: case["id"].text)
def test_trees_of_the_go_checksum_database(case: Json) -> None:
    """CP-8: its key name differs from its origin."""
    if case["valid"].true:
        checkpoint = opened(case["note"].raw, SUMDB["vkey"].text)
        assert (checkpoint.origin, checkpoint.signatures[0].key.name) == ("go.sum database tree", "sum.golang.org")
    else:
        with pytest.raises(TlogError):
            opened(case["note"].raw, SUMDB["vkey"].text)


def test_trees_of_the_test_server_of_the_go_client_and_its_fork() -> None:
    case = load("golang-mod/sumdb_client.json")
    for size, note in case["signed_trees"].items:
        assert opened(note.raw, case["vkey"].text).size == int(size)
    assert opened(case["fork"]["old_signed_tree"].raw, case["vkey"].text).size == 5


@pytest.mark.parametrize("id", ["go-sumdb-30055305", "go-sumdb-35225469"])
def test_quoted_trees_of_the_go_checksum_database(id: str) -> None:
    case = inline(id)
    assert opened(case["note"].raw, case["vkey"].text).size == int(id.rpartition("-")[2])


def test_the_checkpoint_printed_in_the_specification_does_not_verify() -> None:
    """SN-6, SN-9: it is a genuine one with its origin and key name replaced."""
    case = inline("c2sp-checkpoint-example-is-not-a-vector")
    printed, key = case["note_as_printed"].raw, VerifierKey.parse(case["vkey"].text)
    with pytest.raises(NotSignedError):
        open_checkpoint(printed, [key])
    with pytest.raises(BadSignatureError):
        open_checkpoint(printed.replace("— example.com/behind-the-sofa".encode(), "— sum.golang.org".encode()), [key])
    assert opened(case["note_restored"].raw, case["vkey"].text).size == 20852163


@pytest.mark.parametrize("case", SERVERLESS["checkpoints"].all, ids=lambda case: str(case["size"].number))
def test_checkpoints_of_a_growing_log(case: Json) -> None:
    checkpoint = opened(case["checkpoint"].raw, SERVERLESS["vkey"].text)
    assert (checkpoint.origin, checkpoint.size) == (SERVERLESS["origin"].text, case["size"].number)
    assert (checkpoint.root_hash == EMPTY_ROOT) == (checkpoint.size == 0)


@pytest.mark.parametrize(
    "file", vector_files("transparency-dev-tessera", "**/checkpoint*"), ids=lambda file: "/".join(file.parts[-2:])
)
def test_checkpoints_of_tessera(file: object) -> None:
    assert hasattr(file, "read_bytes")
    keys = vkeys(PUBLISHED.findall(vector("transparency-dev-tessera/keys.json").read_text()))
    assert open_checkpoint(file.read_bytes(), keys).raw == file.read_bytes()


@pytest.mark.parametrize("case", REKOR_TILES["cases"].all, ids=lambda case: case["note"].text[:14])
def test_checkpoints_of_a_rekor_test_log(case: Json) -> None:
    if case["valid"].true:
        assert opened(case["note"].raw, REKOR_TILES["vkey"].text).origin == "rekor-local"
    else:
        with pytest.raises(TlogError):
            opened(case["note"].raw, REKOR_TILES["vkey"].text)


@pytest.mark.parametrize("size", [412115, 34356369])
def test_checkpoints_of_rekor_v2(size: int) -> None:
    raw = vector(f"real-checkpoints/rekor-v2_{size}.checkpoint").read_bytes()
    assert opened(raw, load("real-checkpoints/keys.json")["rekor_v2"].text).size == size


def test_checkpoints_quoted_in_other_places() -> None:
    geomys = "geomys.org/witness/test-log+c0787ff4+AeMb5VOzy60PTGdGmLPxOKGAa0jNyDGsgv2rnprGju1t"
    armored = vector("transparency-dev-witness/aw_ftlog_ci2.vkey").read_text().strip()
    opened(vector("real-checkpoints/geomys_test-log.checkpoint").read_bytes(), geomys)
    opened(vector("transparency-dev-witness/aw_ftlog_ci2.checkpoint").read_bytes(), armored)
    opened(vector("transparency-dev-witness/sumdb_latest_1514086.checkpoint").read_bytes(), SUMDB["vkey"].text)


REKOR = load("sigstore/rekor_entries_fixtures.json")


@pytest.mark.parametrize("case", REKOR["cases"].all, ids=lambda case: case["ids"].texts[0])
def test_log_entries_of_sigstore_bundles(case: Json) -> None:
    """0x02 and 0x01 checkpoints, inclusion and size: what the log part of a bundle proves."""
    keys = [_rekor_key(key) for key in REKOR["key_sets"][case["keys"].text]]
    try:
        _verify_rekor_entry(case["entry"], keys)
        valid = True
    except TlogError:
        valid = False
    assert valid == case["tlog_valid"].true


def _rekor_key(key: Json) -> VerifierKey:
    spki, host = key["spki_b64"].base64, key["host"].text
    verifier = (
        VerifierKey.of(host, KeyType.ECDSA, spki)
        if key["key_details"].text == "ec"
        else VerifierKey.of(host, KeyType.ED25519, spki[-32:])
    )
    assert verifier.id == key["log_id_b64"].base64[:4]
    return verifier


def _verify_rekor_entry(entry: Json, keys: list[VerifierKey]) -> None:
    proof = entry.get("inclusionProof")
    signed = proof and proof.get("checkpoint")
    if proof is None or signed is None:
        raise FormatError("there is no checkpoint")
    checkpoint = open_checkpoint(signed["envelope"].raw, keys)
    head = TreeHead(int(proof["treeSize"].text), Hash(proof["rootHash"].base64))
    if checkpoint.head != head:
        raise FormatError("the proof is for another tree head")
    path = [Hash(one.base64) for one in proof["hashes"]]
    verify_inclusion(leaf_hash(entry["canonicalizedBody"].base64), int(proof["logIndex"].text), head, path)


# --- Certificate logs ---

RFC6962 = load("transparency-dev-formats/rfc6962_notes.json")


@pytest.mark.parametrize("case", RFC6962["notes"].all, ids=lambda case: case["id"].text)
def test_checkpoints_of_certificate_logs(case: Json) -> None:
    """C-7, C-8."""
    if case["valid"].true:
        checkpoint = opened(case["note"].raw, case["vkey"].text)
        assert checkpoint.signatures[0].timestamp == case["timestamp"].number
    else:
        with pytest.raises(BadSignatureError, match="origin"):
            opened(case["note"].raw, case["vkey"].text)


def test_a_signed_tree_head_becomes_a_checkpoint_without_the_private_key() -> None:
    """C-8: and back, because nothing is lost."""
    for case in RFC6962["sth_to_checkpoint"]:
        sth, key = case["sth"], VerifierKey.parse(case["vkey"].text)
        try:
            raw = _checkpoint_of(sth, key)
        except FormatError:
            assert not case["valid"].true
            continue
        assert (raw == case["checkpoint"].raw) == case["valid"].true
        assert opened(raw, str(key)).signatures[0].timestamp == sth["timestamp"].number


def _checkpoint_of(sth: Json, key: VerifierKey) -> bytes:
    checkpoint = Checkpoint(key.name, sth["tree_size"].number, Hash(sth["sha256_root_hash"].base64))
    line = signature_line(key, sth["timestamp"].number, sth["tree_head_signature"].base64)
    return Note(checkpoint.format(), (line,)).format()


def test_vkeys_of_certificate_logs() -> None:
    """C-8: the vkey holds the SPKI, the key ID covers the LogID."""
    for case in RFC6962["verifier_strings"]:
        key = VerifierKey.of(case["name"].text, KeyType.RFC6962, case["spki_b64"].base64)
        assert str(key) == case["vkey"].text
    for name in RFC6962["bad_names"].texts:
        with pytest.raises(FormatError):
            VerifierKey.of(name, KeyType.RFC6962, case["spki_b64"].base64)


def test_a_tree_head_of_sunlight() -> None:
    case = load("FiloSottile-sunlight/rfc6962_injected.json")
    key = VerifierKey.of(case["origin"].text, KeyType.RFC6962, case["public_key_spki_b64"].base64)
    assert str(key) == case["vkey"].text
    assert _checkpoint_of(case["sth"], key) == case["note"].raw
    assert opened(case["note"].raw, str(key)).size == case["sth"]["tree_size"].number


def test_a_tree_head_of_the_first_certificate_log() -> None:
    for case in load("google-certificate-transparency-go/sth.json")["valid"]:
        key = VerifierKey.of("ct.googleapis.com/pilot", KeyType.RFC6962, case["key_spki_b64"].base64)
        assert opened(_checkpoint_of(case["sth"], key), str(key)).size == case["sth"]["tree_size"].number


# --- Cosignatures ---


def test_a_cosigned_checkpoint_of_a_real_log() -> None:
    """CS-7, CS-9, CS-10: Ed25519 by four public witnesses, and an RFC 6962 line of a key that is not published."""
    keys = load("florolf-tlog-scales/keys.json")
    trusted = vkeys(keys["arche_vkeys"].texts + keys["witness_vkeys"].texts)
    raw = vector("florolf-tlog-scales/arche2025h1.checkpoint").read_bytes()
    checkpoint = open_checkpoint(raw, trusted)
    types = [signature.key.type for signature in checkpoint.signatures]
    assert sorted(types) == [KeyType.ED25519] + 4 * [KeyType.COSIGNATURE_ED25519]
    assert len(checkpoint.note.signatures) == 6
    assert checkpoint.raw == raw
    changed = vector("florolf-tlog-scales/arche2025h1_size42.checkpoint").read_bytes()
    for signature in checkpoint.signatures:
        with pytest.raises(BadSignatureError):
            open_checkpoint(changed, [signature.key])


@pytest.mark.parametrize(
    "case",
    load("real-checkpoints/markovianprotocol.com/verdicts_fixtures.json")["checkpoints"].all,
    ids=lambda c: c["file"].text,
)
def test_checkpoints_cosigned_by_the_public_witness_network(case: Json) -> None:
    """SN-6, CS-7: seven witnesses, one of which also signs with ML-DSA-44, and keys that nobody knows."""
    keys = load("real-checkpoints/markovianprotocol.com/keys.json")
    trusted = vkeys([keys["log_vkey"].text, *keys["witness_vkeys"].texts])
    raw = vector(f"real-checkpoints/markovianprotocol.com/{case['file'].text}").read_bytes()
    checkpoint = open_checkpoint(raw, trusted)
    assert checkpoint.head == TreeHead(case["size"].number, Hash(case["root"].base64))
    verified = {(signature.key.name, int(signature.key.type)) for signature in checkpoint.signatures}
    assert verified == {(name.text, type.number) for name, type in case["all_verified"]}
    known = {signature.line for signature in checkpoint.signatures}
    ignored = {(line.name, line.key_id.hex()) for line in checkpoint.note.signatures if line not in known}
    assert ignored == {(name.text, id.text) for name, id in case["ignored"]}


COSIGNED, PLAIN, JUNK = [
    case["sig_b64"].raw for case in load("transparency-dev-formats/cosig_timestamps.json")["cases"]
]


def _line_of(blob: bytes) -> SignatureLine:
    return SignatureLine.parse("— a.example ".encode() + blob)


def test_the_time_of_a_cosignature_stands_before_the_signature() -> None:
    """CS-7."""
    assert parse_timestamped(_line_of(COSIGNED).body, 64)[0] == 1727964367


def test_a_signature_without_time_is_no_cosignature() -> None:
    """CS-7: the length tells them apart."""
    with pytest.raises(FormatError, match="length"):
        parse_timestamped(_line_of(PLAIN).body, 64)


def test_a_cosignature_that_is_not_base64_is_refused() -> None:
    with pytest.raises(FormatError):
        _line_of(JUNK)


SKYLIGHT = inline("skylight-monitoring-fixtures")


@pytest.mark.parametrize(
    ("signer", "vkey", "file", "others"),
    [
        ("witness", "witness_vkey", "witness.checkpoint", ["log_vkey_0x05"]),
        ("mirror", "mirror_vkey", "mirror/checkpoint", []),
    ],
)
def test_deterministic_cosignatures_are_made_again(signer: str, vkey: str, file: str, others: list[str]) -> None:
    """CS-3, CS-7, CS-9, CS-10: from the seed to the line, byte for byte."""
    seed = sha256(f"skylight test {signer} key".encode()).digest()
    name = SKYLIGHT[vkey].text.partition("+")[0]
    key = SignerKey(name, KeyType.COSIGNATURE_ED25519, seed)
    assert str(key.verifier_key) == SKYLIGHT[vkey].text
    raw = vector(f"FiloSottile-sunlight/skylight/{file}").read_bytes()
    checkpoint = opened(raw, *(SKYLIGHT[other].text for other in others), SKYLIGHT[vkey].text)
    time = SKYLIGHT["timestamp"].number
    signature = key.sign(message_to_sign(key.verifier_key, checkpoint.note.text, time))
    assert raw.endswith(signature_line(key.verifier_key, time, signature).format())


def test_the_log_and_its_mirror_in_skylight_disagree() -> None:
    log = opened(vector("FiloSottile-sunlight/skylight/log.checkpoint").read_bytes(), SKYLIGHT["log_vkey_0x05"].text)
    mirror = opened(
        vector("FiloSottile-sunlight/skylight/mirror/checkpoint").read_bytes(), SKYLIGHT["mirror_vkey"].text
    )
    assert (log.origin, log.size) == (mirror.origin, mirror.size)
    assert log.root_hash != mirror.root_hash
    assert log.signatures[0].timestamp == 1000 * SKYLIGHT["timestamp"].number


# sigsum-go pkg/checkpoint/checkpoint_test.go, BSD-2-Clause: the key is the seed 17, 0, 0, ..., the time 1234.
SIGSUM_TEXT = b"example.org/log\n10\nHA5HAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
SIGSUM_TAIL = "UAAAAAAAAATSftMzceM8zssdZ9jin9SjwIxzx9iADMf63VqirX2hafol9RsqNqbofIz0LVRqHXI2kpEBSki5RTXFtxz1vo9+C"
SIGSUM_LINES = (
    f"— example.org/witness yX8u{SIGSUM_TAIL}g==\n"
    f"— example.org/witness ys8u{SIGSUM_TAIL}g==\n"
    f"— example.org/witness-2 ys8u{SIGSUM_TAIL}g==\n"
    f"— example.org/witness ys8u{SIGSUM_TAIL}gXX\n"
).encode()


def test_the_cosignature_of_sigsum_is_made_again() -> None:
    """CS-3, CS-7, CS-9, CS-10, SN-6: another key ID, another name, and a second line of the key are ignored."""
    key = SignerKey("example.org/witness", KeyType.COSIGNATURE_ED25519, b"\x11" + bytes(31))
    lines = parse_signature_lines(SIGSUM_LINES)
    made = signature_line(key.verifier_key, 1234, key.sign(cosignature_message(1234, SIGSUM_TEXT)))
    assert made == lines[1]
    (signature,) = open_note(Note(SIGSUM_TEXT, lines), [key.verifier_key])
    assert (signature.line, signature.timestamp) == (lines[1], 1234)


def test_the_message_of_a_sigsum_cosignature() -> None:
    """CS-9, CS-10."""
    case = load("sigsum-go/tree_head.json")
    assert cosignature_message(72623859790382856, case["checkpoint_text"].raw) == case["cosigned_data"].raw


def test_a_sigsum_tree_head_is_a_note_of_the_log() -> None:
    """A log's signature over the text that its key makes up, which is what 0x01 signs."""
    head = load("sigsum-go/tree_head.json")["signed_tree_head"]
    public_key = base64.b64decode(head["log_key_ssh"].text.split()[1])[-32:]  # noqa: TID251  # SSH wire format
    _verify_sigsum(public_key, head["size"].number, head["root_hex"].hex, head["signature_hex"].hex)
    with pytest.raises(SignatureError):
        _verify_sigsum(public_key, 5, head["root_hex"].hex, head["signature_hex"].hex)


def test_a_real_sigsum_tree_head_and_its_cosignatures() -> None:
    """CS-9: a witness of Sigsum signs the same message."""
    keys = load("sigsum-log-go/keys.json")
    fields = _ascii_fields(vector("sigsum-log-go/jellyfish_tree_head.txt").read_text())
    size, root, signature = (
        int(fields["size"][0]),
        *(bytes.fromhex(fields[name][0]) for name in ("root_hash", "signature")),
    )
    checkpoint = _verify_sigsum(keys["log_key_hex"].hex, size, root, signature)
    assert checkpoint.origin == keys["origin"].text
    witnesses = {hash: key.hex for hash, key in keys["witness_keys_hex"].items}
    assert len(fields["cosignature"]) == 2
    for cosignature in fields["cosignature"]:
        hash, time, body = cosignature.split()
        assert sha256(witnesses[hash]).hexdigest() == hash
        key = VerifierKey.of("witness.example", KeyType.COSIGNATURE_ED25519, witnesses[hash])
        line = signature_line(key, int(time), bytes.fromhex(body))
        (opened_line,) = open_note(Note(checkpoint.note.text, (line,)), [key])
        assert opened_line.timestamp == int(time)


@pytest.mark.parametrize("case", load("sigsum-go/proofs.json")["proofs"].all, ids=lambda case: case["file"].text)
def test_tree_heads_in_sigsum_proofs(case: Json) -> None:
    fields = _ascii_fields(vector(f"sigsum-go/{case['file'].text}").read_text())
    root, signature = (bytes.fromhex(fields[name][0]) for name in ("root_hash", "signature"))
    checkpoint = _verify_sigsum(case["log_key_hex"].hex, int(fields["size"][0]), root, signature)
    witnesses = case.get("witness_keys_hex")
    for public_key, cosignature in zip(witnesses.all if witnesses else [], fields.get("cosignature", []), strict=True):
        hash, time, body = cosignature.split()
        assert sha256(public_key.hex).hexdigest() == hash
        key = VerifierKey.of("witness.example", KeyType.COSIGNATURE_ED25519, public_key.hex)
        open_note(Note(checkpoint.note.text, (signature_line(key, int(time), bytes.fromhex(body)),)), [key])


def _verify_sigsum(public_key: bytes, size: int, root: bytes, signature: bytes) -> SignedCheckpoint:
    origin = f"sigsum.org/v1/tree/{sha256(public_key).hexdigest()}"
    key = VerifierKey.of(origin, KeyType.ED25519, public_key)
    text = Checkpoint(origin, size, Hash(root)).format()
    return opened(Note(text, (signature_line(key, 0, signature),)).format(), str(key))


def _ascii_fields(text: str) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for line in text.split("\n")[:-1]:
        name, _, value = line.partition("=")
        fields.setdefault(name, []).append(value)
    return fields


def test_an_mldsa_log_signs_its_own_checkpoint() -> None:
    """CS-4, CS-7, CS-14, CS-15, CS-17."""
    case = inline("mldsa44-cosigned-message")
    vkey = vector("FiloSottile-torchwood/mldsa44.vkey").read_text().strip()
    raw = vector("FiloSottile-torchwood/mldsa44.checkpoint").read_bytes()
    assert (vkey, raw) == (case["vkey"].text, case["note"].raw)
    checkpoint = opened(raw, vkey)
    assert checkpoint.signatures[0].timestamp == case["timestamp"].number == 0
    assert message_to_sign(VerifierKey.parse(vkey), checkpoint.note.text, 0) == case["cosigned_message_hex"].hex


def test_the_cosigned_message_of_an_mldsa_log_is_written_out() -> None:
    """CS-14."""
    case = inline("mldsa44-cosigned-message")
    message = subtree_message(
        case["cosigner_name"].text,
        case["timestamp"].number,
        case["origin"].text,
        case["start"].number,
        case["end"].number,
        Hash(case["hash_b64"].base64),
    )
    assert message == case["cosigned_message_hex"].hex


def test_the_response_printed_in_the_witness_specification_is_refused() -> None:
    """CS-8: its signatures are random bytes, and two of three times lie above 2^63 - 1."""
    case = inline("c2sp-add-checkpoint-response-example-timestamps")
    times = [int(text) for text in case["timestamps"].texts]
    for blob, time, late in zip(case["lines"].texts, times, case["above_2_63_minus_1"], strict=True):
        line = SignatureLine.parse(f"— witness.example {blob}".encode())
        assert int.from_bytes(line.body[:8], "big") == time
        key = VerifierKey(line.name, line.key_id, KeyType.COSIGNATURE_ED25519, bytes(32))
        with pytest.raises(BadSignatureError, match="timestamp" if late.true else "verify"):
            open_note(Note(SIGSUM_TEXT, (line,)), [key])


def test_a_key_published_as_a_log_key_is_not_silently_taken_for_a_witness() -> None:
    """SN-20: legacy witness vkeys are of type 0x01, and their cosignatures carry another key ID."""
    legacy = VerifierKey.parse(PETER)
    converted = VerifierKey.of(legacy.name, KeyType.COSIGNATURE_ED25519, legacy.public_key)
    assert converted.id == key_id(legacy.name, KeyType.COSIGNATURE_ED25519, legacy.public_key) != legacy.id


# --- Signature schemes ---


def _accepts(key: VerifierKey, message: bytes, signature: bytes) -> bool:
    try:
        key.verify(message, signature)
    except SignatureError:
        return False
    return True


def test_ed25519_of_wycheproof() -> None:
    groups = list(load("C2SP-wycheproof/ed25519_test.json")["testGroups"])
    keys = [VerifierKey.of("a.example", KeyType.ED25519, group["publicKey"]["pk"].hex) for group in groups]
    tests = [(key, test) for key, group in zip(keys, groups, strict=True) for test in group["tests"]]
    assert len(tests) == 151
    for key, test in tests:
        expected = test["result"].text == "valid"
        assert _accepts(key, test["msg"].hex, test["sig"].hex) == expected, test["tcId"].number


def test_mldsa44_of_wycheproof() -> None:
    """ML-DSA-44 here has no context, so signatures under one are refused."""
    checked = 0
    for group in load("C2SP-wycheproof/mldsa_44_verify_test.json")["testGroups"]:
        for test in group["tests"]:
            context = test.get("ctx")
            expected = test["result"].text == "valid" and (context is None or not context.text)
            try:
                key = VerifierKey.of("a.example", KeyType.COSIGNATURE_MLDSA44, group["publicKey"].hex)
                accepted = _accepts(key, test["msg"].hex, test["sig"].hex)
            except FormatError:
                accepted = False
            assert accepted == expected, test["tcId"].number
            checked += 1
    assert checked == 180


def test_mldsa44_keys_of_wycheproof_are_made_from_their_seeds() -> None:
    seen = 0
    for group in load("C2SP-wycheproof/mldsa_44_sign_seed_test.json")["testGroups"]:
        seed, public_key = group["privateSeed"].hex, group.get("publicKey")
        if len(seed) == 32 and public_key is not None:
            key = SignerKey("a.example", KeyType.COSIGNATURE_MLDSA44, seed)
            assert key.verifier_key.public_key == public_key.hex
            key.verifier_key.verify(b"message", key.sign(b"message"))
            seen += 1
    assert seen


# The rule that libsodium follows, in the terms of these vectors: a component of low order in the key or in R is
# tolerated, the equation itself is checked without the cofactor ("residue"), and encodings are canonical.
TOLERATED = {"low_order_component_A", "low_order_component_R"}


def _edge_cases() -> Iterator[tuple[Json, set[str], bool]]:
    """The cases of C2SP/CCTV, their flags, and whether they are accepted here."""
    for case in load("C2SP-CCTV/ed25519vectors.json"):
        flags = case.get("flags")
        key = VerifierKey("a.example", b"", KeyType.ED25519, case["key"].hex)
        yield case, set(flags.texts) if flags else set(), _accepts(key, case["msg"].raw, case["sig"].hex)


def test_which_of_the_rules_for_ed25519_is_followed() -> None:
    """On 914 edge cases on which implementations differ."""
    assert all(accepted == (flags <= TOLERATED) for _, flags, accepted in _edge_cases())


def test_whatever_ed25519_signature_is_accepted_here_is_accepted_by_go_and_openssl() -> None:
    assert all(_openssl_accepts(case) for case, _, accepted in _edge_cases() if accepted)


def test_what_go_and_openssl_accept_beyond_that_has_a_key_or_an_r_of_low_order() -> None:
    """None of which an honest signer makes: who makes one gives away the private key."""
    for case, flags, accepted in _edge_cases():
        if not accepted and _openssl_accepts(case):
            assert flags & {"low_order_A", "low_order_R"}


def test_keys_that_are_not_of_prime_order_are_never_read() -> None:
    for case, flags, _ in _edge_cases():
        if flags & {"low_order_A", "low_order_component_A", "non_canonical_A"}:
            with pytest.raises(FormatError, match="prime order"):
                VerifierKey.of("a.example", KeyType.ED25519, case["key"].hex)


def _openssl_accepts(case: Json) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(case["key"].hex).verify(case["sig"].hex, case["msg"].raw)
    except InvalidSignature:
        return False
    return True
