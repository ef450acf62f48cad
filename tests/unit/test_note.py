import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.keys import NOW, log_key, mldsa_key, note_line, witness_key
from tlog.checkpoint import Checkpoint
from tlog.cosignature import cosignature_message, format_timestamped, subtree_message, tree_head_message
from tlog.errors import FormatError, SignatureError
from tlog.hashing import EMPTY_ROOT, Hash
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    BadSignatureError,
    Note,
    NotSignedError,
    SignatureLine,
    message_to_sign,
    open_note,
    parse_signature_lines,
    signature_line,
)
from tlog.text import encode_base64

LOG, WITNESS, PQ = log_key(), witness_key(), mldsa_key("witness.example/pq")
CHECKPOINT = Checkpoint("log.example/one", 257, Hash(bytes(range(32))))
EXTENDED = dataclasses.replace(CHECKPOINT, extensions=(b"extension",))
TEXT = CHECKPOINT.format()
LINE = note_line(CHECKPOINT, LOG)
COSIGNATURE = note_line(CHECKPOINT, WITNESS)
RAW = Note(TEXT, (LINE, COSIGNATURE)).format()
STRANGE = SignatureLine("stranger.example", b"abcd", b"s" * 64)

P256 = ec.derive_private_key(7, ec.SECP256R1())
SPKI = P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
ECDSA = VerifierKey.of("ecdsa.example", KeyType.ECDSA, SPKI)
CERTIFICATE_LOG = VerifierKey.of("log.example/one", KeyType.RFC6962, SPKI)


def line_with(blob: bytes, name: bytes = b"log.example/one") -> bytes:
    return "— ".encode() + name + b" " + encode_base64(blob)


def ecdsa_line(checkpoint: Checkpoint, key: VerifierKey, time: int = NOW) -> SignatureLine:
    signature = P256.sign(message_to_sign(key, checkpoint.format(), time), ec.ECDSA(SHA256()))
    if key.type is KeyType.RFC6962:
        signature = b"\x04\x03" + len(signature).to_bytes(2, "big") + signature
    return signature_line(key, time, signature)


def renamed(line: SignatureLine, name: str) -> SignatureLine:
    return dataclasses.replace(line, name=name)


def forged(line: SignatureLine) -> SignatureLine:
    return dataclasses.replace(line, body=line.body[:-1] + bytes([line.body[-1] ^ 1]))


def opened(*lines: SignatureLine, keys: tuple[SignerKey, ...] = (LOG, WITNESS), text: bytes = TEXT) -> list[str]:
    note = Note(text, lines)
    return [signature.key.name for signature in open_note(note, [key.verifier_key for key in keys])]


# --- Grammar ---


def test_a_note_is_its_text_an_empty_line_and_signatures() -> None:
    note = Note.parse(RAW)
    assert note == Note(TEXT, (LINE, COSIGNATURE))
    assert note.format() == RAW


@pytest.mark.parametrize("text", [b"\n", b"a\n", b"a\n\nb\n", b"a\n\n", b"\n\n\n", "é\u2028\n".encode(), b"\x7f\n"])
def test_the_last_empty_line_ends_the_text(text: bytes) -> None:
    """SN-3: the text may hold empty lines. SN-2: 0x7f is allowed."""
    note = Note(text, (STRANGE,))
    assert Note.parse(note.format()) == note


def test_a_signature_before_the_last_empty_line_is_text() -> None:
    """SN-3: and so it signs nothing."""
    note = Note.parse(TEXT + b"\n" + LINE.format() + b"\n" + COSIGNATURE.format())
    assert note == Note(TEXT + b"\n" + LINE.format(), (COSIGNATURE,))


def test_the_key_id_is_the_first_four_bytes_of_a_signature() -> None:
    line = SignatureLine.parse(line_with(b"\1\2\3\4rest"))
    assert line == SignatureLine("log.example/one", b"\1\2\3\4", b"rest")


def test_a_signature_of_one_byte_is_read() -> None:
    """SN-18: at least five bytes with the key ID."""
    assert SignatureLine.parse(line_with(b"\1\2\3\4s")).format() == line_with(b"\1\2\3\4s") + b"\n"


BAD_LINES = {
    "SN-18 a signature of no bytes": line_with(b"\1\2\3\4"),
    "SN-18 a blob shorter than a key ID": line_with(b"\1\2\3"),
    "SN-18 an empty blob": line_with(b""),
    "no blob": "— name".encode(),
    "no name": "— ".encode(),
    "nothing": b"",
    "a hyphen": line_with(b"12345").replace("—".encode(), b"-"),
    "an en dash": line_with(b"12345").replace("—".encode(), "–".encode()),
    "no space after the dash": line_with(b"12345").replace("— ".encode(), "—".encode()),
    "two spaces": line_with(b"12345").replace(b"one ", b"one  "),
    "a leading space": b" " + line_with(b"12345"),
    "a trailing space": line_with(b"12345") + b" ",
    "a second blob": line_with(b"12345") + b" MTIzNDU=",
    "a carriage return": line_with(b"12345") + b"\r",
    "a line feed": line_with(b"12345") + b"\n",
    "no padding": line_with(b"12345").rstrip(b"="),
    "CP-12 trailing bits": line_with(b"12345").replace(b"NDU=", b"NDV="),
    "not base64": line_with(b"12345").replace(b"NDU=", b"ND%="),
    "SN-4 an empty name": line_with(b"12345", b""),
    "SN-4 a plus sign in the name": line_with(b"12345", b"a+b"),
    "SN-4 a Unicode space in the name": line_with(b"12345", "a\u3000b".encode()),
    "SN-4 a no-break space in the name": line_with(b"12345", "a\u00a0b".encode()),
    "a name that is not UTF-8": line_with(b"12345", b"\xff"),
    "a control character in the name": line_with(b"12345", b"a\x00"),
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_refuses_a_signature_line_with(line: bytes) -> None:
    with pytest.raises(FormatError):
        SignatureLine.parse(line)


@pytest.mark.parametrize("line", [line for name, line in BAD_LINES.items() if name != "a line feed"])
def test_one_bad_line_spoils_the_note_whosever_it_is(line: bytes) -> None:
    """SN-18: every signature line must parse."""
    with pytest.raises(FormatError):
        Note.parse(RAW + line + b"\n")


BAD_NOTES = {
    "nothing": b"",
    "text without signatures": TEXT,
    "an empty line without signatures": TEXT + b"\n",
    "no text": b"\n" + LINE.format(),
    "no empty line": TEXT + LINE.format(),
    "no last line feed": RAW[:-1],
    "an empty last line": RAW + b"\n",
    "two empty lines before the end": TEXT + b"\n" + LINE.format() + b"\n\n",
    "CRLF": RAW.replace(b"\n", b"\r\n"),
    "SN-2 text that is not UTF-8": b"\xff" + RAW,
    "SN-2 an overlong encoding": b"\xc0\xaf" + RAW,
    "SN-2 a surrogate": b"\xed\xa0\x80" + RAW,
}


@pytest.mark.parametrize("raw", BAD_NOTES.values(), ids=BAD_NOTES)
def test_refuses_as_a_note(raw: bytes) -> None:
    with pytest.raises(FormatError):
        Note.parse(raw)


@pytest.mark.parametrize("control", [code for code in range(0x20) if code != ord("\n")])
def test_refuses_a_note_with_a_control_character(control: int) -> None:
    """SN-2: no ASCII control characters below 0x20 except newline."""
    with pytest.raises(FormatError, match="control"):
        Note.parse(bytes([control]) + RAW)


def test_sixteen_signatures_of_five_kilobytes_are_accepted() -> None:
    """SN-5: at least 16 signatures MUST be accepted, and post-quantum ones reach 5 kB each."""
    lines = tuple(SignatureLine(f"{i:0255}", b"abcd", b"s" * 3750) for i in range(16))
    assert all(len(line.format()) > 5000 for line in lines)
    assert Note.parse(Note(b"x" * 4096 + b"\n", lines).format()).signatures == lines


def test_the_number_of_signatures_is_capped() -> None:
    """SN-5, SN-19: 100 lines."""
    assert len(Note.parse(Note(TEXT, (STRANGE,) * MAX_SIGNATURES).format()).signatures) == MAX_SIGNATURES
    with pytest.raises(FormatError, match="signatures"):
        Note.parse(Note(TEXT, (STRANGE,) * (MAX_SIGNATURES + 1)).format())


def test_the_size_of_a_note_is_capped() -> None:
    """SN-5."""
    fits = b"x" * (MAX_NOTE_BYTES - len(RAW)) + RAW
    assert Note.parse(fits).format() == fits
    with pytest.raises(FormatError, match="longer"):
        Note.parse(b"x" + fits)


def test_signature_lines_alone_are_read_as_a_witness_answers_them() -> None:
    assert parse_signature_lines(LINE.format() + COSIGNATURE.format()) == (LINE, COSIGNATURE)


@pytest.mark.parametrize("body", [b"", b"\n", LINE.format()[:-1], LINE.format() + b"\n", b"\n" + LINE.format()])
def test_refuses_signature_lines_that_are_not_lines(body: bytes) -> None:
    with pytest.raises(FormatError):
        parse_signature_lines(body)


# --- Opening ---


def test_the_keys_that_signed_are_reported_in_the_order_of_the_lines() -> None:
    assert opened(LINE, COSIGNATURE) == ["log.example/one", "witness.example/one"]
    assert opened(COSIGNATURE, LINE) == ["witness.example/one", "log.example/one"]


def test_any_one_trusted_key_suffices() -> None:
    """SN-9."""
    assert opened(LINE, COSIGNATURE, keys=(WITNESS,)) == ["witness.example/one"]


IGNORED = {
    "an unknown key": STRANGE,
    "SN-6 the name of a known key and another ID": renamed(STRANGE, LOG.name),
    "SN-6 the ID of a known key and another name": renamed(forged(LINE), "stranger.example"),
    "SN-6 the name in other case": renamed(forged(LINE), LOG.name.upper()),
}


@pytest.mark.parametrize("line", IGNORED.values(), ids=IGNORED)
def test_ignores(line: SignatureLine) -> None:
    """SN-6, CP-11: signatures of unknown keys MUST be ignored."""
    assert opened(line, LINE) == opened(LINE, line) == [LOG.name]


@pytest.mark.parametrize("line", IGNORED.values(), ids=IGNORED)
def test_refuses_a_note_that_nobody_known_signed(line: SignatureLine) -> None:
    """SN-1, SN-9."""
    with pytest.raises(NotSignedError):
        opened(line)


def test_refuses_a_note_when_there_is_no_trusted_key() -> None:
    """SN-9."""
    with pytest.raises(NotSignedError, match="no trusted key"):
        opened(LINE, keys=())


FAILING = {
    "another signature": forged(LINE),
    "a short signature": dataclasses.replace(LINE, body=LINE.body[:-1]),
    "a long signature": dataclasses.replace(LINE, body=LINE.body + b"\0"),
    "the cosignature of the same key": dataclasses.replace(LINE, body=bytes(8) + LINE.body),
}


@pytest.mark.parametrize("line", FAILING.values(), ids=FAILING)
def test_one_failing_line_of_a_known_key_spoils_the_note(line: SignatureLine) -> None:
    """SN-7, SN-8."""
    with pytest.raises(BadSignatureError) as caught:
        opened(COSIGNATURE, line)
    assert caught.value.key == LOG.verifier_key


def test_who_is_not_trusted_and_who_forges_can_be_told_apart() -> None:
    assert issubclass(NotSignedError, SignatureError)
    assert issubclass(BadSignatureError, SignatureError)
    assert not issubclass(NotSignedError, BadSignatureError)


@pytest.mark.parametrize("second", [LINE, forged(LINE)], ids=["the same", "a forged one"])
def test_of_several_lines_of_one_key_the_first_counts_and_counts_once(second: SignatureLine) -> None:
    """SN-19, CP-13."""
    assert opened(LINE, second, COSIGNATURE, second) == [LOG.name, WITNESS.name]


def test_a_forged_first_line_is_not_made_good_by_a_second() -> None:
    """SN-8, SN-19."""
    with pytest.raises(BadSignatureError):
        opened(forged(LINE), LINE)


def test_a_key_given_twice_is_one_key() -> None:
    """SN-19: lists of keys are joined by callers; only different keys under one name and ID are ambiguous."""
    assert opened(LINE, keys=(LOG, LOG)) == [LOG.name]


@pytest.mark.parametrize("line", [LINE, COSIGNATURE], ids=["used", "not used"])
def test_two_keys_with_one_name_and_id_are_a_mistake_of_the_configuration(line: SignatureLine) -> None:
    """SN-19."""
    impostor = dataclasses.replace(LOG.verifier_key, public_key=WITNESS.verifier_key.public_key)
    with pytest.raises(ValueError, match="same name and key ID"):
        open_note(Note(TEXT, (line,)), [LOG.verifier_key, impostor, WITNESS.verifier_key])


def test_the_signed_bytes_are_the_text_as_received() -> None:
    """SN-1: the text with its last line feed, without the empty line."""
    text = b"not a checkpoint\n\nat all\n"
    line = signature_line(LOG.verifier_key, 0, LOG.sign(text))
    assert opened(line, text=text) == [LOG.name]
    with pytest.raises(BadSignatureError):
        opened(line, text=text + b"\n")


# --- Statements ---


@pytest.mark.parametrize(
    ("signer", "message"),
    [
        (LOG, TEXT),
        (WITNESS, cosignature_message(NOW, TEXT)),
        (PQ, subtree_message(PQ.name, NOW, "log.example/one", 0, 257, CHECKPOINT.root_hash)),
    ],
    ids=["ED25519", "COSIGNATURE_ED25519", "COSIGNATURE_MLDSA44"],
)
def test_what_a_key_signs_depends_on_its_type(signer: SignerKey, message: bytes) -> None:
    """CS-9, CS-17."""
    assert message_to_sign(signer.verifier_key, TEXT, NOW) == message


@pytest.mark.parametrize(
    ("key", "message"), [(ECDSA, TEXT), (CERTIFICATE_LOG, tree_head_message(NOW, CHECKPOINT.head))]
)
def test_what_keys_that_only_verify_sign(key: VerifierKey, message: bytes) -> None:
    """C-8."""
    assert message_to_sign(key, TEXT, NOW) == message


@pytest.mark.parametrize(
    ("line", "key", "timestamp"),
    [
        (LINE, LOG.verifier_key, None),
        (ecdsa_line(CHECKPOINT, ECDSA), ECDSA, None),
        (COSIGNATURE, WITNESS.verifier_key, NOW),
        (note_line(CHECKPOINT, PQ), PQ.verifier_key, NOW),
        (ecdsa_line(CHECKPOINT, CERTIFICATE_LOG, NOW * 1000 + 7), CERTIFICATE_LOG, NOW * 1000 + 7),
    ],
    ids=["ED25519", "ECDSA", "COSIGNATURE_ED25519", "COSIGNATURE_MLDSA44", "RFC6962"],
)
def test_the_time_that_was_signed_is_reported(line: SignatureLine, key: VerifierKey, timestamp: int | None) -> None:
    """CS-7: seconds, for certificate logs milliseconds."""
    (signature,) = open_note(Note(TEXT, (line,)), [key])
    assert (signature.key, signature.line, signature.timestamp) == (key, line, timestamp)


@pytest.mark.parametrize("signer", [WITNESS, PQ], ids=["COSIGNATURE_ED25519", "COSIGNATURE_MLDSA44"])
def test_time_zero_is_accepted_and_reported(signer: SignerKey) -> None:
    """CS-15: who asks for freshness must look at the timestamp."""
    (signature,) = open_note(Note(TEXT, (note_line(CHECKPOINT, signer, 0),)), [signer.verifier_key])
    assert signature.timestamp == 0


@pytest.mark.parametrize("signer", [WITNESS, PQ], ids=["COSIGNATURE_ED25519", "COSIGNATURE_MLDSA44"])
def test_another_time_than_the_signed_one_does_not_verify(signer: SignerKey) -> None:
    """CS-10, CS-14."""
    line = note_line(CHECKPOINT, signer)
    later = dataclasses.replace(line, body=(NOW + 1).to_bytes(8, "big") + line.body[8:])
    with pytest.raises(BadSignatureError):
        opened(later, keys=(signer,))


@pytest.mark.parametrize("signer", [WITNESS, PQ], ids=["COSIGNATURE_ED25519", "COSIGNATURE_MLDSA44"])
def test_a_time_above_the_signed_range_spoils_the_note(signer: SignerKey) -> None:
    """CS-8: even under a signature that would verify."""
    line = note_line(CHECKPOINT, signer)
    late = dataclasses.replace(line, body=b"\x80" + line.body[1:])
    with pytest.raises(BadSignatureError, match="timestamp"):
        opened(late, keys=(signer,))


@pytest.mark.parametrize(
    "line",
    [
        dataclasses.replace(COSIGNATURE, body=COSIGNATURE.body[8:]),
        dataclasses.replace(COSIGNATURE, body=COSIGNATURE.body + b"\0"),
        dataclasses.replace(COSIGNATURE, body=b"\0"),
    ],
    ids=["no time", "too long", "one byte"],
)
def test_a_cosignature_of_another_length_spoils_the_note(line: SignatureLine) -> None:
    """CS-7."""
    with pytest.raises(BadSignatureError):
        opened(LINE, line)


def test_an_ed25519_witness_does_not_sign_its_name() -> None:
    """CS-13: an operator with several cosigners uses distinct keys, because this one verifies under both names."""
    twin = SignerKey("mirror.example", KeyType.COSIGNATURE_ED25519, WITNESS.seed)
    line = dataclasses.replace(COSIGNATURE, name=twin.name, key_id=twin.verifier_key.id)
    assert opened(line, keys=(twin,)) == ["mirror.example"]


def test_an_mldsa_cosigner_signs_its_name() -> None:
    """CS-14."""
    twin = SignerKey("mirror.example", KeyType.COSIGNATURE_MLDSA44, PQ.seed)
    line = dataclasses.replace(note_line(CHECKPOINT, PQ), name=twin.name, key_id=twin.verifier_key.id)
    with pytest.raises(BadSignatureError):
        opened(line, keys=(twin,))


def test_a_log_signature_is_no_cosignature_under_the_same_key() -> None:
    """SN-17."""
    log = SignerKey("both.example", KeyType.ED25519, LOG.seed)
    witness = SignerKey("both.example", KeyType.COSIGNATURE_ED25519, LOG.seed)
    body = format_timestamped(NOW, log.sign(TEXT))
    with pytest.raises(BadSignatureError):
        opened(SignatureLine(witness.name, witness.verifier_key.id, body), keys=(witness,))


@pytest.mark.parametrize("signer", [LOG, WITNESS], ids=["ED25519", "COSIGNATURE_ED25519"])
def test_keys_that_sign_the_text_sign_extension_lines(signer: SignerKey) -> None:
    """CS-11, CP-6."""
    line = note_line(EXTENDED, signer)
    assert opened(line, keys=(signer,), text=EXTENDED.format()) == [signer.name]
    with pytest.raises(BadSignatureError):
        opened(line, keys=(signer,), text=EXTENDED.format() + b"another\n")


@pytest.mark.parametrize("key", [PQ.verifier_key, CERTIFICATE_LOG], ids=lambda key: key.type.name)
def test_keys_that_do_not_sign_extension_lines_are_not_taken_to_have(key: VerifierKey) -> None:
    """CP-10, C-9: the signature would verify, for it does not cover the line."""
    line = note_line(CHECKPOINT, PQ) if key == PQ.verifier_key else ecdsa_line(CHECKPOINT, key)
    with pytest.raises(BadSignatureError, match="extension lines"):
        open_note(Note(EXTENDED.format(), (line,)), [key])
    with pytest.raises(SignatureError, match="extension lines"):
        message_to_sign(key, EXTENDED.format(), NOW)


def test_a_certificate_log_signs_under_its_own_name_only() -> None:
    """C-7: the signature does not cover the origin, so it would verify under any."""
    elsewhere = dataclasses.replace(CHECKPOINT, origin="log.example/two")
    with pytest.raises(BadSignatureError, match="origin"):
        open_note(Note(elsewhere.format(), (ecdsa_line(CHECKPOINT, CERTIFICATE_LOG),)), [CERTIFICATE_LOG])


@pytest.mark.parametrize("key", [PQ.verifier_key, CERTIFICATE_LOG], ids=lambda key: key.type.name)
def test_keys_that_sign_checkpoints_sign_nothing_else(key: VerifierKey) -> None:
    """SN-12: a signature type may demand a certain text."""
    line = note_line(CHECKPOINT, PQ) if key == PQ.verifier_key else ecdsa_line(CHECKPOINT, key)
    with pytest.raises(BadSignatureError):
        open_note(Note(b"no checkpoint\n", (line,)), [key])
    with pytest.raises(FormatError):
        message_to_sign(key, b"no checkpoint\n", NOW)


def test_a_subtree_cosignature_of_a_part_of_the_tree_is_none_of_the_checkpoint() -> None:
    """CS-17, W-24: start is 0 and end the size."""
    message = subtree_message(PQ.name, 0, CHECKPOINT.origin, 256, 257, CHECKPOINT.root_hash)
    with pytest.raises(BadSignatureError):
        opened(signature_line(PQ.verifier_key, 0, PQ.sign(message)), keys=(PQ,))


def test_nothing_is_echoed_from_what_was_sent() -> None:
    for raw in (b"secret\n", TEXT + "\n— secret+x c2VjcmV0\n".encode(), TEXT + "\n— x secret\n".encode()):
        with pytest.raises(FormatError) as caught:
            Note.parse(raw)
        assert "secret" not in str(caught.value)


def test_the_empty_root_is_not_special_to_signatures() -> None:
    checkpoint = Checkpoint("log.example/one", 0, EMPTY_ROOT)
    assert opened(note_line(checkpoint, PQ), keys=(PQ,), text=checkpoint.format()) == [PQ.name]
