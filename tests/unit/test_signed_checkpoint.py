import dataclasses

import pytest

from tests.keys import NOW, cosign, log_key, mldsa_key, note_line, sign_checkpoint, witness_key
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import Hash, TreeHead
from tlog.keys import SignerKey, VerifierKey
from tlog.note import MAX_NOTE_BYTES, BadSignatureError, Note, NotSignedError, signature_line
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint, reopen_checkpoint

ROOT = Hash(bytes(range(32)))
CHECKPOINT = Checkpoint("log.example/one", 257, ROOT)
LOG, LOG_PQ = log_key(), mldsa_key()
A, B, A_PQ = witness_key("witness.example/a"), witness_key("witness.example/b"), mldsa_key("witness.example/a")
STRANGER = witness_key("stranger.example")


def opened(raw: bytes, *keys: SignerKey) -> SignedCheckpoint:
    return open_checkpoint(raw, [key.verifier_key for key in keys])


def signed(*keys: SignerKey, time: int = NOW, checkpoint: Checkpoint = CHECKPOINT) -> SignedCheckpoint:
    return opened(sign_checkpoint(checkpoint, *keys, time=time), *keys)


def names(checkpoint: SignedCheckpoint) -> list[str]:
    return [line.name for line in checkpoint.note.signatures]


def test_opening_gives_the_checkpoint_and_who_signed_it() -> None:
    raw = sign_checkpoint(CHECKPOINT, LOG, A, LOG_PQ)
    checkpoint = opened(raw, LOG, A, LOG_PQ)
    assert checkpoint.checkpoint == CHECKPOINT
    assert (checkpoint.origin, checkpoint.size, checkpoint.root_hash) == ("log.example/one", 257, ROOT)
    assert checkpoint.head == TreeHead(257, ROOT)
    assert [signature.key for signature in checkpoint.signatures] == [key.verifier_key for key in (LOG, A, LOG_PQ)]


def test_the_bytes_are_kept_with_the_lines_of_strangers() -> None:
    raw = sign_checkpoint(CHECKPOINT, LOG, STRANGER)
    assert opened(raw, LOG).raw == raw


def test_a_parsed_note_is_opened_as_well_as_its_bytes() -> None:
    raw = sign_checkpoint(CHECKPOINT, LOG)
    assert open_checkpoint(Note.parse(raw), [LOG.verifier_key]) == opened(raw, LOG)


def test_who_signed_can_be_asked() -> None:
    checkpoint = opened(sign_checkpoint(CHECKPOINT, LOG, A), LOG, A, B)
    signature = checkpoint.signed_by(A.verifier_key)
    assert signature is not None
    assert signature.timestamp == NOW
    assert checkpoint.signed_by(B.verifier_key) is None


def test_refuses_a_checkpoint_that_nobody_trusted_signed() -> None:
    """SN-9."""
    with pytest.raises(NotSignedError):
        opened(sign_checkpoint(CHECKPOINT, STRANGER), LOG)


def test_refuses_a_signed_text_that_is_no_checkpoint() -> None:
    """CP-1: whoever signed it."""
    note = Note(b"not a checkpoint\n", (signature_line(LOG.verifier_key, 0, LOG.sign(b"not a checkpoint\n")),))
    with pytest.raises(FormatError):
        opened(note.format(), LOG)


def test_the_key_name_need_not_be_the_origin() -> None:
    """CP-8: only a recommendation, and the Go checksum database does not follow it."""
    elsewhere = dataclasses.replace(CHECKPOINT, origin="go.sum database tree")
    assert signed(LOG, checkpoint=elsewhere).origin == "go.sum database tree"


# --- Storing and passing on ---


def test_only_verified_lines_are_kept_for_storing() -> None:
    checkpoint = opened(sign_checkpoint(CHECKPOINT, STRANGER, LOG, A), LOG, A).verified_only()
    assert names(checkpoint) == [LOG.name, A.name]
    assert opened(checkpoint.raw, LOG, A) == checkpoint


def test_a_forged_line_under_a_name_of_ours_does_not_poison_what_is_stored() -> None:
    """The log's signature is good, so the note is read by who trusts the log; the forged line is in our name."""
    forged = dataclasses.replace(note_line(CHECKPOINT, A), body=bytes(72))
    raw = sign_checkpoint(CHECKPOINT, LOG) + forged.format()
    stored = opened(raw, LOG).verified_only().raw
    assert names(opened(cosign(stored, A), LOG, A)) == [LOG.name, A.name]
    with pytest.raises(BadSignatureError):
        opened(cosign(raw, A), LOG, A)


def test_a_second_line_of_a_key_is_not_kept() -> None:
    """SN-19: it was ignored unread, so it may be anything."""
    forged = dataclasses.replace(note_line(CHECKPOINT, A), body=bytes(72))
    raw = sign_checkpoint(CHECKPOINT, LOG, A) + forged.format()
    assert opened(raw, LOG, A).verified_only().raw == sign_checkpoint(CHECKPOINT, LOG, A)


# --- Merging ---


def test_merging_joins_the_signatures_of_one_text() -> None:
    merged = signed(LOG, A).merge(signed(LOG, B))
    assert merged.raw == sign_checkpoint(CHECKPOINT, LOG, A, B)
    assert merged == opened(merged.raw, LOG, A, B)


@pytest.mark.parametrize("key", [A, A_PQ], ids=["COSIGNATURE_ED25519", "COSIGNATURE_MLDSA44"])
def test_of_one_key_the_newest_statement_wins_from_either_side(key: SignerKey) -> None:
    """CP-13: one line a key."""
    old, new = signed(LOG, key, time=NOW), signed(LOG, key, time=NOW + 1)
    for merged in (old.merge(new), new.merge(old)):
        assert names(merged) == [LOG.name, key.name]
        assert merged.signed_by(key.verifier_key) == new.signed_by(key.verifier_key)


def test_keys_of_one_name_are_merged_as_two() -> None:
    merged = signed(LOG, A).merge(signed(LOG, A_PQ))
    assert [signature.key for signature in merged.signatures] == [key.verifier_key for key in (LOG, A, A_PQ)]


def test_merging_with_itself_changes_nothing() -> None:
    checkpoint = signed(LOG, A, B, LOG_PQ)
    assert checkpoint.merge(checkpoint) == checkpoint


def test_merging_drops_what_nobody_verified() -> None:
    stranger = opened(sign_checkpoint(CHECKPOINT, LOG, STRANGER), LOG)
    assert names(stranger.merge(signed(LOG, A))) == names(signed(LOG, A).merge(stranger)) == [LOG.name, A.name]


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(CHECKPOINT, size=258),
        dataclasses.replace(CHECKPOINT, root_hash=Hash(bytes(32))),
        dataclasses.replace(CHECKPOINT, extensions=(b"more",)),
    ],
    ids=["size", "root hash", "extension lines"],
)
def test_different_texts_are_not_merged(other: Checkpoint) -> None:
    """Signatures of one would not verify under the other, not even when only extension lines differ."""
    with pytest.raises(ValueError, match="different texts"):
        signed(LOG).merge(signed(LOG, checkpoint=other))


# Another note of the same text.


def keys_of(*keys: SignerKey) -> list[VerifierKey]:
    return [key.verifier_key for key in keys]


def test_lines_that_were_verified_before_are_not_verified_again() -> None:
    known = signed(LOG, A)
    more = Note.parse(cosign(known.raw, B))
    again = reopen_checkpoint(more, keys_of(B), known)
    assert [signature.key for signature in again.signatures] == keys_of(LOG, A, B)
    assert reopen_checkpoint(known.note, [], known).signatures == known.signatures


def test_a_new_line_of_a_known_key_is_verified() -> None:
    known = signed(LOG, A)
    forged = Note(known.note.text, (*known.note.signatures, signature_line(B.verifier_key, NOW, bytes(64))))
    with pytest.raises(BadSignatureError):
        reopen_checkpoint(forged, keys_of(LOG, A, B), known)


def test_of_several_lines_of_one_key_the_first_counts_again() -> None:
    known, later = signed(LOG, A), signed(LOG, A, time=NOW + 1)
    both = Note(known.note.text, (*known.note.signatures, later.note.signatures[1]))
    assert reopen_checkpoint(both, keys_of(LOG, A), known).signatures == known.signatures


def test_a_note_that_only_strangers_signed_is_not_opened_because_another_one_was() -> None:
    known, strange = signed(LOG), signed(STRANGER)
    with pytest.raises(NotSignedError):
        reopen_checkpoint(strange.note, keys_of(LOG), known)
    mixed = Note(known.note.text, (*known.note.signatures, *strange.note.signatures))
    assert reopen_checkpoint(mixed, keys_of(LOG), known).signatures == known.signatures


def test_another_text_has_to_be_opened_from_the_start() -> None:
    other = signed(LOG, checkpoint=dataclasses.replace(CHECKPOINT, size=9))
    with pytest.raises(ValueError, match="different texts"):
        reopen_checkpoint(other.note, keys_of(LOG), signed(LOG))


def test_only_the_lines_of_some_keys_are_kept() -> None:
    assert signed(LOG, A, B).only(keys_of(LOG, B)) == signed(LOG, B)


def test_joined_signatures_make_a_note_that_can_be_read_again() -> None:
    room = MAX_NOTE_BYTES - len(signed(LOG, A, checkpoint=dataclasses.replace(CHECKPOINT, extensions=(b"x",))).raw)
    large = dataclasses.replace(CHECKPOINT, extensions=(b"x" * room,))
    one, other = signed(LOG, A, checkpoint=large), signed(LOG, B, checkpoint=large)
    assert one.merge(other) == one
    assert Note.parse(one.merge(other).raw).signatures == one.note.signatures
