import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.keys import NOW, log_key, mldsa_key, note_line, sign_checkpoint, witness_key
from tlog.checkpoint import Checkpoint
from tlog.cosignature import format_timestamped, parse_timestamped
from tlog.errors import FormatError, SignatureError
from tlog.hashing import Hash
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import Note, NotSignedError, SignatureLine, open_note
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.text import MAX_INTEGER, is_key_name

CHECKPOINT = Checkpoint("log.example/one", 20852163, Hash(bytes(range(32))))
LOG, PQ = log_key(), mldsa_key("witness.example/pq")
WITNESSES = [witness_key(f"witness.example/{name}") for name in "abc"]
COSIGNED = sign_checkpoint(CHECKPOINT, LOG, *WITNESSES)
KEYS = [key.verifier_key for key in (LOG, *WITNESSES)]
ORIGINAL = open_checkpoint(COSIGNED, KEYS)

# Whatever UTF-8 can encode, and the characters that lax readers treat specially.
TRICKY = st.sampled_from("\n\r\t \x0b\x1c\x7f\x85\xa0\u2028\u3000+—=0a")
CHARACTERS = st.characters(exclude_categories=["Cs"]) | TRICKY
PRINTABLE = CHARACTERS.filter(lambda character: character >= " ")
NAMES = st.text(PRINTABLE, min_size=1, max_size=20).filter(is_key_name)
LINES = st.text(PRINTABLE, min_size=1, max_size=40).map(str.encode)
TEXTS = st.lists(st.text(PRINTABLE, max_size=20)).map(
    lambda lines: "".join(f"{line}\n" for line in [*lines, ""]).encode()
)
HASHES = st.binary(min_size=32, max_size=32).map(Hash)
SIZES = st.integers(0, MAX_INTEGER)
TIMES = st.integers(0, MAX_INTEGER)
SEEDS = st.binary(min_size=32, max_size=32)
SIGNATURE_LINES = st.builds(
    SignatureLine, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=100)
)
NOTES = st.builds(Note, TEXTS, st.lists(SIGNATURE_LINES, min_size=1, max_size=5).map(tuple))
CHECKPOINTS = st.builds(
    Checkpoint,
    st.text(PRINTABLE, min_size=1, max_size=60).filter(lambda origin: len(origin.encode()) <= 255),
    SIZES,
    HASHES,
    st.lists(LINES, max_size=3).map(tuple),
)
SIGNERS = st.builds(
    SignerKey,
    NAMES,
    st.sampled_from([KeyType.ED25519, KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44]),
    SEEDS,
)


# --- One spelling ---


@given(NOTES)
def test_every_note_is_read_back(note: Note) -> None:
    assert Note.parse(note.format()) == note


@given(CHECKPOINTS)
def test_every_checkpoint_is_read_back(checkpoint: Checkpoint) -> None:
    assert Checkpoint.parse(checkpoint.format()) == checkpoint


@given(SIGNERS)
def test_every_key_is_read_back(signer: SignerKey) -> None:
    assert SignerKey.parse(signer.format()) == signer
    assert VerifierKey.parse(signer.verifier_key.format()) == signer.verifier_key


@given(TIMES, st.binary(max_size=80))
def test_every_timestamped_signature_is_read_back(time: int, signature: bytes) -> None:
    assert parse_timestamped(format_timestamped(time, signature), len(signature)) == (time, signature)


@st.composite
def mangled(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """A valid input with a run of its bytes replaced by others, or anything at all."""
    data = draw(valid)
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 3)))
    tricky = st.sampled_from([b"\n", b"\n\n", b" ", b"+", b"=", b"0", b"\r", "—".encode(), b"\xff", b"A", b"\x00"])
    return data[:start] + draw(st.binary(max_size=3) | tricky) + data[end:]


@given(mangled(NOTES.map(Note.format) | st.just(COSIGNED)))
def test_what_is_accepted_as_a_note_has_one_spelling(raw: bytes) -> None:
    try:
        note = Note.parse(raw)
    except FormatError:
        return
    assert note.format() == raw


@given(mangled(CHECKPOINTS.map(Checkpoint.format)))
def test_what_is_accepted_as_a_checkpoint_has_one_spelling(text: bytes) -> None:
    try:
        checkpoint = Checkpoint.parse(text)
    except FormatError:
        return
    assert checkpoint.format() == text


@given(mangled(st.sampled_from([str(key.verifier_key).encode() for key in (LOG, PQ)])))
def test_what_is_accepted_as_a_vkey_has_one_spelling(text: bytes) -> None:
    vkey = text.decode(errors="surrogateescape")
    try:
        key = VerifierKey.parse(vkey)
    except FormatError:
        return
    assert key.format() == vkey


@pytest.mark.parametrize("signer", [LOG, WITNESSES[0], PQ], ids=lambda key: key.type.name)
def test_no_change_of_one_character_makes_another_vkey(signer: SignerKey) -> None:
    """SN-20: the key ID covers name, type and key."""
    vkey = str(signer.verifier_key)
    for i in range(len(vkey)):
        with pytest.raises(FormatError):
            VerifierKey.parse(vkey[:i] + chr(ord(vkey[i]) + 1) + vkey[i + 1 :])
        with pytest.raises(FormatError):
            VerifierKey.parse(vkey[:i] + vkey[i + 1 :])
        with pytest.raises(FormatError):
            VerifierKey.parse(vkey[:i])


# --- Signatures bind ---


def flipped(raw: bytes, bit: int) -> bytes:
    data = bytearray(raw)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def survives(raw: bytes, keys: list[VerifierKey]) -> SignedCheckpoint | None:
    try:
        return open_checkpoint(raw, keys)
    except (FormatError, SignatureError):
        return None


def statements(checkpoint: SignedCheckpoint) -> set[tuple[VerifierKey, bytes, int | None]]:
    return {(one.key, one.line.body, one.timestamp) for one in checkpoint.signatures}


def in_a_selector(raw: bytes, bit: int) -> bool:
    """Whether a bit is in the name or the key ID of a signature line, and so makes its key unknown."""
    line = raw[raw.rfind(b"\n", 0, bit // 8) + 1 :]
    column = bit // 8 - (len(raw) - len(line))
    blob = line.index(b" ", len("— ".encode())) + 1
    return raw.index(b"\n\n") < bit // 8 and len("— ".encode()) <= column < blob + 6


def test_no_flipped_bit_of_a_checkpoint_verifies_for_who_trusts_only_its_log() -> None:
    raw = sign_checkpoint(CHECKPOINT, LOG)
    assert [bit for bit in range(8 * len(raw)) if survives(flipped(raw, bit), KEYS[:1])] == []


def test_a_flipped_bit_of_a_cosigned_checkpoint_at_most_makes_one_signer_unknown() -> None:
    """SN-6 to SN-8: in every other place it makes the note unreadable or a known signature fail."""
    survivors = [bit for bit in range(8 * len(COSIGNED)) if survives(flipped(COSIGNED, bit), KEYS)]
    assert survivors
    for bit in survivors:
        assert in_a_selector(COSIGNED, bit)
        opened = open_checkpoint(flipped(COSIGNED, bit), KEYS)
        assert opened.checkpoint == CHECKPOINT
        assert statements(opened) < statements(ORIGINAL)
        assert len(opened.signatures) == len(ORIGINAL.signatures) - 1


def test_a_flipped_bit_in_the_line_of_a_stranger_changes_nothing_that_was_verified() -> None:
    """SN-6, SN-18."""
    start = 8 * len(Note(ORIGINAL.note.text, ORIGINAL.note.signatures[:3]).format())
    trusted = KEYS[:3]
    for bit in range(start, 8 * len(COSIGNED)):
        opened = survives(flipped(COSIGNED, bit), trusted)
        assert opened is None or statements(opened) == statements(open_checkpoint(COSIGNED, trusted))


def test_no_flipped_bit_of_a_post_quantum_checkpoint_verifies() -> None:
    raw = sign_checkpoint(CHECKPOINT, PQ)
    bits = [*range(8 * len(CHECKPOINT.format())), *random.Random(44).sample(range(8 * len(raw)), 500)]
    assert [bit for bit in bits if survives(flipped(raw, bit), [PQ.verifier_key])] == []


@given(CHECKPOINTS, TIMES, st.sampled_from([LOG, WITNESSES[0]]))
def test_whatever_is_signed_opens_and_states_what_was_signed(
    checkpoint: Checkpoint, time: int, signer: SignerKey
) -> None:
    opened = open_checkpoint(sign_checkpoint(checkpoint, signer, time=time), [signer.verifier_key])
    assert opened.checkpoint == checkpoint
    assert opened.signatures[0].timestamp == (None if signer is LOG else time)


@settings(max_examples=20)
@given(CHECKPOINTS.filter(lambda checkpoint: not checkpoint.extensions), TIMES)
def test_whatever_is_signed_with_mldsa_opens(checkpoint: Checkpoint, time: int) -> None:
    opened = open_checkpoint(sign_checkpoint(checkpoint, PQ, time=time), [PQ.verifier_key])
    assert (opened.checkpoint, opened.signatures[0].timestamp) == (checkpoint, time)


@given(st.lists(SIGNATURE_LINES, max_size=5), st.randoms(use_true_random=False))
def test_lines_of_strangers_never_matter(strangers: list[SignatureLine], order: random.Random) -> None:
    """SN-6."""
    lines = [*ORIGINAL.note.signatures, *strangers]
    order.shuffle(lines)
    opened = open_checkpoint(Note(ORIGINAL.note.text, tuple(lines)), KEYS)
    assert statements(opened) == statements(ORIGINAL)
    assert statements(open_checkpoint(opened.verified_only().raw, KEYS)) == statements(ORIGINAL)


@given(NOTES)
def test_nobody_has_signed_what_strangers_wrote(note: Note) -> None:
    """SN-9."""
    with pytest.raises(NotSignedError):
        open_note(note, KEYS)


STATES = st.lists(st.tuples(st.sampled_from(WITNESSES), st.integers(NOW, NOW + 3)), max_size=4)


@given(STATES, STATES)
def test_merging_keeps_of_every_key_the_newest_statement(
    left: list[tuple[SignerKey, int]], right: list[tuple[SignerKey, int]]
) -> None:
    """CP-13: whatever the order, one line a key."""
    merged = cosigned(left).merge(cosigned(right))
    newest: dict[str, int] = {}
    for key, time in [*first_lines(left), *first_lines(right)]:
        newest[key.name] = max(time, newest.get(key.name, 0))
    assert {one.key.name: one.timestamp for one in merged.signatures} == {LOG.name: None, **newest}
    assert len(merged.signatures) == len(merged.note.signatures) == 1 + len(newest)
    assert open_checkpoint(merged.raw, KEYS) == merged


def first_lines(state: list[tuple[SignerKey, int]]) -> list[tuple[SignerKey, int]]:
    return [(key, time) for i, (key, time) in enumerate(state) if key not in [other for other, _ in state[:i]]]


def cosigned(state: list[tuple[SignerKey, int]]) -> SignedCheckpoint:
    lines = [note_line(CHECKPOINT, key, time) for key, time in state]
    return open_checkpoint(Note(CHECKPOINT.format(), (note_line(CHECKPOINT, LOG), *lines)), KEYS)


@given(st.binary(max_size=80))
def test_a_body_of_any_bytes_under_a_known_name_is_refused(body: bytes) -> None:
    """SN-7, SN-8: never anything but a SignatureError."""
    for key in (LOG, WITNESSES[0], PQ):
        line = SignatureLine(key.name, key.verifier_key.id, body or b"\0")
        with pytest.raises(SignatureError):
            open_note(Note(CHECKPOINT.format(), (line,)), [key.verifier_key])
