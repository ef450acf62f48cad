import struct
from dataclasses import replace
from hashlib import sha256
from itertools import product

import pytest

from tests.evidence_cases import (
    ACCUSED,
    CT,
    FORK,
    LOG,
    LOG_2,
    LOG_MLDSA,
    MAIN,
    MAKERS,
    OTHER_LOG,
    POLICY,
    W1,
    W1_MLDSA,
    W2,
    W3,
    make_bad_empty_head,
    make_cosigner_rollback,
    make_cosigner_same_size,
    make_non_consistent,
    make_openings,
    make_quorum_split,
    make_rotation,
    make_same_size,
    make_subtree,
    note,
    opening,
    part,
    policy,
    record,
)
from tests.forks import ORIGIN, CertificateLogKey, signed
from tests.keys import NOW, witness_key
from tlog.errors import FormatError, ProofError, SignatureError, TlogError
from tlog.evidence import (
    MAX_EVIDENCE_BYTES,
    MAX_HASHES,
    Conviction,
    Evidence,
    EvidenceType,
    Opening,
    Openings,
    Prefix,
    Stated,
    StatedRotation,
    StatedSubtree,
    bad_empty_head,
    cosigner_rollback,
    is_log_key,
    log_rollback,
    non_consistent,
    non_consistent_path,
    openings,
    quorum_split,
    rotation,
    same_size,
    subtree,
    verified_only,
    verify_evidence,
)
from tlog.hashing import EMPTY_ROOT, TreeHead, leaf_hash
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import MAX_NOTE_BYTES, SignatureLine
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint

every_type = pytest.mark.parametrize("type_", EvidenceType, ids=lambda type_: type_.value)


def convict(evidence: Evidence, *keys: SignerKey | CertificateLogKey, origin: str | None = None) -> Conviction:
    return verify_evidence(evidence, [key.verifier_key for key in keys], origin=origin)


def pair(type_: EvidenceType, first: SignedCheckpoint, second: SignedCheckpoint) -> Evidence:
    """Evidence that no maker would make."""
    return Evidence(type_, (first.note, second.note))


# Every type.


@every_type
def test_what_is_passed_on_has_lost_the_lines_that_nobody_verified_and_says_the_same(type_: EvidenceType) -> None:
    evidence, accused = MAKERS[type_](), ACCUSED[type_]
    stranger = SignatureLine("witness.example/stranger", bytes(4), bytes(72))
    padded = replace(
        evidence, notes=tuple(replace(note, signatures=(stranger, *note.signatures)) for note in evidence.notes)
    )
    split = POLICY if type_ is EvidenceType.QUORUM_SPLIT else None
    kept = verified_only(padded, [accused], split, ORIGIN)
    assert kept == evidence
    assert verify_evidence(kept, [accused], split, ORIGIN).accused == accused


@every_type
def test_a_fresh_verifier_convicts_from_the_bytes_and_the_accused_key_alone(type_: EvidenceType) -> None:
    evidence = Evidence.parse(MAKERS[type_]().format())
    judged_by = POLICY if type_ is EvidenceType.QUORUM_SPLIT else None
    verdict = verify_evidence(evidence, [ACCUSED[type_]], judged_by)
    assert (verdict.type, verdict.accused, verdict.origin) == (type_, ACCUSED[type_], ORIGIN)


@every_type
def test_writes_back_what_it_read(type_: EvidenceType) -> None:
    raw = MAKERS[type_]().format()
    assert Evidence.parse(raw).format() == raw


@every_type
def test_convicts_nobody_else(type_: EvidenceType) -> None:
    with pytest.raises(SignatureError):
        verify_evidence(MAKERS[type_](), [OTHER_LOG.verifier_key, W3.verifier_key], policy(W3, k=1, logs=()))


@every_type
def test_convicts_nobody_when_another_origin_was_asked_about(type_: EvidenceType) -> None:
    with pytest.raises(SignatureError, match="another origin"):
        verify_evidence(MAKERS[type_](), [ACCUSED[type_]], POLICY, origin="log.example/two")


@pytest.mark.parametrize("type_", [type_ for type_ in EvidenceType if type_ is not EvidenceType.BAD_EMPTY_HEAD])
def test_refuses_the_notes_in_the_other_order(type_: EvidenceType) -> None:
    evidence = MAKERS[type_]()
    swapped = replace(evidence, notes=evidence.notes[::-1])
    with pytest.raises(ProofError):
        verify_evidence(swapped, [ACCUSED[type_]], POLICY)


@every_type
def test_no_type_passes_for_another(type_: EvidenceType) -> None:
    evidence = MAKERS[type_]()
    keys = [ACCUSED[type_], LOG.verifier_key, W1.verifier_key]
    taken = []
    for other in EvidenceType:
        try:
            taken.append(verify_evidence(replace(evidence, type=other), keys, POLICY).type)
        except (ValueError, TlogError):
            continue
    # Two heads that satisfy the policy also convict the log and each cosigner on both sides by themselves.
    also = {EvidenceType.NON_CONSISTENT, EvidenceType.COSIGNER_NON_CONSISTENT}
    assert set(taken) == {type_} | (also if type_ is EvidenceType.QUORUM_SPLIT else set())


@every_type
def test_ignores_lines_of_keys_it_does_not_know_unless_they_decide_who_is_on_which_side(type_: EvidenceType) -> None:
    evidence = MAKERS[type_]()
    stranger = witness_key("witness.example/stranger")
    notes = (replace(one, signatures=(*one.signatures, *note(one.text, stranger).signatures)) for one in evidence.notes)
    crowded = replace(evidence, notes=tuple(notes))
    if type_ is EvidenceType.QUORUM_SPLIT:
        with pytest.raises(SignatureError, match="no trusted key signed"):
            verify_evidence(crowded, [], POLICY)
    else:
        assert verify_evidence(crowded, [ACCUSED[type_]]).id == verify_evidence(evidence, [ACCUSED[type_]]).id


# What is no checkpoint.


def test_the_statements_of_a_subtree_are_where_it_is_and_its_hashes() -> None:
    hashes = sorted(leaf_hash(entry) for entry in (b"one", b"other"))
    verdict = convict(make_subtree(), W1_MLDSA)
    assert verdict.statements == tuple(StatedSubtree(16, 32, hash) for hash in hashes)


def test_the_statements_of_a_rotation_are_the_records() -> None:
    head = MAIN.head(60)
    keys = sorted(str(key.verifier_key) for key in (LOG_2, LOG_MLDSA))
    verdict = convict(make_rotation(), LOG)
    assert verdict.statements == tuple(StatedRotation(1, key, head.size, head.root_hash) for key in keys)


def test_one_hash_of_each_of_two_subtrees_is_no_contradiction() -> None:
    with pytest.raises(ProofError, match="not the same part"):
        subtree(note(part(b"one"), W1_MLDSA), note(part(b"other", 32, 48), W1_MLDSA), W1_MLDSA.verifier_key)


def test_one_record_of_each_of_two_rotations_is_no_contradiction() -> None:
    with pytest.raises(ProofError, match="the same number"):
        rotation(note(record("a"), LOG), note(record("b", 2), LOG), LOG.verifier_key)


def test_statements_about_two_logs_are_no_contradiction() -> None:
    two = "log.example/two"
    with pytest.raises(ProofError, match="different origins"):
        rotation(note(record("a"), LOG), note(record("b", 1, two), LOG), LOG.verifier_key)


def test_a_key_that_signs_no_subtrees_is_not_convicted_of_two() -> None:
    evidence = Evidence(EvidenceType.SUBTREE, tuple(note(text, W1) for text in sorted((part(b"a"), part(b"b")))))
    with pytest.raises(SignatureError, match="of the accused kind"):
        convict(evidence, W1)


def test_two_keys_that_signed_one_record_each_contradict_nobody() -> None:
    one, other = sorted((record("a"), record("b")))
    with pytest.raises(SignatureError, match="of the accused kind"):
        convict(Evidence(EvidenceType.ROTATION, (note(one, LOG), note(other, LOG_2))), LOG, LOG_2)


# The grammar.

GOOD = make_non_consistent().format()


def with_header(header: bytes) -> bytes:
    return header + b"\n\n" + GOOD.partition(b"\n\n")[2]


HASH_LINE = b"hash " + b"A" * 43 + b"="
ROOT_LINE = b"root " + b"A" * 43 + b"="
NODE_LINE = b"node " + b"A" * 43 + b"="
TOP = b"tlog-evidence@v1\ntype "

MALFORMED = {
    "nothing": b"",
    "no empty line": b"tlog-evidence@v1\ntype same-size\n",
    "an empty header": b"\n\n" + GOOD,
    "another version": GOOD.replace(b"@v1", b"@v2", 1),
    "a header of one line": with_header(b"tlog-evidence@v1"),
    "no type": with_header(b"tlog-evidence@v1\n" + ROOT_LINE + b"\n" + HASH_LINE),
    "an unknown type": with_header(TOP + b"gossip"),
    "checkpoints as subtrees": replace(make_non_consistent(), type=EvidenceType.SAME_SIZE, proof=None)
    .format()
    .replace(b"same-size", b"subtree"),
    "checkpoints as rotations": replace(make_non_consistent(), type=EvidenceType.SAME_SIZE, proof=None)
    .format()
    .replace(b"same-size", b"rotation"),
    "a type in capitals": with_header(TOP + b"SAME-SIZE"),
    "two spaces before the type": with_header(TOP + b" same-size"),
    "CR LF": GOOD.replace(b"\n", b"\r\n"),
    "no root": with_header(TOP + b"non-consistent\n" + HASH_LINE),
    "no hash": with_header(TOP + b"non-consistent\n" + ROOT_LINE),
    "a hash before the root": with_header(TOP + b"non-consistent\n" + HASH_LINE + b"\n" + ROOT_LINE),
    "a second root": with_header(TOP + b"non-consistent\n" + ROOT_LINE + b"\n" + ROOT_LINE + b"\n" + HASH_LINE),
    "too many hashes": with_header(TOP + b"non-consistent\n" + ROOT_LINE + (b"\n" + HASH_LINE) * (MAX_HASHES + 1)),
    "a short hash": with_header(TOP + b"non-consistent\n" + ROOT_LINE + b"\nhash AAAA"),
    "non-canonical base64": with_header(TOP + b"non-consistent\n" + ROOT_LINE[:-2] + b"B=\n" + HASH_LINE),
    "a field with a space behind": with_header(TOP + b"non-consistent\n" + ROOT_LINE + b" \n" + HASH_LINE),
    "a root for a type without": with_header(TOP + b"same-size\n" + ROOT_LINE),
    "a hash for a quorum split without a root": with_header(TOP + b"quorum-split\n" + HASH_LINE),
    "a quorum split with a root and no hash": with_header(TOP + b"quorum-split\n" + ROOT_LINE),
    "openings without level": with_header(TOP + b"openings\nindex 0\n" + NODE_LINE + b"\n" + NODE_LINE),
    "openings without index": with_header(TOP + b"openings\nlevel 0\n" + NODE_LINE + b"\n" + NODE_LINE),
    "a level with a zero in front": with_header(TOP + b"openings\nlevel 00\nindex 0\n" + NODE_LINE + b"\n" + NODE_LINE),
    "one opening": with_header(TOP + b"openings\nlevel 0\nindex 0\n" + NODE_LINE),
    "three openings": with_header(TOP + b"openings\nlevel 0\nindex 0" + (b"\n" + NODE_LINE) * 3),
    "no separator": GOOD.replace(b"\n--\n", b"\n"),
    "a longer separator": GOOD.replace(b"\n--\n", b"\n---\n"),
    "a separator in front of the first signature": GOOD.replace(b"\n\n\xe2", b"\n\n--\n\xe2", 1),
    "two notes where there is one": with_header(TOP + b"bad-empty-head"),
    "one note where there are two": make_bad_empty_head().format().replace(b"bad-empty-head", b"same-size"),
    "three notes": GOOD + b"--\n" + GOOD.rpartition(b"--\n")[2],
    "no second note": GOOD.partition(b"\n--\n")[0] + b"\n--\n",
    "no last line feed": GOOD[:-1],
    "an empty line at the end": GOOD + b"\n",
    "a note that is no checkpoint": GOOD.replace(b"\n101\n", b"\n0101\n"),
    "a signature line without signature": GOOD.rpartition(b" ")[0] + b"\n",
    "too much": GOOD.replace(b"\n101\n", b"\n101\n" + b"x" * MAX_EVIDENCE_BYTES + b"\n"),
    "too much in one note": GOOD.replace(b"\n101\n", b"\n101\n" + b"x" * MAX_NOTE_BYTES + b"\n"),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=list(MALFORMED))
def test_refuses_a_bundle_with(raw: bytes) -> None:
    with pytest.raises(FormatError):
        Evidence.parse(raw)


def test_an_unknown_type_is_refused_with_what_to_do() -> None:
    with pytest.raises(FormatError, match="use a newer one"):
        Evidence.parse(MALFORMED["an unknown type"])


def test_a_missing_field_is_named() -> None:
    with pytest.raises(FormatError, match="'root'"):
        Evidence.parse(MALFORMED["no root"])


def test_holds_paths_of_the_longest_proof() -> None:
    raw = with_header(TOP + b"non-consistent\n" + ROOT_LINE + (b"\n" + HASH_LINE) * MAX_HASHES)
    assert Evidence.parse(raw).format() == raw


def test_an_extension_line_of_two_hyphens_does_not_separate_notes() -> None:
    one = signed(MAIN.head(60), LOG, extensions=(b"--", b"-- "))
    other = signed(FORK.head(60), LOG, extensions=(b"--",))
    evidence = same_size(one, other)
    assert Evidence.parse(evidence.format()) == evidence


WRONG_PARTS = [
    (EvidenceType.BAD_EMPTY_HEAD, 2, None),
    (EvidenceType.SAME_SIZE, 1, None),
    (EvidenceType.SAME_SIZE, 2, Prefix(EMPTY_ROOT, (EMPTY_ROOT,))),
    (EvidenceType.NON_CONSISTENT, 2, None),
    (EvidenceType.OPENINGS, 2, Prefix(EMPTY_ROOT, (EMPTY_ROOT,))),
    (EvidenceType.QUORUM_SPLIT, 2, Openings(0, 0, Opening(EMPTY_ROOT, ()), Opening(EMPTY_ROOT, ()))),
]


@pytest.mark.parametrize(("type_", "count", "proof"), WRONG_PARTS)
def test_building_evidence_of_the_wrong_parts_is_our_mistake(
    type_: EvidenceType, count: int, proof: Prefix | Openings | None
) -> None:
    with pytest.raises(ValueError, match="other parts"):
        Evidence(type_, (signed(MAIN.head(60), LOG).note,) * count, proof)


# Who is a log and who a cosigner.


def test_roles_follow_from_type_and_name() -> None:
    keys: list[SignerKey | CertificateLogKey] = [LOG, W1, LOG_MLDSA, W1_MLDSA, CT]
    assert [is_log_key(key.verifier_key, ORIGIN) for key in keys] == [True, False, True, False, True]


def test_an_ecdsa_key_is_a_logs() -> None:
    key = VerifierKey.of("anybody.example", KeyType.ECDSA, CT.verifier_key.public_key)
    assert is_log_key(key, ORIGIN)


def test_a_cosigners_statement_does_not_convict_the_log() -> None:
    """A mirror or witness that disagrees with the log: each of the two said one thing only."""
    evidence = pair(EvidenceType.SAME_SIZE, *ascending(signed(MAIN.head(60), LOG), signed(FORK.head(60), W1)))
    with pytest.raises(SignatureError):
        convict(evidence, LOG, W1)


def test_a_log_cannot_frame_another_that_the_caller_trusts_too() -> None:
    evidence = pair(EvidenceType.SAME_SIZE, *ascending(signed(MAIN.head(60), LOG), signed(FORK.head(60), OTHER_LOG)))
    with pytest.raises(SignatureError):
        convict(evidence, LOG, OTHER_LOG)


def test_a_log_whose_name_is_not_its_origin_is_judged_when_the_origin_is_named() -> None:
    one, other = (signed(tree.head(60), OTHER_LOG) for tree in (MAIN, FORK))
    evidence = same_size(one, other)
    with pytest.raises(SignatureError, match="name the origin"):
        convict(evidence, OTHER_LOG)
    assert convict(evidence, OTHER_LOG, origin=ORIGIN).accused == OTHER_LOG.verifier_key


def test_a_log_answers_for_all_of_its_keys() -> None:
    one, other = ascending(signed(MAIN.head(60), LOG), signed(FORK.head(60), LOG_2))
    accused = one.signatures[0].key
    assert convict(same_size(one, other), LOG, LOG_2).accused == accused


def test_a_key_that_signed_both_is_accused_before_a_pair_of_keys() -> None:
    one, other = signed(MAIN.head(60), LOG_2, LOG_MLDSA, LOG), signed(FORK.head(60), LOG)
    evidence = same_size(one, other)
    assert convict(evidence, LOG, LOG_2, LOG_MLDSA).accused == LOG.verifier_key
    assert all(len(note.signatures) == 1 for note in evidence.notes)


def test_the_logs_and_witnesses_of_a_policy_are_trusted() -> None:
    assert verify_evidence(make_same_size(), [], POLICY).accused == LOG.verifier_key
    assert verify_evidence(make_cosigner_same_size(), [], POLICY).accused == W1.verifier_key


def test_a_witness_of_a_policy_that_bears_the_origin_is_nobody() -> None:
    """A log does not witness itself, and what the policy calls a witness is not trusted as the log."""
    evidence = same_size(signed(MAIN.head(60), LOG_MLDSA), signed(FORK.head(60), LOG_MLDSA))
    with pytest.raises(SignatureError):
        verify_evidence(evidence, [], policy(LOG_MLDSA, k=1))


def test_cosigners_do_not_answer_for_each_other() -> None:
    evidence = pair(EvidenceType.COSIGNER_SAME_SIZE, *ascending(signed(MAIN.head(60), W1), signed(FORK.head(60), W2)))
    with pytest.raises(SignatureError):
        convict(evidence, W1, W2)


def test_two_keys_of_one_witness_do_not_answer_for_each_other() -> None:
    evidence = pair(
        EvidenceType.COSIGNER_SAME_SIZE, *ascending(signed(MAIN.head(60), W1), signed(FORK.head(60), W1_MLDSA))
    )
    with pytest.raises(SignatureError):
        convict(evidence, W1, W1_MLDSA)


def test_a_logs_key_is_not_judged_as_a_cosigner() -> None:
    evidence = pair(EvidenceType.COSIGNER_SAME_SIZE, *ascending(signed(MAIN.head(60), LOG), signed(FORK.head(60), LOG)))
    with pytest.raises(SignatureError):
        convict(evidence, LOG)


def test_a_note_with_a_failing_line_of_a_trusted_key_convicts_nobody() -> None:
    evidence = make_same_size()
    stray = signed(MAIN.head(59), LOG_2).note.signatures
    notes = (replace(evidence.notes[0], signatures=(*evidence.notes[0].signatures, *stray)), evidence.notes[1])
    with pytest.raises(SignatureError):
        convict(replace(evidence, notes=notes), LOG, LOG_2)


@pytest.mark.parametrize("key", [LOG, W1], ids=["log", "cosigner"])
def test_heads_of_different_origins_do_not_contradict_each_other(key: SignerKey) -> None:
    one, other = ascending(signed(MAIN.head(60), key), signed(FORK.head(60), key, origin="log.example/two"))
    type_ = EvidenceType.SAME_SIZE if key is LOG else EvidenceType.COSIGNER_SAME_SIZE
    with pytest.raises(ProofError, match="different origins"):
        convict(pair(type_, one, other), key, origin=one.origin)


def ascending(one: SignedCheckpoint, other: SignedCheckpoint) -> tuple[SignedCheckpoint, SignedCheckpoint]:
    return (one, other) if (one.size, one.root_hash) < (other.size, other.root_hash) else (other, one)


# The empty head.


def test_an_honest_empty_head_is_no_evidence() -> None:
    with pytest.raises(ProofError):
        bad_empty_head(signed(TreeHead(0, EMPTY_ROOT), LOG))


def test_a_head_that_is_not_empty_is_no_bad_empty_head() -> None:
    with pytest.raises(ProofError):
        bad_empty_head(signed(MAIN.head(1), LOG))


def test_a_cosigner_is_not_accused_of_a_bad_empty_head() -> None:
    head = signed(TreeHead(0, leaf_hash(b"x")), LOG, W1)
    only_cosigned = Evidence(EvidenceType.BAD_EMPTY_HEAD, (replace(head.note, signatures=head.note.signatures[1:]),))
    with pytest.raises(SignatureError):
        convict(only_cosigned, LOG, W1)


def test_a_bad_empty_head_keeps_the_logs_line_only() -> None:
    evidence = bad_empty_head(signed(TreeHead(0, leaf_hash(b"x")), W1, LOG))
    assert [line.name for line in evidence.notes[0].signatures] == [ORIGIN]


# The same size.


def test_the_same_root_is_no_contradiction_whatever_else_differs() -> None:
    one = signed(MAIN.head(60), LOG, W1, time=NOW, extensions=(b"one",))
    other = signed(MAIN.head(60), LOG, W2, time=NOW + 5, extensions=(b"other",))
    with pytest.raises(ProofError):
        same_size(one, other)


def test_different_sizes_are_not_the_same_size() -> None:
    with pytest.raises(ProofError, match="same size"):
        same_size(signed(MAIN.head(59), LOG), signed(FORK.head(60), LOG))


def test_every_kind_of_log_key_is_convicted() -> None:
    for key in (LOG, LOG_MLDSA, CT):
        assert (
            convict(same_size(signed(MAIN.head(60), key), signed(FORK.head(60), key)), key).accused == key.verifier_key
        )


# Different sizes.


@pytest.mark.parametrize("size", [1, 2, 3, 31, 32, 40, 63, 64, 70, 100])
def test_consistent_heads_make_no_evidence(size: int) -> None:
    with pytest.raises(ProofError, match="consistent"):
        non_consistent(signed(MAIN.head(size), LOG), signed(MAIN.head(101), LOG), MAIN.read)


@pytest.mark.parametrize("size", range(41, 71))
def test_a_fork_is_convicted_from_the_larger_tree_alone(size: int) -> None:
    evidence = non_consistent(signed(FORK.head(size), LOG), signed(MAIN.head(101), LOG), MAIN.read)
    assert convict(evidence, LOG).statements == (
        Stated(size, FORK.head(size).root_hash, 0),
        Stated(101, MAIN.head(101).root_hash, 0),
    )


def test_nodes_of_another_tree_than_the_larger_make_no_evidence() -> None:
    with pytest.raises(ProofError, match="lead"):
        non_consistent(signed(MAIN.head(50), LOG), signed(MAIN.head(70), LOG), FORK.read)


def test_a_proof_that_somebody_presents_convicts() -> None:
    path = prove_consistency(70, 101, MAIN.read)
    smaller, larger = signed(FORK.head(70), LOG), signed(MAIN.head(101), LOG)
    assert non_consistent_path(smaller, larger, MAIN.head(70).root_hash, path) == make_non_consistent()


@pytest.mark.parametrize("size", [50, 64])
def test_a_wrong_root_or_path_convicts_nobody(size: int) -> None:
    smaller, larger = signed(MAIN.head(size), LOG), signed(MAIN.head(101), LOG)
    path = prove_consistency(size, 101, MAIN.read)
    wrong = leaf_hash(b"wrong")
    for root, hashes in [
        (wrong, path),
        (MAIN.head(size).root_hash, path[1:]),
        (wrong, [wrong, *path[1:]]),
        (wrong, []),
    ]:
        with pytest.raises(ProofError):
            non_consistent_path(smaller, larger, root, hashes)


def test_the_empty_tree_is_a_prefix_of_everything() -> None:
    with pytest.raises(ProofError):
        non_consistent(signed(TreeHead(0, EMPTY_ROOT), LOG), signed(MAIN.head(101), LOG), MAIN.read)


# Openings.


@pytest.mark.parametrize(("sizes", "level"), [*product([(101, 70), (60, 60)], range(3)), ((101, 70), 4)])
def test_two_openings_of_one_place_convict_at_every_level(sizes: tuple[int, int], level: int) -> None:
    one, other = signed(MAIN.head(sizes[0]), LOG), signed(FORK.head(sizes[1]), LOG)
    of_one, of_other = opening(MAIN, 50, sizes[0]), opening(FORK, 50, sizes[1])
    for evidence in (
        openings(one, of_one, other, of_other, 50, level),
        openings(other, of_other, one, of_one, 50, level),
    ):
        assert convict(evidence, LOG).accused == LOG.verifier_key


def test_openings_under_heads_of_one_size_have_one_order() -> None:
    one, other = signed(MAIN.head(60), LOG), signed(FORK.head(60), LOG)
    evidence = openings(one, opening(MAIN, 50, 60), other, opening(FORK, 50, 60), 50)
    proof = evidence.proof
    assert isinstance(proof, Openings)
    swapped = replace(proof, first=proof.second, second=proof.first)
    with pytest.raises(ProofError, match="order"):
        convict(replace(evidence, notes=evidence.notes[::-1], proof=swapped), LOG)


def test_an_opening_at_a_level_does_not_contain_the_leaf() -> None:
    proof = make_openings().proof
    assert isinstance(proof, Openings)
    assert (proof.level, proof.index) == (2, 12)
    assert MAIN.rows[0][50] not in (proof.first.node, proof.second.node, *proof.first.path, *proof.second.path)


def test_the_same_leaf_twice_is_no_contradiction() -> None:
    with pytest.raises(ProofError, match="same node"):
        openings(
            signed(MAIN.head(101), LOG), opening(MAIN, 7, 101), signed(FORK.head(70), LOG), opening(FORK, 7, 70), 7
        )


def test_a_leaf_that_came_later_is_no_contradiction() -> None:
    """The last nodes of a smaller tree are not complete: what is above its edge changes honestly."""
    one, other = signed(MAIN.head(50), LOG), signed(MAIN.head(101), LOG)
    with pytest.raises(ProofError):
        openings(one, opening(MAIN, 48, 50), other, opening(MAIN, 48, 101), 48, level=2)


def test_an_incomplete_subtree_is_no_opening() -> None:
    small, large = MAIN.head(3), MAIN.head(4)
    proof = Openings(2, 0, Opening(small.root_hash, ()), Opening(large.root_hash, ()))
    evidence = Evidence(EvidenceType.OPENINGS, (signed(small, LOG).note, signed(large, LOG).note), proof)
    with pytest.raises(ProofError, match="no such node"):
        convict(evidence, LOG)


def test_openings_under_one_and_the_same_head_are_no_contradiction() -> None:
    head, proof = signed(MAIN.head(60), LOG), opening(MAIN, 50, 60)
    with pytest.raises(ProofError):
        openings(head, proof, head, proof, 50)


def test_an_opening_of_another_place_does_not_lead_to_its_head() -> None:
    one, other = signed(MAIN.head(101), LOG), signed(FORK.head(70), LOG)
    with pytest.raises(ProofError, match="opening"):
        openings(one, opening(MAIN, 50, 101), other, opening(FORK, 51, 70), 50)


# Rollbacks.


@pytest.mark.parametrize("key", [LOG_MLDSA, CT], ids=["ML-DSA-44", "RFC 6962"])
def test_a_log_that_signs_with_time_is_convicted_of_a_rollback(key: SignerKey | CertificateLogKey) -> None:
    evidence = log_rollback(signed(MAIN.head(50), key, time=NOW + 1), signed(MAIN.head(60), key, time=NOW))
    assert [statement[2] for statement in convict(evidence, key).statements] == [NOW + 1, NOW]


def test_a_log_that_signs_without_time_may_be_an_innocent_cache() -> None:
    with pytest.raises(ProofError, match="later time"):
        log_rollback(signed(MAIN.head(50), LOG), signed(MAIN.head(60), LOG))


@pytest.mark.parametrize("key", [W1, W1_MLDSA], ids=["Ed25519", "ML-DSA-44"])
def test_a_cosigner_is_convicted_of_a_rollback(key: SignerKey) -> None:
    one, other = signed(MAIN.head(60), key, time=NOW), signed(MAIN.head(59), key, time=NOW + 1)
    assert convict(cosigner_rollback(one, other, key.verifier_key), key).accused == key.verifier_key


@pytest.mark.parametrize(
    ("earlier", "later"), [(NOW, NOW), (NOW + 1, NOW), (0, NOW)], ids=["equal times", "growth", "no time"]
)
def test_a_smaller_tree_that_is_not_later_proves_nothing(earlier: int, later: int) -> None:
    larger, smaller = (
        signed(MAIN.head(60), W1_MLDSA, time=earlier),
        signed(MAIN.head(50), W1_MLDSA, time=later),
    )
    with pytest.raises(ProofError, match="later time"):
        cosigner_rollback(larger, smaller, W1_MLDSA.verifier_key)


@pytest.mark.parametrize("size", [60, 61])
def test_a_tree_that_is_not_smaller_is_no_rollback(size: int) -> None:
    first, second = signed(MAIN.head(60), W1, time=NOW), signed(MAIN.head(size), W1, time=NOW + 1)
    with pytest.raises(ProofError, match="smaller"):
        convict(pair(EvidenceType.COSIGNER_ROLLBACK, first, second), W1)


def test_the_clocks_of_two_keys_are_not_compared() -> None:
    larger, smaller = signed(MAIN.head(60), LOG_MLDSA, time=NOW), signed(MAIN.head(50), CT, time=NOW * 1000)
    with pytest.raises(SignatureError):
        log_rollback(larger, smaller)


def test_the_key_whose_clock_rises_is_accused_of_the_rollback() -> None:
    larger = signed(MAIN.head(60), W1, time=NOW + 9).merge(signed(MAIN.head(60), W2, time=NOW))
    smaller = signed(MAIN.head(50), W1, W2, time=NOW + 5)
    assert convict(pair(EvidenceType.COSIGNER_ROLLBACK, larger, smaller), W1, W2).accused == W2.verifier_key


# Quorum splits.


def test_a_quorum_split_names_the_parties_on_both_sides() -> None:
    verdict = verify_evidence(make_quorum_split(), [], POLICY)
    assert (verdict.accused, verdict.cosigners) == (LOG.verifier_key, (W2.name,))


def test_a_quorum_split_of_one_size_needs_no_proof() -> None:
    evidence = quorum_split(signed(MAIN.head(60), LOG, W1, W2), signed(FORK.head(60), LOG, W1, W2), POLICY)
    assert verify_evidence(evidence, [], POLICY).cosigners == (W1.name, W2.name)


def test_a_party_counts_whichever_of_its_keys_it_used() -> None:
    both = policy(W1, W1_MLDSA, W2, k=1)
    evidence = quorum_split(signed(MAIN.head(60), LOG, W1), signed(FORK.head(60), LOG, W1_MLDSA), both)
    assert verify_evidence(evidence, [], both).cosigners == (W1.name,)


def test_a_split_between_disjoint_quorums_names_nobody_but_the_log() -> None:
    weak = policy(W1, W2, k=1)
    evidence = quorum_split(signed(MAIN.head(60), LOG, W1), signed(FORK.head(60), LOG, W2), weak)
    verdict = verify_evidence(evidence, [], weak)
    assert (verdict.accused, verdict.cosigners, weak.inter()) == (LOG.verifier_key, (), 0)


def test_a_cosignature_without_time_puts_nobody_on_a_side() -> None:
    strong = policy(W1_MLDSA, W2, k=1)
    head = signed(MAIN.head(60), LOG, W1_MLDSA, time=0).merge(signed(MAIN.head(60), W2))
    evidence = quorum_split(head, signed(FORK.head(60), LOG, W1_MLDSA, W2), strong)
    assert verify_evidence(evidence, [], strong).cosigners == (W2.name,)


def test_a_quorum_split_is_not_judged_without_the_policy() -> None:
    with pytest.raises(SignatureError, match="give the policy"):
        convict(make_quorum_split(), LOG, W1, W2, W3)


def test_one_side_without_quorum_is_no_quorum_split() -> None:
    one, other = signed(FORK.head(70), LOG, W1), signed(MAIN.head(101), LOG, W2, W3)
    with pytest.raises(SignatureError, match="quorum"):
        quorum_split(one, other, POLICY, MAIN.read)


def test_consistent_heads_are_no_quorum_split() -> None:
    one, other = signed(MAIN.head(70), LOG, W1, W2), signed(MAIN.head(101), LOG, W2, W3)
    with pytest.raises(ProofError):
        quorum_split(one, other, POLICY, MAIN.read)


def test_a_quorum_split_keeps_the_lines_of_the_log_and_of_the_policy_only() -> None:
    stranger = witness_key("witness.example/stranger")
    one, other = signed(MAIN.head(60), LOG, stranger, W1, W2), signed(FORK.head(60), W1, stranger, LOG, W2)
    evidence = quorum_split(one, other, POLICY)
    assert {line.name for note in evidence.notes for line in note.signatures} == {ORIGIN, W1.name, W2.name}


def test_a_quorum_split_of_a_log_that_the_policy_cannot_name() -> None:
    """A policy without logs judges witnesses; the caller names the log."""
    logless = policy(W1, W2, k=2, logs=())
    one, other = signed(MAIN.head(60), OTHER_LOG, W1, W2), signed(FORK.head(60), OTHER_LOG, W1, W2)
    evidence = quorum_split(one, other, logless)
    verdict = verify_evidence(evidence, [OTHER_LOG.verifier_key], logless, ORIGIN)
    assert (verdict.accused, verdict.cosigners) == (OTHER_LOG.verifier_key, (W1.name, W2.name))


def test_a_quorum_split_of_two_sizes_needs_the_larger_tree() -> None:
    with pytest.raises(ValueError, match="larger tree"):
        quorum_split(signed(FORK.head(70), LOG, W1, W2), signed(MAIN.head(101), LOG, W2, W3), POLICY)


# The id.


def test_the_id_is_the_hash_of_what_was_said() -> None:
    evidence = make_cosigner_rollback()
    verdict = convict(evidence, W1)
    # MessagePack typed out, so that a library that changes its mind is noticed.
    vkey = str(W1.verifier_key).encode()
    packed = b"\x94" + b"\xb1cosigner-rollback" + b"\xd9" + bytes([len(vkey)]) + vkey + b"\xaflog.example/one" + b"\x92"
    for size, time in ((50, NOW + 1), (60, NOW)):
        packed += b"\x93" + bytes([size]) + b"\xc4\x20" + MAIN.head(size).root_hash + b"\xce" + struct.pack(">I", time)
    assert verdict.id == sha256(packed).digest()


def test_other_bytes_for_the_same_statements_have_the_same_id() -> None:
    """Another signature over the same head: ML-DSA-44 signatures are made with fresh randomness each time."""
    ids = set()
    for _ in range(2):
        evidence = same_size(signed(MAIN.head(60), LOG_MLDSA), signed(FORK.head(60), LOG_MLDSA))
        ids.add((evidence.format(), convict(evidence, LOG_MLDSA).id))
    assert len({raw for raw, _ in ids}) == 2
    assert len({id for _, id in ids}) == 1


def test_every_part_of_a_verdict_is_in_its_id() -> None:
    verdict = convict(make_same_size(), LOG)
    changed = [
        replace(verdict, type=EvidenceType.OPENINGS),
        replace(verdict, accused=LOG_2.verifier_key),
        replace(verdict, origin="log.example/two"),
        replace(verdict, statements=verdict.statements[:1]),
    ]
    assert len({verdict.id, *(other.id for other in changed)}) == 5


def test_ids_of_all_types_differ() -> None:
    ids = {verify_evidence(make(), [ACCUSED[type_]], POLICY).id for type_, make in MAKERS.items()}
    assert len(ids) == len(EvidenceType)


def test_evidence_is_small() -> None:
    assert len(make_same_size().format()) < 500
    assert len(make_non_consistent().format()) < 1100


def test_evidence_keeps_the_text_verbatim() -> None:
    one = signed(MAIN.head(60), LOG, extensions=(b"kept",))
    evidence = same_size(one, signed(FORK.head(60), LOG))
    assert one.note.text in [note.text for note in evidence.notes]
