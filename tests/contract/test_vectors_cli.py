"""What others have signed and proven, verified the way a person does it: by the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from specs.vectors.make_evidence import FOLDER, SUFFIX
from tests.commands import Sameview
from tests.vectors import vector, vector_files
from tlog.note import Note

INDEX: dict[str, Any] = json.loads((FOLDER / "vectors.json").read_text())
EXIT_CODES = {"format": 2, "signature": 1, "proof": 1}
MARKOVIAN = "real-checkpoints/markovianprotocol.com"
RECENTLY = 100_000_000_000  # seconds: an age that everything here is younger than


def load(relative: str) -> Any:
    return json.loads(vector(relative).read_bytes())


# Project Oak: a whole proof file under a policy.


@pytest.fixture
def oak(tmp_path: Path) -> dict[str, Any]:
    keys = load("project-oak/keys.json")
    (tmp_path / "policy").write_text(keys["policy"])
    return {
        **keys,
        "policy": tmp_path / "policy",
        "proof": vector("project-oak/test.tlog-proof"),
        "entry": vector("project-oak/test.entry"),
    }


def test_project_oaks_proof_holds_under_its_policy(sameview: Sameview, oak: dict[str, Any]) -> None:
    ran = sameview("verify", "proof", oak["proof"], "--entry", oak["entry"], "--policy", oak["policy"], "--explain")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "OK: the entry is number 3 of the log",
        "  index: 3",
        "  origin: fake.log.origin/log",
        "  size: 4",
        "  root hash: CPv9hH0ShT6k/WU9QZeh1bV7bYeUOkrnBuCLCQG9GgE=",
        "  signed by: fake.log.origin/log (ed25519)",
        "  signed by: test-witness (cosignature ed25519)",
        "  - log fake.log.origin/log (ed25519): signed",
        "  - witness w1 (test-witness): cosigned at Unix time 1771605822 (2026-02-20 16:43:42 UTC)",
        "  - quorum w1: met",
    ]


def test_project_oaks_proof_holds_under_the_key_of_its_log(sameview: Sameview, oak: dict[str, Any]) -> None:
    ran = sameview("verify", "proof", oak["proof"], "--entry", oak["entry"], "--vkey", oak["log_vkey"], "--json")
    assert (ran.code, ran.document["holds"], ran.document["index"], ran.document["size"]) == (0, True, 3, 4)


def test_project_oaks_proof_holds_under_key_and_policy(sameview: Sameview, oak: dict[str, Any]) -> None:
    both = ("--vkey", oak["log_vkey"], "--policy", oak["policy"], "--origin", oak["origin"])
    assert sameview("verify", "proof", oak["proof"], "--entry", oak["entry"], *both).code == 0


def test_project_oaks_proof_proves_no_other_entry(sameview: Sameview, oak: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(oak["entry"].read_bytes() + b"!")
    ran = sameview("verify", "proof", oak["proof"], "--entry", tmp_path / "other", "--policy", oak["policy"])
    first, second, *_ = ran.out.splitlines()
    assert (ran.code, first) == (1, "FAILED: the proof leads to another root")
    assert second == "  either the file is not the entry that the proof is of, or the proof was altered"


def test_project_oaks_proof_does_not_hold_under_the_key_of_another_log(sameview: Sameview, oak: dict[str, Any]) -> None:
    proof = ("verify", "proof", oak["proof"], "--entry", oak["entry"])
    ran = sameview(*proof, "--vkey", oak["extra_real_vkey"], "--explain")
    assert (ran.code, ran.out.splitlines()[1:]) == (1, ["  - key paic.google.com/log/0 (ed25519): no signature"])
    assert "no key is known for the origin of the checkpoint" in ran.out
    named = sameview(*proof, "--vkey", oak["extra_real_vkey"], "--origin", oak["origin"])
    assert (named.code, named.out) == (1, "FAILED: no trusted key signed the checkpoint\n")


@pytest.mark.parametrize("place", range(0, 560, 7))
def test_no_changed_byte_of_project_oaks_proof_goes_unnoticed(
    sameview: Sameview, oak: dict[str, Any], tmp_path: Path, place: int
) -> None:
    raw = bytearray(oak["proof"].read_bytes())
    raw[place % len(raw)] ^= 1
    (tmp_path / "damaged").write_bytes(raw)
    ran = sameview("verify", "proof", tmp_path / "damaged", "--entry", oak["entry"], "--policy", oak["policy"])
    assert ran.code in (1, 2)


# The Go checksum database: a key that is not named like its log.


@pytest.mark.parametrize(
    "path", vector_files("derived/sumdb-tlog-proofs", "*.tlog-proof"), ids=lambda path: str(path.stem)
)
def test_records_of_the_go_checksum_database_are_in_its_tree_of_33_million(sameview: Sameview, path: Path) -> None:
    keys = load("derived/sumdb-tlog-proofs/keys.json")
    proof = ("verify", "proof", path, "--entry", path.with_suffix(".leaf"), "--vkey", keys["vkey"])
    ran = sameview(*proof, "--origin", "go.sum database tree", "--json")
    assert (ran.code, ran.document["index"], ran.document["size"]) == (0, int(path.stem), 33318680)
    assert ran.document["signed_by"] == ["sum.golang.org"]
    assert sameview(*proof).code == 1  # the key alone does not speak for that origin
    assert sameview(*proof, "--origin", "sum.golang.org").code == 1


# A log that public witnesses cosign, under its own policy of four of seven.


def cases() -> list[dict[str, Any]]:
    files = vector_files(MARKOVIAN, "verdicts_fixtures.json")
    return json.loads(files[0].read_bytes())["checkpoints"] if files else []


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["file"])
def test_a_real_policy_judges_real_cosignatures_as_others_found(sameview: Sameview, case: dict[str, Any]) -> None:
    file, policy = vector(f"{MARKOVIAN}/{case['file']}"), vector(f"{MARKOVIAN}/tlog.policy")
    ran = sameview("verify", "checkpoint", file, "--policy", policy, "--explain", "--json")
    document = ran.document
    assert (ran.code, document["holds"]) == (0 if case["quorum_4_of_7"] else 1, case["quorum_4_of_7"])
    assert (document["size"], document["root_hash"]) == (case["size"], case["root"])
    cosigned = {line.split()[1] for line in document["explanation"] if "cosigned at Unix time" in line}
    assert cosigned == set(case["policy_witnesses_verified"])
    count = f"group independent-witnesses: {len(cosigned)} of 7 members, 4 needed"
    assert any(line.startswith(count) for line in document["explanation"])


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["file"])
def test_keys_alone_find_the_signatures_that_others_found(sameview: Sameview, case: dict[str, Any]) -> None:
    keys = load(f"{MARKOVIAN}/keys.json")
    vkeys = [word for vkey in (keys["log_vkey"], *keys["witness_vkeys"]) for word in ("--vkey", vkey)]
    ran = sameview("verify", "checkpoint", vector(f"{MARKOVIAN}/{case['file']}"), *vkeys, "--json")
    assert ran.code == 0
    assert sorted(ran.document["signed_by"]) == sorted(name for name, _ in case["all_verified"])


def test_the_age_of_real_cosignatures_is_judged(sameview: Sameview) -> None:
    file, policy = vector(f"{MARKOVIAN}/7126.checkpoint"), vector(f"{MARKOVIAN}/tlog.policy")
    assert sameview("verify", "checkpoint", file, "--policy", policy, "--max-age", RECENTLY).code == 0
    ran = sameview("verify", "checkpoint", file, "--policy", policy, "--max-age", 1, "--explain")
    assert ran.code == 1
    assert ran.out.startswith("FAILED: the cosignatures that are recent enough on the checkpoint do not reach")
    assert ran.out.count("seconds too old") == 7
    assert "  - group independent-witnesses: 0 of 7 members, 4 needed: not met\n" in ran.out


def test_a_checkpoint_without_cosignatures_is_explained_where_it_fails(sameview: Sameview) -> None:
    file, policy = vector(f"{MARKOVIAN}/4.checkpoint"), vector(f"{MARKOVIAN}/tlog.policy")
    ran = sameview("verify", "checkpoint", file, "--policy", policy, "--explain")
    assert ran.code == 1
    assert "  - log markovianprotocol.com/log (ed25519): signed\n" in ran.out
    assert ran.out.count(": no cosignature\n") == 7
    assert ran.out.endswith("  - quorum independent-witnesses: not met\n")


def test_a_cosignature_moved_to_another_tree_spoils_the_checkpoint(sameview: Sameview, tmp_path: Path) -> None:
    policy = vector(f"{MARKOVIAN}/tlog.policy")
    one, other = (Note.parse(vector(f"{MARKOVIAN}/{n}.checkpoint").read_bytes()) for n in (250, 7126))
    moved = next(line for line in other.signatures if line.name == "rgdd.se/poc-witness")
    lines = tuple(moved if (line.name, line.key_id) == (moved.name, moved.key_id) else line for line in one.signatures)
    (tmp_path / "forged").write_bytes(Note(one.text, lines).format())
    ran = sameview("verify", "checkpoint", tmp_path / "forged", "--policy", policy, "--explain")
    assert (ran.code, ran.out.split("\n")[0]) == (1, "FAILED: the signature by rgdd.se/poc-witness does not verify")
    assert "  - key rgdd.se/poc-witness (cosignature ed25519): its line fails, the signature does not verify" in ran.out
    assert "  - witness remora (remora.n621.de): cosigned at Unix time" in ran.out


# Evidence bundles: our own vectors, which other implementations share.


@pytest.mark.parametrize("case", INDEX["vectors"], ids=lambda case: case["file"].removesuffix(SUFFIX))
def test_judges_evidence_as_the_vectors_say(sameview: Sameview, tmp_path: Path, case: dict[str, Any]) -> None:
    options = [word for label in case["keys"] for word in ("--vkey", INDEX["keys"][label])]
    if case["policy"]:
        (tmp_path / "policy").write_text(INDEX["policies"][case["policy"]])
        options += ["--policy", str(tmp_path / "policy")]
    if case["origin"] is not None:
        options += ["--origin", case["origin"]]
    ran = sameview("verify", "evidence", FOLDER / case["file"], *options, "--json", "--explain")
    if not options:
        assert ran.code == 2
    elif "error" in case:
        assert ran.code == EXIT_CODES[case["error"]]
        assert case["error"] == "format" or not ran.document["holds"]
    else:
        verdict, document = case["verdict"], ran.document
        assert (ran.code, document["holds"], document["id"]) == (0, True, verdict["id"])
        assert (document["type"], document["origin"]) == (verdict["type"], verdict["origin"])
        assert document["accused"] == INDEX["keys"][verdict["accused"]]
        assert document.get("cosigned_both", []) == verdict["cosigners"]
        assert len(document["statements"]) == len(verdict["statements"])
