import json
import random
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from fuzz.harness import mutations
from specs.vectors.make_evidence import FOLDER, SUFFIX, files
from tests.contract import stranger
from tests.evidence_cases import W1_MLDSA
from tests.forks import Tree
from tests.property.test_evidence import EVERYBODY, told
from tests.vectors import vector
from tlog.errors import FormatError, ProofError, SignatureError, TlogError
from tlog.evidence import (
    MAX_EVIDENCE_BYTES,
    MAX_HASHES,
    Evidence,
    EvidenceType,
    Prefix,
    cosigner_same_size,
    non_consistent,
    non_consistent_path,
    same_size,
    verify_evidence,
)
from tlog.hashing import Hash, leaf_hash
from tlog.keys import VerifierKey
from tlog.note import MAX_NOTE_BYTES, MAX_SIGNATURES
from tlog.policy import Policy
from tlog.signed_checkpoint import open_checkpoint
from tlog.text import encode_base64, parse_hash

INDEX: dict[str, Any] = json.loads((FOLDER / "vectors.json").read_text())
VECTORS: list[dict[str, Any]] = INDEX["vectors"]
LABELS: dict[str, str] = {vkey: label for label, vkey in INDEX["keys"].items()}
SPECIFICATION = (Path(__file__).parents[2] / "specs" / "evidence.md").read_text()

ours = pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["file"].removesuffix(SUFFIX))


@ours
def test_judges_our_vectors_as_they_say(case: dict[str, Any]) -> None:
    said = judged((FOLDER / case["file"]).read_bytes(), case)
    assert said == case.get("error", case.get("verdict"))


@ours
def test_a_stranger_who_read_the_specification_agrees(case: dict[str, Any]) -> None:
    said = as_a_stranger((FOLDER / case["file"]).read_bytes(), case)
    assert said == case.get("error", case.get("verdict"))


def test_a_stranger_agrees_on_what_is_made_of_the_vectors() -> None:
    good = [case for case in VECTORS if "verdict" in case]
    rng = random.Random(5)
    for case in good:
        bundle = (FOLDER / case["file"]).read_bytes()
        for changed in islice(mutations([bundle], rng), 100):
            said = as_a_stranger(changed, case)
            assert said == judged(changed, case)


def test_a_stranger_agrees_on_statements_that_are_no_checkpoints() -> None:
    case = {"keys": [str(key) for key in (*EVERYBODY, W1_MLDSA.verifier_key)], "policy": None, "origin": None}
    not_proven = ("signature", "proof")  # where both are right, either is
    for bundle in told(random.Random(6), 1000):
        said, want = as_a_stranger(bundle, case), judged(bundle, case)
        assert said == want or (said in not_proven and want in not_proven)


def as_a_stranger(bundle: bytes, case: dict[str, Any]) -> object:
    keys = [INDEX["keys"].get(label, label) for label in case["keys"]]
    policy = INDEX["policies"][case["policy"]] if case["policy"] else None
    try:
        verdict = stranger.verdict(bundle, keys, policy, case["origin"])
    except stranger.RefusedError as refusal:
        return str(refusal)
    return {**verdict, "accused": LABELS.get(verdict["accused"], verdict["accused"])}


def judged(bundle: bytes, case: dict[str, Any]) -> object:
    keys = [VerifierKey.parse(INDEX["keys"].get(label, label)) for label in case["keys"]]
    policy = Policy.parse(INDEX["policies"][case["policy"]].encode()) if case["policy"] else None
    try:
        verdict = verify_evidence(Evidence.parse(bundle), keys, policy, case["origin"])
    except TlogError as error:
        if isinstance(error, FormatError):
            return "format"
        return "signature" if isinstance(error, SignatureError) else "proof"
    return {
        "type": verdict.type.value,
        "accused": LABELS.get(str(verdict.accused), str(verdict.accused)),
        "origin": verdict.origin,
        "statements": [list(map(readable, stated)) for stated in verdict.statements],
        "cosigners": list(verdict.cosigners),
        "id": verdict.id.hex(),
    }


def readable(value: object) -> object:
    return encode_base64(value).decode() if isinstance(value, bytes) else value


def test_the_same_program_writes_the_same_vectors() -> None:
    made = files((FOLDER / "mldsa44.json").read_text())
    kept = {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    assert made == kept


def test_every_type_has_a_vector_that_convicts() -> None:
    assert {case["verdict"]["type"] for case in VECTORS if "verdict" in case} == {type_.value for type_ in EvidenceType}


def test_the_worked_example_of_the_specification_is_a_vector() -> None:
    example = next(case for case in VECTORS if case["file"] == f"good/example{SUFFIX}")
    assert (FOLDER / example["file"]).read_text() in SPECIFICATION
    assert example["verdict"]["id"] in SPECIFICATION
    assert INDEX["keys"]["log"] in SPECIFICATION


def test_the_specification_lists_the_types() -> None:
    assert re.findall(r"%s\"type ([a-z-]+)\"", SPECIFICATION) == [type_.value for type_ in EvidenceType]


def test_the_limits_of_the_specification_are_those_of_the_code() -> None:
    for limit, what in (
        (MAX_HASHES, "hashes in one path"),
        (MAX_NOTE_BYTES, "one note"),
        (MAX_EVIDENCE_BYTES, "a bundle"),
    ):
        assert f"| {what} | {limit:,}" in SPECIFICATION
    assert f"bytes, {MAX_SIGNATURES} signature lines" in SPECIFICATION


# Splits and disagreements that others have published.


def sumdb() -> tuple[dict[str, Any], VerifierKey, Tree]:
    data = json.loads(vector("golang-mod/sumdb_client.json").read_text())
    records = [leaf_hash(record["text"].encode()) for record in data["fork"]["new_records"]]
    return data["fork"], VerifierKey.parse(data["vkey"]), Tree(records)


def test_the_fork_of_the_go_checksum_database_test_is_convicted_from_the_larger_tree() -> None:
    fork, key, tree = sumdb()
    old, new = (open_checkpoint(fork[name].encode(), [key]) for name in ("old_signed_tree", "new_signed_tree"))
    evidence = non_consistent(old, new, tree.read)
    verdict = verify_evidence(Evidence.parse(evidence.format()), [key], origin="go.sum database tree")
    assert (verdict.accused, [stated[0] for stated in verdict.statements]) == (key, [5, 6])


def test_the_misbehaviour_proof_that_go_prints_is_our_evidence() -> None:
    fork, key, tree = sumdb()
    old, new = (open_checkpoint(fork[name].encode(), [key]) for name in ("old_signed_tree", "new_signed_tree"))
    root = parse_hash(fork["fork_root_size5"].encode())
    path = [parse_hash(line.encode()) for line in fork["misbehaviour_proof"]]
    evidence = non_consistent_path(old, new, root, path)
    assert evidence == non_consistent(old, new, tree.read)
    assert evidence.proof == Prefix(root, tuple(path))


def test_trees_of_the_go_checksum_database_that_agree_convict_nobody() -> None:
    fork, key, tree = sumdb()
    data = json.loads(vector("golang-mod/sumdb_client.json").read_text())
    heads = [open_checkpoint(note.encode(), [key]) for note in data["signed_trees"].values()]
    new = open_checkpoint(fork["new_signed_tree"].encode(), [key])
    for head in heads:
        with pytest.raises(ProofError, match="consistent"):
            non_consistent(head, new, tree.read)


def test_a_mirror_that_disagrees_with_the_log_convicts_neither() -> None:
    keys = json.loads(vector("FiloSottile-sunlight/skylight/keys.json").read_text())
    log, mirror = VerifierKey.parse(keys["log_vkey"]), VerifierKey.parse(keys["mirror"]["vkeys"][0])
    of_log, of_mirror = (
        open_checkpoint(vector(f"FiloSottile-sunlight/skylight/{name}").read_bytes(), [log, mirror])
        for name in ("log.checkpoint", "mirror/checkpoint")
    )
    assert (of_log.origin, of_log.size) == (of_mirror.origin, of_mirror.size)
    assert of_log.root_hash != of_mirror.root_hash
    first, second = sorted((of_log, of_mirror), key=lambda head: head.root_hash)
    for type_ in (EvidenceType.SAME_SIZE, EvidenceType.COSIGNER_SAME_SIZE):
        with pytest.raises(SignatureError):
            verify_evidence(Evidence(type_, (first.note, second.note)), [log, mirror])
    with pytest.raises(SignatureError):
        same_size(of_log, of_mirror)
    for key in (log, mirror):
        with pytest.raises(SignatureError):
            cosigner_same_size(of_log, of_mirror, key)


def test_a_wrong_hash_in_the_published_misbehaviour_proof_convicts_nobody() -> None:
    fork, key, _ = sumdb()
    old, new = (open_checkpoint(fork[name].encode(), [key]) for name in ("old_signed_tree", "new_signed_tree"))
    path = [parse_hash(line.encode()) for line in fork["misbehaviour_proof"]]
    with pytest.raises(ProofError):
        non_consistent_path(old, new, parse_hash(fork["fork_root_size5"].encode()), [Hash(bytes(32)), *path[1:]])
