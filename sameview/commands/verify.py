"""``sameview verify``: offline verdicts. Nothing here touches the network, and nothing heavy is imported to start."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.clock import SystemClock
from runtime.errors import DOES_NOT_HOLD, HOLDS, UsageError
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.hashing import leaf_hash
from tlog.keys import KeyType, VerifierKey
from tlog.note import MAX_NOTE_BYTES, VerifiedSignature
from tlog.policy import Policy
from tlog.proofs import verify_inclusion
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import encode_base64
from tlog.tiles import MAX_ENTRY_BYTES
from tlog.tlog_proof import MAX_PROOF_BYTES, TlogProof
from tlog.trust import Trust

if TYPE_CHECKING:
    from tlog.evidence import Stated

MAX_POLICY_BYTES = 1024 * 1024  # hundreds of ML-DSA-44 witness lines

FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
POLICY = click.option(
    "--policy", "policy_file", type=click.Path(path_type=Path, dir_okay=False), help="A tlog-policy file."
)
VKEYS = click.option("--vkey", "vkeys", multiple=True, help="A trusted key: the log's, or an accused's.")
ORIGIN = click.option("--origin", help="The log's origin, where it is not the name of its key.")
EXPLAIN = click.option("--explain", is_flag=True, help="Say which keys, groups and ages counted.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group()
def verify() -> None:
    """Verify a checkpoint, a proof or evidence, offline.

    Exit 0: it holds. Exit 1: it was checked and does not hold. Exit 2: the input is malformed.
    """


@dataclass(slots=True)
class Outcome:
    """What to print about one verification."""

    verdict: str
    facts: dict[str, str | int | list[str]] = field(default_factory=dict)
    explanation: list[str] = field(default_factory=list)


@verify.command()
@FILE
@POLICY
@VKEYS
@ORIGIN
@click.option("--max-age", type=click.IntRange(min=0), help="Seconds: only cosignatures at most this old count.")
@EXPLAIN
@JSON
def checkpoint(
    file: Path,
    policy_file: Path | None,
    vkeys: tuple[str, ...],
    origin: str | None,
    max_age: int | None,
    explain: bool,
    as_json: bool,
) -> int:
    """Verify a signed checkpoint: the log's signature and, under a policy, the witnesses'."""
    raw = _read(file, MAX_NOTE_BYTES)
    trust = _trust(policy_file, vkeys, origin)

    def judge(outcome: Outcome) -> None:
        judged = trust.open(raw)
        outcome.explanation += judged.explain()
        outcome.facts = _head_facts(judged.opened)
        judged.require()
        if max_age is not None:
            _require_fresh(judged.opened, trust.policy, SystemClock().now() - max_age, outcome)
        outcome.verdict = "the checkpoint holds"

    return _report(judge, explain, as_json)


@verify.command()
@FILE
@click.option(
    "--entry", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The logged entry's bytes."
)
@POLICY
@VKEYS
@ORIGIN
@EXPLAIN
@JSON
def proof(
    file: Path,
    entry: Path,
    policy_file: Path | None,
    vkeys: tuple[str, ...],
    origin: str | None,
    explain: bool,
    as_json: bool,
) -> int:
    """Verify a .tlog-proof: that the entry is in a log, in a tree its witnesses saw."""
    proof_bytes, entry_bytes = _read(file, MAX_PROOF_BYTES), _read(entry, MAX_ENTRY_BYTES)
    trust = _trust(policy_file, vkeys, origin)

    def judge(outcome: Outcome) -> None:
        parsed = TlogProof.parse(proof_bytes)
        judged = trust.open(parsed.checkpoint_note)
        outcome.explanation += judged.explain()
        outcome.facts = {"index": parsed.index, **_head_facts(judged.opened)}
        verify_inclusion(leaf_hash(entry_bytes), parsed.index, judged.require().head, parsed.path)
        outcome.verdict = f"the entry is number {parsed.index} of the log"

    return _report(judge, explain, as_json)


@verify.command()
@FILE
@POLICY
@VKEYS
@ORIGIN
@EXPLAIN
@JSON
def evidence(
    file: Path, policy_file: Path | None, vkeys: tuple[str, ...], origin: str | None, explain: bool, as_json: bool
) -> int:
    """Verify a .tlog-evidence: that a trusted key contradicted itself."""
    from tlog.evidence import MAX_EVIDENCE_BYTES, Evidence, verify_evidence

    raw = _read(file, MAX_EVIDENCE_BYTES)
    trust = _trust(policy_file, vkeys, origin)

    def judge(outcome: Outcome) -> None:
        conviction = verify_evidence(Evidence.parse(raw), trust.keys, trust.policy, trust.origin)
        outcome.verdict = f"{conviction.type.value}: the key {conviction.accused.name} contradicted itself"
        outcome.facts = {
            "type": conviction.type.value,
            "accused": conviction.accused.format(),
            "origin": conviction.origin,
            "id": conviction.id.hex(),
            "statements": [_statement(stated) for stated in conviction.statements],
        }
        outcome.explanation.append("both signatures verify; the two statements cannot both be this log's history")
        if conviction.cosigners:
            outcome.explanation.append("cosigned both sides: " + ", ".join(conviction.cosigners))

    return _report(judge, explain, as_json)


def _statement(stated: "Stated") -> str:
    time = f", time {stated.time}" if stated.time else ""
    return f"size {stated.size}, root {encode_base64(stated.root_hash).decode()}{time}"


def _report(judge: Callable[[Outcome], None], explain: bool, as_json: bool) -> int:
    """Run a judgement, print it, and return the exit code. Malformed input is left to the caller's exit code 2."""
    outcome = Outcome("")
    try:
        judge(outcome)
        held = True
    except (SignatureError, ProofError) as error:
        outcome.verdict, held = str(error), False
    if as_json:
        document: dict[str, object] = {"holds": held, "verdict": outcome.verdict, **outcome.facts}
        if explain:
            document["explanation"] = outcome.explanation
        click.echo(json.dumps(document))
        return HOLDS if held else DOES_NOT_HOLD
    click.echo(f"{'OK' if held else 'FAILED'}: {outcome.verdict}")
    for name, value in outcome.facts.items():
        for line in value if isinstance(value, list) else [value]:
            click.echo(f"  {name.replace('_', ' ')}: {line}")
    if explain:
        for line in outcome.explanation:
            click.echo(f"  - {line}")
    return HOLDS if held else DOES_NOT_HOLD


def _head_facts(opened: SignedCheckpoint) -> dict[str, str | int | list[str]]:
    return {
        "origin": opened.origin,
        "size": opened.size,
        "root_hash": encode_base64(opened.root_hash).decode(),
        "signed_by": [signature.key.name for signature in opened.signatures],
    }


def _require_fresh(opened: SignedCheckpoint, policy: Policy | None, oldest: int, outcome: Outcome) -> None:
    """Judge again, counting only signatures that state a time not before ``oldest`` (Unix seconds)."""
    fresh = tuple(signature for signature in opened.signatures if _seconds(signature) >= oldest)
    for signature in opened.signatures:
        seconds = _seconds(signature)
        if seconds:
            age = "recent enough" if seconds >= oldest else f"{oldest - seconds} s too old"
            outcome.explanation.append(f"{signature.key.name}: stated Unix time {seconds}, {age}")
    if policy is None:
        if not fresh:
            raise SignatureError("no signature states a time recent enough")
        return
    keys = {signature.key for signature in fresh}
    if not policy.satisfied_by([witness.name for witness in policy.witnesses if witness.key in keys]):
        raise SignatureError("the cosignatures that are recent enough do not reach the quorum of the policy")


def _seconds(signature: VerifiedSignature) -> int:
    """The Unix time a signature states; 0 where it states none."""
    timestamp = signature.timestamp or 0
    return timestamp // 1000 if signature.key.type is KeyType.RFC6962 else timestamp


def _trust(policy_file: Path | None, vkeys: Sequence[str], origin: str | None) -> Trust:
    if policy_file is None and not vkeys:
        raise UsageError("say whom you trust: give --policy, --vkey or both")
    if origin is not None and not vkeys:
        raise UsageError("--origin says which log a --vkey speaks for: give the --vkey too")
    try:
        keys = tuple(VerifierKey.parse(vkey) for vkey in vkeys)
    except FormatError as error:
        raise UsageError(f"--vkey: {error}") from None
    policy = None
    if policy_file is not None:
        try:
            policy = Policy.parse(_read(policy_file, MAX_POLICY_BYTES))
        except FormatError as error:
            raise UsageError(f"{policy_file}: {error}") from None
    return Trust(keys, origin, policy)


def _read(file: Path, cap: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(cap + 1)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    if len(data) > cap:
        raise UsageError(f"{file} is larger than the {cap} bytes such a file can have")
    return data
