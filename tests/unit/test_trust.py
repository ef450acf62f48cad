"""Trust: who may speak for a log, what a policy adds, how old is too old, and what a person is told about it."""

import pytest

from tests.forks import CertificateLogKey
from tests.keys import NOW, cosign, log_key, mldsa_key, note_line, sign_checkpoint, witness_key
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, SignatureError
from tlog.hashing import Hash
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import Note
from tlog.policy import Policy, PolicyLog
from tlog.trust import Trust, is_log_key, speaks_for

ORIGIN = "log.example/one"
CHECKPOINT = Checkpoint(ORIGIN, 7, Hash(b"r" * 32))
LOG, STRANGER = log_key(ORIGIN), log_key("sum.example")
LOG_PQ = mldsa_key(ORIGIN)
W1, W2 = witness_key("witness.example/1"), witness_key("witness.example/2")


def policy(*lines: str, logs: tuple[SignerKey, ...] = (LOG,)) -> Policy:
    log_lines = [f"log {log.verifier_key}" for log in logs]
    witnesses = [f"witness w{n} {key.verifier_key}" for n, key in enumerate((W1, W2), start=1)]
    return Policy.parse("".join(line + "\n" for line in [*log_lines, *witnesses, *lines]).encode())


def trust(*keys: SignerKey, origin: str | None = None, policy: Policy | None = None) -> Trust:
    return Trust(tuple(key.verifier_key for key in keys), origin, policy)


def signed(*keys: SignerKey, origin: str = ORIGIN) -> bytes:
    return sign_checkpoint(Checkpoint(origin, 7, CHECKPOINT.root_hash), *keys)


def damaged(raw: bytes, key: SignerKey) -> bytes:
    """The same note with a line of that key that does not verify."""
    note = Note.parse(raw)
    other = note_line(Checkpoint(ORIGIN, 8, CHECKPOINT.root_hash), key)
    lines = tuple(other if line.name == key.name else line for line in note.signatures)
    return Note(note.text, lines).format()


def refuse(trust: Trust, raw: bytes, match: str, since: int | None = None) -> None:
    judged = trust.open(raw, since)
    with pytest.raises(SignatureError, match=match):
        judged.require()


# Who speaks for a log.


def test_the_role_of_a_key_follows_from_its_type_and_name() -> None:
    ecdsa, sth = (VerifierKey(ORIGIN, b"0000", type_, b"") for type_ in (KeyType.ECDSA, KeyType.RFC6962))
    keys = (LOG.verifier_key, LOG_PQ.verifier_key, mldsa_key("mirror.example").verifier_key, W1.verifier_key)
    assert [is_log_key(key, ORIGIN) for key in (*keys, ecdsa, sth)] == [True, True, False, False, True, True]


def test_a_key_of_another_name_speaks_for_a_log_only_where_its_origin_is_named() -> None:
    assert not speaks_for(STRANGER.verifier_key, ORIGIN, named=False)
    assert speaks_for(STRANGER.verifier_key, ORIGIN, named=True)
    assert not speaks_for(mldsa_key("mirror.example").verifier_key, ORIGIN, named=True)


def test_a_checkpoint_is_signed_by_its_log() -> None:
    assert trust(LOG).open(signed(LOG)).require().size == 7
    assert trust(LOG).open(Note.parse(signed(LOG))).require().raw == signed(LOG)


def test_what_is_no_signed_checkpoint_is_malformed() -> None:
    for raw in (b"", b"log.example/one\n7\n", signed(LOG).replace(b"\n7\n", b"\n07\n")):
        with pytest.raises(FormatError):
            trust(LOG).open(raw)


def test_one_log_cannot_sign_in_the_name_of_another() -> None:
    # SPEC: P-8 a public key configured for that origin line
    refuse(trust(STRANGER), signed(STRANGER), "no key is known for the origin")
    refuse(trust(STRANGER, LOG), signed(STRANGER), "no log key signed")


def test_a_key_speaks_for_the_origin_it_was_given_for() -> None:
    # SPEC: P-8 the origin is acceptable, and signed by a key configured for it
    raw = signed(STRANGER, origin="go.sum database tree")
    assert trust(STRANGER, origin="go.sum database tree").open(raw).require().size == 7
    refuse(trust(STRANGER, origin="sum.example"), raw, "another origin")


def test_an_acceptable_origin_is_demanded_of_a_policy_too() -> None:
    # SPEC: P-8 the origin is acceptable
    assert trust(origin=ORIGIN, policy=policy("quorum none")).open(signed(LOG)).require().origin == ORIGIN
    refuse(trust(origin="log.example/two", policy=policy("quorum none")), signed(LOG), "another origin")


def test_the_log_itself_has_to_have_signed() -> None:
    # SPEC: P-8 a log public key, not only witnesses
    refuse(trust(policy=policy("quorum w1")), signed(W1, W2), "no log key signed")
    refuse(trust(LOG, W1), signed(W1, W2), "no log key signed")


def test_a_witness_key_never_speaks_for_a_log() -> None:
    # SPEC: P-8 a log public key configured for that origin line
    impostor = SignerKey(ORIGIN, W1.type, W1.seed)
    refuse(trust(impostor, W1), signed(impostor), "no key is known for the origin")
    refuse(trust(impostor, W1, origin=ORIGIN), signed(W1), "no key is known for the origin")


def test_the_key_of_a_mirror_never_speaks_for_the_log_it_mirrors() -> None:
    mirror = mldsa_key("mirror.example")
    refuse(trust(mirror, origin=ORIGIN), signed(mirror), "no key is known for the origin")


def test_a_stranger_proves_nothing() -> None:
    # SPEC: SN-9 a note without a signature by a known key is rejected
    refuse(trust(LOG), signed(STRANGER, W1), "no trusted key signed")


@pytest.mark.parametrize("spoiled", [LOG, W1, W2])
def test_a_signature_of_a_known_key_that_fails_spoils_the_checkpoint(spoiled: SignerKey) -> None:
    # SPEC: SN-8 the note is rejected. SPEC: P-9 all cosignatures of known witnesses are verified
    raw = damaged(signed(LOG, W1, W2), spoiled)
    refuse(trust(policy=policy("group g any w1 w2", "quorum g")), raw, f"signature by {spoiled.name} does not verify")


def test_a_signature_of_an_unknown_key_that_fails_spoils_nothing() -> None:
    # SPEC: SN-6 signatures of unknown keys are ignored
    assert trust(LOG).open(damaged(signed(LOG, W1), W1)).require().size == 7


def test_any_one_log_key_suffices() -> None:
    # SPEC: P-8 a log public key configured for that origin line
    for one in (LOG, LOG_PQ):
        assert trust(LOG, LOG_PQ).open(signed(one)).require().size == 7
        assert trust(policy=policy("quorum none", logs=(LOG, LOG_PQ))).open(signed(one)).require().size == 7


# A policy.


def test_the_quorum_of_the_policy_has_to_be_reached() -> None:
    # SPEC: P-9 all cosignatures are verified, then the policy judges
    both = trust(policy=policy("group g all w1 w2", "quorum g"))
    assert both.open(signed(LOG, W1, W2)).require().signed_by(W2.verifier_key)
    refuse(both, signed(LOG, W1), "the cosignatures on the checkpoint do not reach the quorum")


def test_given_keys_name_the_log_and_the_policy_then_judges_witnesses_only() -> None:
    both = trust(STRANGER, origin=ORIGIN, policy=policy("quorum w1"))
    assert both.open(signed(STRANGER, W1)).require().signed_by(W1.verifier_key)
    refuse(both, signed(LOG, W1), "no log key signed")


def test_the_signatures_are_in_the_order_of_their_lines_and_only_those_of_trusted_keys() -> None:
    opened = trust(W2, LOG, W1).open(signed(W1, STRANGER, LOG, W2)).require()
    assert [one.key.name for one in opened.signatures] == [W1.name, ORIGIN, W2.name]


# Who else may answer for a checkpoint.


def test_a_mirror_answers_for_what_it_serves_where_that_is_enough() -> None:
    mirror = mldsa_key("mirror.example")
    for one in (trust(mirror), trust(mirror, origin=ORIGIN), trust(STRANGER, mirror), trust(W1, mirror)):
        assert one.open(signed(mirror)).require_any().size == 7
    assert trust(policy=policy("quorum w1")).open(signed(W1)).require_any().size == 7


@pytest.mark.parametrize(
    ("one", "raw", "match"),
    [
        (trust(STRANGER), signed(STRANGER), "no key is known for the origin"),
        (trust(STRANGER, W1), signed(STRANGER), "no log key signed"),
        (trust(W1), signed(W2), "no trusted key signed"),
        (trust(W1, W2), damaged(signed(W1, W2), W2), "does not verify"),
        (trust(W1, origin="log.example/two"), signed(W1), "another origin"),
    ],
)
def test_nobody_else_answers_for_it(one: Trust, raw: bytes, match: str) -> None:
    judged = one.open(raw)
    with pytest.raises(SignatureError, match=match):
        judged.require_any()


# What cannot be trusted.


def test_trusting_nobody_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="keys, a policy or both"):
        Trust()


def test_two_keys_that_no_signature_line_can_tell_apart_are_a_mistake() -> None:
    # SPEC: SN-19 the same name and ID for two keys
    key = LOG.verifier_key
    clash = VerifierKey(key.name, key.id, KeyType.ED25519, STRANGER.verifier_key.public_key)
    for keys, one in (((clash, key), None), ((clash,), policy("quorum none"))):
        with pytest.raises(ValueError, match="same name and key ID"):
            Trust(keys, None, one)


def test_the_same_key_twice_is_no_mistake() -> None:
    assert trust(LOG, LOG, policy=policy("quorum none")).all_keys() == (
        LOG.verifier_key,
        W1.verifier_key,
        W2.verifier_key,
    )


# Age.


def test_time_is_not_asked_for_unless_the_caller_does() -> None:
    # SPEC: P-11 the timestamp value is ignored
    one = trust(policy=policy("quorum w1"))
    assert one.open(cosign(signed(LOG), W1, time=1)).require().size == 7


def test_only_recent_cosignatures_count_for_the_quorum() -> None:
    both = trust(policy=policy("group g all w1 w2", "quorum g"))
    raw = cosign(cosign(signed(LOG), W1, time=NOW), W2, time=NOW - 10)
    assert both.open(raw, NOW - 10).require().size == 7
    refuse(both, raw, "the cosignatures that are recent enough on the checkpoint do not reach", NOW - 9)


def test_without_cosigners_the_log_itself_has_to_state_a_recent_time() -> None:
    for one in (trust(LOG, LOG_PQ), trust(policy=policy("quorum none", logs=(LOG, LOG_PQ)))):
        assert one.open(signed(LOG, LOG_PQ), NOW).require().size == 7
        refuse(one, signed(LOG, LOG_PQ), "states a time that is recent enough", NOW + 1)
        refuse(one, signed(LOG), "states a time that is recent enough", 1)


def test_the_milliseconds_of_a_certificate_log_are_compared_as_seconds() -> None:
    log = CertificateLogKey(ORIGIN)
    raw = Note(CHECKPOINT.format(), (log.line(CHECKPOINT, NOW * 1000 + 999),)).format()
    one = Trust((log.verifier_key,))
    assert one.open(raw, NOW).require().size == 7
    refuse(one, raw, "recent enough", NOW + 1)
    title = f"log {ORIGIN} (rfc6962)"
    assert one.open(raw, NOW + 1).explain() == (f"{title}: signed at Unix time {NOW}, 1 seconds too old",)


def test_a_time_that_has_not_come_yet_is_not_recent() -> None:
    both = trust(policy=policy("group g all w1 w2", "quorum g"))
    raw = cosign(cosign(signed(LOG), W1, time=NOW), W2, time=NOW + 61)
    assert both.open(raw, NOW, NOW + 61).require().size == 7
    judged = both.open(raw, NOW, NOW + 60)
    with pytest.raises(SignatureError, match="quorum of the policy; one states a time that has not come yet"):
        judged.require()
    assert any(
        line.endswith("not counted, the cosignature states a time that has not come yet") for line in judged.explain()
    )
    alone = trust(LOG_PQ).open(signed(LOG_PQ), NOW - 9, NOW - 1)
    with pytest.raises(SignatureError, match="recent enough; one states a time that has not come yet"):
        alone.require()
    assert alone.explain() == (
        f"log {ORIGIN} (cosignature mldsa44): signed at Unix time {NOW}, which has not come yet",
    )


# What a person is told.


def test_explains_which_keys_and_groups_counted() -> None:
    judged = trust(policy=policy("group g any w1 w2", "quorum g")).open(signed(LOG, W1))
    assert judged.explain() == (
        f"log {ORIGIN} (ed25519): signed",
        f"witness w1 ({W1.name}): cosigned at Unix time {NOW}",
        f"witness w2 ({W2.name}): no cosignature",
        "group g: 1 of 2 members, 1 needed (w1): met",
        "quorum g: met",
    )


def test_explains_which_of_the_given_keys_signed() -> None:
    assert trust(LOG, STRANGER, W1, W2).open(signed(LOG, W1)).explain() == (
        f"log {ORIGIN} (ed25519): signed",
        f"key {STRANGER.name} (ed25519): no signature",
        f"key {W1.name} (cosignature ed25519): signed at Unix time {NOW}",
        f"key {W2.name} (cosignature ed25519): no signature",
    )


def test_explains_which_signature_fails() -> None:
    raw = damaged(signed(LOG, W1), LOG)
    assert trust(policy=policy("quorum w1")).open(raw).explain() == (
        f"key {ORIGIN} (ed25519): its line fails, the signature does not verify",
        f"witness w1 ({W1.name}): cosigned at Unix time {NOW}",
        f"witness w2 ({W2.name}): no cosignature",
        "quorum w1: met",
    )


def test_a_key_that_does_not_speak_for_the_origin_is_not_called_the_logs() -> None:
    assert trust(STRANGER).open(signed(STRANGER)).explain() == ("key sum.example (ed25519): signed",)


def test_explains_what_is_too_old() -> None:
    raw = cosign(signed(LOG, LOG_PQ), W1, time=NOW - 5)
    assert trust(LOG, LOG_PQ, policy=policy("quorum w1")).open(raw, NOW).explain() == (
        f"log {ORIGIN} (ed25519): signed, which states no time",
        f"log {ORIGIN} (cosignature mldsa44): signed at Unix time {NOW}",
        f"witness w1 ({W1.name}): not counted, the cosignature is 5 seconds too old",
        f"witness w2 ({W2.name}): no cosignature",
        "quorum w1: not met",
    )


def test_names_that_would_disturb_a_terminal_are_shown_as_escapes() -> None:
    odd = SignerKey("log.example/\u202eeno", KeyType.ED25519, bytes(32))
    judged = Trust((odd.verifier_key,)).open(signed(LOG))
    assert judged.explain()[0] == r"key log.example/\u202eeno (ed25519): no signature"


def test_a_policy_that_lists_two_keys_of_one_log_is_asked_for_both() -> None:
    two = Policy((PolicyLog(LOG.verifier_key), PolicyLog(LOG_PQ.verifier_key)), (), (), None)
    assert Trust(policy=two).open(signed(LOG_PQ)).explain() == (
        f"log {ORIGIN} (ed25519): no signature",
        f"log {ORIGIN} (cosignature mldsa44): signed at Unix time {NOW}",
        "quorum none: met",
    )
