"""What other implementations and running logs say about proof files, policies, witness requests and log lists.

Where this project is stricter than the source of a case, the case says so and names the rule.
"""

import json
import re
from binascii import a2b_base64
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.keys import log_key, sign_checkpoint
from tests.vectors import vector, vector_files
from tlog.add_checkpoint import AddCheckpoint, Behind, Broken, parse_size, read_answer
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.hashing import EMPTY_TREE, Hash, leaf_hash
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.log_list import LogList, merge
from tlog.note import Note, SignatureLine, open_note
from tlog.policy import Policy
from tlog.proofs import verify_consistency
from tlog.signed_checkpoint import open_checkpoint
from tlog.tlog_proof import TlogProof
from tlog.trust import Trust

Case = dict[str, Any]

INLINE = "c2sp-inline-vectors.json"
WITNESS = SignerKey("w.example/1", KeyType.COSIGNATURE_ED25519, bytes(32)).verifier_key


def load(relative: str) -> Any:
    return json.loads(vector(relative).read_bytes())


def accepted(parse: Callable[[bytes], object], text: str) -> bool:
    try:
        parse(text.encode())
    except FormatError:
        return False
    return True


def inline(identifier: str) -> Case:
    entries: list[Case] = load(INLINE)["entries"]
    return next(entry for entry in entries if entry["id"] == identifier)


# Proof files.


def oak() -> tuple[TlogProof, bytes, Case]:
    proof = TlogProof.parse(vector("project-oak/test.tlog-proof").read_bytes())
    return proof, vector("project-oak/test.entry").read_bytes(), load("project-oak/keys.json")


def test_project_oaks_proof_holds_under_its_policy() -> None:
    proof, entry, keys = oak()
    policy = Policy.parse(keys["policy"].encode())
    opened = proof.verify(leaf_hash(entry), Trust(policy=policy))
    assert (opened.origin, opened.size, policy.cosigned(opened).met) == (keys["origin"], 4, True)
    assert proof.format() == vector("project-oak/test.tlog-proof").read_bytes()


def test_project_oaks_proof_holds_under_the_key_of_its_log() -> None:
    proof, entry, keys = oak()
    assert proof.verify(leaf_hash(entry), Trust((VerifierKey.parse(keys["log_vkey"]),))).size == 4


@pytest.mark.parametrize("change", [b"", b"\0", b"\n"])
def test_project_oaks_proof_proves_no_other_entry(change: bytes) -> None:
    proof, entry, keys = oak()
    for other in (entry + change if change else entry[:-1], change + entry if change else b"", entry.upper()):
        with pytest.raises(ProofError):
            proof.verify(leaf_hash(other), Trust(policy=Policy.parse(keys["policy"].encode())))


def test_project_oaks_proof_does_not_hold_under_the_key_of_another_log() -> None:
    proof, entry, keys = oak()
    other = VerifierKey.parse(keys["extra_real_vkey"])
    for origin in (None, keys["origin"], other.name):
        with pytest.raises(SignatureError):
            proof.verify(leaf_hash(entry), Trust((other,), origin))


def sumdb_proofs() -> list[Path]:
    return vector_files("derived/sumdb-tlog-proofs", "*.tlog-proof")


@pytest.mark.parametrize("path", sumdb_proofs(), ids=lambda path: path.stem)
def test_records_of_the_go_checksum_database_are_in_its_tree_of_33_million(path: Path) -> None:
    keys = load("derived/sumdb-tlog-proofs/keys.json")
    proof, key = TlogProof.parse(path.read_bytes()), VerifierKey.parse(keys["vkey"])
    leaf = leaf_hash(path.with_suffix(".leaf").read_bytes())
    trust = Trust((key,), keys["origin"])
    opened = proof.verify(leaf, trust)
    assert (opened.size, proof.index, proof.format()) == (33318680, int(path.stem), path.read_bytes())
    # The key name is not the origin, so that the key alone does not speak for it.
    with pytest.raises(SignatureError, match="no key is known for the origin"):
        proof.verify(leaf, Trust((key,)))
    for other in (p for p in sumdb_proofs() if p != path):
        with pytest.raises(ProofError):
            proof.verify(leaf_hash(other.with_suffix(".leaf").read_bytes()), trust)


def test_proof_files_of_the_formats_library() -> None:
    cases = load("transparency-dev-formats/tlog_proof.json")
    for case in cases["marshal"]:
        extra = a2b_base64(case["extra_b64"]) if "extra_b64" in case else None
        path = tuple(Hash(a2b_base64(text)) for text in case["hashes"])
        proof = TlogProof(case["index"], path, case["checkpoint"].encode(), extra)
        assert (proof.format(), TlogProof.parse(case["want"].encode())) == (case["want"].encode(), proof), case["id"]
    for case in cases["unmarshal_errors"]:
        assert not accepted(TlogProof.parse, case["input"]), case["id"]


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (TlogProof.parse, "c2sp.org/tlog-proof@v1\nindex {}\n\nnote\n"),
        (AddCheckpoint.parse, "old {}\n\nnote\n"),
        (parse_size, "{}\n"),
        (LogList.parse, f"logs/v0\nvkey {log_key().verifier_key}\nqpd {{}}\n"),
        (Policy.parse, f"witness w {WITNESS}\ngroup g {{}} w\nquorum g\n"),
    ],
)
def test_numbers_that_lenient_readers_accept(parse: Callable[[bytes], object], text: str) -> None:
    rule = inline("derived-strict-parser-negatives")["rules"][0]
    blanks_mean_nothing = parse in (LogList.parse, Policy.parse)
    for number in rule["reject"]:
        if number.strip(" ") == number or not blanks_mean_nothing:
            assert not accepted(parse, text.format(number)), number
    assert accepted(parse, text.format("1"))


def test_hashes_that_lenient_readers_accept() -> None:
    rule = inline("derived-strict-parser-negatives")["rules"][1]
    for text in rule["accept"]:
        assert TlogProof.parse(f"c2sp.org/tlog-proof@v1\nindex 0\n{text}\n\nn".encode()).path == (a2b_base64(text),)
        assert AddCheckpoint.parse(f"old 0\n{text}\n\nn".encode()).path == (a2b_base64(text),)
    for text in filter(None, rule["reject"]):
        for parse, head in ((TlogProof.parse, "c2sp.org/tlog-proof@v1\nindex 0"), (AddCheckpoint.parse, "old 0")):
            with pytest.raises(FormatError):
                parse(f"{head}\n{text}\n\nn".encode())


# Policies: the dialect of transparency-dev/formats and Tessera.


def as_cosigner(vkey: str) -> str:
    """That dialect writes witnesses with type 0x01 and means 0x04, which this project does not guess."""
    key = VerifierKey.parse(vkey)
    return str(VerifierKey.of(key.name, KeyType.COSIGNATURE_ED25519, key.public_key))


def translated(policy: str) -> str:
    """The same policy with the witness keys that are meant, and ended lines."""
    return re.sub(r"\S+\+[0-9a-f]{8}\+\S+", lambda found: as_cosigner(found[0]), policy).rstrip("\n") + "\n"


def formats_policies(kind: str) -> list[Case]:
    return list(load("transparency-dev-formats/policy.json")[kind])


def test_the_formats_library_takes_plain_keys_for_witness_keys_and_we_do_not() -> None:
    tidy, _ = formats_policies("ok")
    with pytest.raises(FormatError, match="a witness's vkey has type 0x04 or 0x06"):  # PO-7
        Policy.parse(tidy["policy"].encode())


def test_valid_policies_of_the_formats_library() -> None:
    tidy, commented = (translated(case["policy"]) for case in formats_policies("ok"))
    policy = Policy.parse(tidy.encode())
    assert [witness.url for witness in policy.witnesses] == [
        "https://sigsum.org/witness/",
        "https://example.com/witness/",
    ]
    assert (policy.groups[0].threshold, policy.quorum, policy.satisfied_by(["w1", "w2"])) == (2, "g1", True)
    with pytest.raises(FormatError, match=r"^policy line 4: "):  # PO-3: that dialect has comments behind a line
        Policy.parse(commented.encode())
    assert Policy.parse(re.sub(r"(\S)[ \t]+#.*", r"\1", commented).encode()) == policy


def test_group_sizes_of_the_formats_library() -> None:
    for case in formats_policies("group_n"):
        policy = translated(case["policy"])
        with pytest.raises(FormatError, match="same public key"):  # PO-8: w2 and w3 are one key there
            Policy.parse(policy.encode())
        second = log_key("third.example").verifier_key
        lines = [line for line in policy.split("\n") if not line.startswith("witness w3 ")]
        lines.insert(3, f"witness w3 {as_cosigner(str(second))}")
        assert Policy.parse("\n".join(lines).encode()).groups[0].threshold == case["n"], case["id"]


def test_invalid_policies_of_the_formats_library() -> None:
    reasons = {
        "no quorum": "no quorum line",
        "unknown quorum component": "not that of a witness or group",
        "duplicate component name": "already taken",
        "negative threshold": "same public key",  # before its threshold is read
        "witness name is keyword": "no quorum line|not that of a witness or group",  # PO-9: only none is reserved
    }
    for case in formats_policies("errors"):
        with pytest.raises(FormatError, match=reasons[case["id"]]):
            Policy.parse(translated(case["policy"]).encode())
    negative = next(case for case in formats_policies("errors") if case["id"] == "negative threshold")
    with pytest.raises(FormatError, match="not a decimal number"):
        Policy.parse(re.sub(r"\t+ witness w3.*\n", "", translated(negative["policy"])).encode())


def nested(group: list[Any], lines: list[str]) -> str:
    """Write a nested group as policy lines, members first; returns its name."""
    threshold, *members = group
    names = [member if isinstance(member, str) else nested(member, lines) for member in members]
    lines.append(f"group g{len(lines)} {threshold} {' '.join(names)}")
    return lines[-1].split(" ")[1]


def test_group_verdicts_of_the_formats_library() -> None:
    data = load("transparency-dev-formats/group_satisfied.json")
    vkeys = {name: as_cosigner(vkey) for name, vkey in data["vkeys"].items()}
    for case in data["cases"]:
        lines = [f"witness {name} {vkey}" for name, vkey in vkeys.items()]
        quorum = nested(case["group"], lines)
        policy = "".join(f"{line}\n" for line in [*lines, f"quorum {quorum}"])
        if case["group"][0] == 0:
            with pytest.raises(FormatError, match="threshold"):  # PO-10: no group wants none of its members
                Policy.parse(policy.encode())
            continue
        parsed = Policy.parse(policy.encode())
        signed = [
            SignatureLine.parse(data["cosignature_lines"][name].rstrip("\n").encode()) for name in case["signers"]
        ]
        keys = {witness.key: witness.name for witness in parsed.witnesses}
        verified = open_note(Note(data["text"].encode(), tuple(signed)), keys) if signed else ()
        assert parsed.satisfied_by([keys[found.key] for found in verified]) == case["satisfied"], case["id"]


# Policies: Sigsum's dialect, whose keys are hexadecimal.


def from_sigsum(policy: str, *, invented: bool) -> bytes:
    """Write the keys as vkeys. The invented keys of a test are no points of the curve: equal ones stay equal."""

    def public_key(text: str) -> bytes:
        seed = sha256(text.encode()).digest()
        return SignerKey("x", KeyType.ED25519, seed).verifier_key.public_key if invented else bytes.fromhex(text)

    def log(found: re.Match[str]) -> str:
        key = public_key(found[2])
        name = f"sigsum.org/v1/tree/{sha256(key).hexdigest()}"
        return f"{found[1]}{VerifierKey.of(name, KeyType.ED25519, key)}"

    def witness(found: re.Match[str]) -> str:
        return f"{found[1]}{VerifierKey.of(found[2], KeyType.COSIGNATURE_ED25519, public_key(found[3]))}"

    policy = re.sub(r"(?m)^([ \t]*log[ \t]+)([0-9a-f]{64})\b", log, policy)
    return re.sub(r"(?m)^([ \t]*witness[ \t]+(\S+)[ \t]+)([0-9a-f]{64})\b", witness, policy).encode()


def test_valid_policies_of_sigsum() -> None:
    verdicts = 0
    for case in load("sigsum-go/policy_config.json")["valid"]:
        policy = Policy.parse(from_sigsum(case["policy"], invented=True))
        assert (len(policy.logs), len(policy.witnesses)) == (case["logs"], case["witnesses"])
        for verdict in case["quorum"]:
            assert policy.satisfied_by(verdict["witnesses"]) == verdict["sufficient"], verdict
            verdicts += 1
        assert Policy.parse(policy.format()) == policy
    assert verdicts == 23


def test_invalid_policies_of_sigsum() -> None:
    reasons = {
        "empty": "does not end with a line feed",
        "invalid control char (formfeed)": "control character",
        "invalid control char (DEL)": "control character",
        "duplicate log": "same public key",
        "end-of-line comment": "not a log, witness, group or quorum line",
        "duplicate witness": "same public key",
        "duplicate name": "already taken",
        "duplicate none": "already taken",
        "undef name": "not that of a witness or group",
        "missing quorum": "no quorum line",
        "repeated member": "listed twice",
        "member in two groups": "listed twice",
        "none as member": "not that of a witness or group",
    }
    cases = load("sigsum-go/policy_config.json")["invalid"]
    assert {case["id"] for case in cases} == reasons.keys()
    for case in cases:
        with pytest.raises(FormatError, match=reasons[case["id"]]):
            Policy.parse(from_sigsum(case["policy"], invented=True))


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("sigsum-generic-2025-1", (2, 1, 2)),
        ("sigsum-test1-2025", (2, 1, 2)),
        ("sigsum-test2-2025", (4, 3, 2)),
        ("sigsum-test-2025-3", (4, 2, 3)),
    ],
)
def test_policies_that_sigsum_ships(name: str, figures: tuple[int, int, int]) -> None:
    data = vector(f"sigsum-go/policies/{name}.builtin-policy").read_text()
    policy = Policy.parse(from_sigsum(data, invented=False))
    assert (policy.minq(), policy.inter(), policy.block()) == figures
    assert Policy.parse(policy.format()) == policy


# A policy in use.

MARKOVIAN = "real-checkpoints/markovianprotocol.com"


@pytest.mark.parametrize("number", range(4))
def test_checkpoints_of_a_running_log_under_its_published_policy(number: int) -> None:
    case = load(f"{MARKOVIAN}/verdicts_fixtures.json")["checkpoints"][number]
    policy = Policy.parse(vector(f"{MARKOVIAN}/tlog.policy").read_bytes())
    raw = vector(f"{MARKOVIAN}/{case['file']}").read_bytes()
    opened = open_checkpoint(raw, [*policy.log_keys("markovianprotocol.com/log"), *policy.witness_keys])
    verdict = policy.cosigned(opened)
    assert sorted(w.witness.name for w in verdict.witnesses if w.counts) == case["policy_witnesses_verified"]
    assert (opened.size, verdict.met, len(verdict.logs)) == (case["size"], case["quorum_4_of_7"], 1)
    assert all(witness.time is None or witness.time > 1_700_000_000 for witness in verdict.witnesses)


def test_a_policy_in_use_has_the_figures_of_4_of_7() -> None:
    policy = Policy.parse(vector(f"{MARKOVIAN}/tlog.policy").read_bytes())
    assert (policy.minq(), policy.inter(), policy.block()) == (4, 1, 4)


def test_a_witness_with_two_keys_is_one_party_of_a_policy() -> None:
    keys = [VerifierKey.parse(vkey) for vkey in load(f"{MARKOVIAN}/keys.json")["witness_vkeys"]]
    *others, navigli, navigli_pq = [f"witness w{n} {key}" for n, key in enumerate(keys)]
    both = f"group navigli any w{len(keys) - 2} w{len(keys) - 1}"
    names = " ".join(f"w{n}" for n in range(len(others)))
    lines = [*others, navigli, navigli_pq, both, f"group g 4 {names} navigli", "quorum g"]
    policy = Policy.parse("".join(line + "\n" for line in lines).encode())
    raw = vector(f"{MARKOVIAN}/7126.checkpoint").read_bytes()
    verdict = policy.cosigned(open_checkpoint(raw, policy.witness_keys))
    heard = [w.witness.name for w in verdict.witnesses if w.counts]
    assert (len(heard), policy.inter(), policy.block(), policy.margin(heard)) == (8, 1, 4, 3)


# Requests to witnesses.

TORCHWOOD = ["witness_litewitness", "witness_mldsa", "witness_sumdb"]


@pytest.mark.parametrize("name", TORCHWOOD)
def test_requests_that_torchwood_sends_are_well_formed(name: str) -> None:
    data = load(f"FiloSottile-torchwood/{name}.json")
    keys = [VerifierKey.parse(log["vkey"]) for log in data["logs"]]
    for request in data["requests"]:
        parsed = AddCheckpoint.parse(request["body"].encode())
        assert parsed.format() == request["body"].encode()
        if request["spec_status"] in (403, 404):
            # The bad signature of the second one is, besides, not canonical base64.
            with pytest.raises((SignatureError, FormatError)):
                open_checkpoint(parsed.checkpoint_note, keys)
        else:
            assert open_checkpoint(parsed.checkpoint_note, keys).origin == data["logs"][0]["origin"]


def test_the_growth_of_the_go_checksum_database_is_proven_request_by_request() -> None:
    data = load("derived/sumdb_growth.json")
    key, last = VerifierKey.parse(data["logs"][0]["vkey"]), EMPTY_TREE
    for request in data["requests"]:
        parsed = AddCheckpoint.parse(request["body"].encode())
        head = open_checkpoint(parsed.checkpoint_note, [key]).head
        assert parsed.old_size == last.size
        verify_consistency(last, head, parsed.path)
        last = head
    assert last.size == 33315317


def test_requests_of_azul() -> None:
    data = load("cloudflare-azul/witness_bodies.json")
    for case in (case for case in data["cases"] if case["endpoint"] == "add-checkpoint"):
        body = case["body"].encode()
        if not case["valid"]:
            assert not accepted(AddCheckpoint.parse, case["body"]), case["id"]
            continue
        parsed = AddCheckpoint.parse(body)
        checkpoint = Checkpoint.parse(Note.parse(parsed.checkpoint_note).text)
        assert (checkpoint.origin, parsed.format()) == ("example.com/log", body), case["id"]


def test_requests_of_transparency_dev() -> None:
    data = load("transparency-dev-witness/witness_bodies.json")
    for case in data["cases"]:
        with pytest.raises(FormatError):  # the "ok" case has proof lines of two bytes, W-7
            AddCheckpoint.parse(case["body"].encode())
        # The third has no empty line but the checkpoint's own, the others have the checkpoint below the first one.
    with_hashes = data["cases"][0]["body"].replace("abc=\ndef=\n", "A" * 43 + "=\n")
    parsed = AddCheckpoint.parse(with_hashes.encode())
    key = VerifierKey.parse(vector("transparency-dev-witness/aw_ftlog_ci2.vkey").read_text().strip())
    assert (parsed.old_size, open_checkpoint(parsed.checkpoint_note, [key]).size) == (10, 56)
    assert parsed.checkpoint_note == vector("transparency-dev-witness/aw_ftlog_ci2.checkpoint").read_bytes()


def test_the_request_of_sigsum() -> None:
    case = load("sigsum-go/add_checkpoint.json")
    parsed = AddCheckpoint.parse(case["body"].encode())
    note = Note.parse(parsed.checkpoint_note)
    checkpoint = Checkpoint.parse(note.text)
    assert (parsed.old_size, parsed.path) == (case["old_size"], tuple(map(a2b_base64, case["proof"])))
    assert (checkpoint.origin, checkpoint.size) == (case["origin"], case["size"])
    assert note.signatures[0].key_id.hex() == case["key_id_hex"]


# Answers of witnesses.


def sent() -> AddCheckpoint:
    return AddCheckpoint(3, (), sign_checkpoint(Checkpoint("log.example/one", 7, Hash(bytes(32))), log_key()))


def test_conflicts_that_sigsum_understands_are_understood_and_one_more() -> None:
    for case in inline("witness-409-response-parsing")["cases"]:
        answer = read_answer(409, case["content_type"], case["body"].encode(), sent(), [])
        if case["content_type"].endswith("; charset=utf8"):
            assert answer == Behind(51)  # more lenient than sigsum-go: some servers cannot help adding it
        elif case["old_size"] is None:
            assert isinstance(answer, Broken), case
        else:
            assert answer == Behind(case["old_size"])


def test_answers_that_azul_refuses() -> None:
    for body in load("cloudflare-azul/witness_bodies.json")["responses_bad"]:
        assert isinstance(read_answer(200, None, body.encode(), sent(), [WITNESS]), Broken)


def test_the_example_answer_of_the_specification_is_no_cosignature() -> None:
    # Random bytes, most with a time above 2^63 - 1: refused even by a key of that name and ID.
    for text in inline("c2sp-add-checkpoint-response-example-timestamps")["lines"]:
        line = SignatureLine.parse(f"— w.example/1 {text}".encode())
        key = VerifierKey(WITNESS.name, line.key_id, WITNESS.type, WITNESS.public_key)
        assert isinstance(read_answer(200, None, line.format(), sent(), [key]), Broken)


# Log lists.


@pytest.mark.parametrize("number", range(6))
def test_log_lists_of_transparency_dev(number: int) -> None:
    data = load("transparency-dev-witness/log_list.json")
    case = data["cases"][number]
    if not case["valid"]:
        with pytest.raises(FormatError):
            LogList.parse(case["config"].encode())
        return
    parsed = LogList.parse(case["config"].encode())
    wanted = data["working_want"] if number == 0 else []
    assert [(str(log.key), log.origin, log.qpd, log.contact) for log in parsed.logs] == [
        (want["vkey"], want["origin"], want["qpd"], want.get("contact")) for want in wanted
    ]
    assert LogList.parse(parsed.format()) == parsed


def test_lists_of_the_witness_network() -> None:
    lists = [LogList.parse(path.read_bytes()) for path in vector_files("transparency-dev-witness-network/lists")]
    assert sorted(len(found.logs) for found in lists) == [1, 9, 11]
    for found in lists:
        assert LogList.parse(found.format()) == found
        assert all(log.qpd and log.contact for log in found.logs)


def test_lists_that_torchwood_pulls_in_turn() -> None:
    data = load("FiloSottile-torchwood/log_lists.json")
    known: dict[str, tuple[VerifierKey, ...]] = {}
    conflicts = []
    for text in data["lists"]:
        merged = merge(known, LogList.parse(text.encode()))
        known.update({log.origin: (log.key,) for log in merged.added})
        conflicts.append(len(merged.conflicts))
    assert {origin: [str(key) for key in keys] for origin, keys in known.items()} == {
        log["origin"]: log["keys"] for log in data["result"]
    }
    assert conflicts == [0, 0, 1]
