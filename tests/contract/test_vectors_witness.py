"""Requests recorded from other implementations, sent to a witness of ours over HTTP."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from tests.keys import mldsa_key, witness_key
from tests.nodes import witness
from tests.served import Served
from tests.vectors import vector
from tlog.keys import VerifierKey
from tlog.signed_checkpoint import open_checkpoint

NAME = "example.com/witness"
KEYS = [witness_key(NAME), mldsa_key(NAME)]
VERIFIERS = [key.verifier_key for key in KEYS]

SEQUENCES = [
    "FiloSottile-torchwood/witness_litewitness.json",
    "FiloSottile-torchwood/witness_sumdb.json",
    "FiloSottile-torchwood/witness_mldsa.json",
    "derived/sumdb_growth.json",
]


@pytest.mark.parametrize("file", SEQUENCES)
async def test_a_recorded_sequence_gets_the_specified_statuses(file: str, tmp_path: Path) -> None:
    recorded = json.loads(vector(file).read_bytes())
    logs = {log["origin"]: [VerifierKey.parse(log["vkey"])] for log in recorded["logs"]}
    async with witness(tmp_path, logs, KEYS) as ours:
        for number, request in enumerate(recorded["requests"]):
            body = request["body"].encode()
            answer = await ours.post("/add-checkpoint", body)
            # Where the recorded program is older than the specification, the specification counts.
            assert answer.status == request.get("spec_status", request["status"]), number
            if answer.status == 409:
                assert answer.body == request["body_equals"].encode()
                assert answer.headers["content-type"] == "text/x.tlog.size"
            if answer.status == 200:
                checkpoint = body.partition(b"\n\n")[2] + answer.body
                opened = open_checkpoint(checkpoint, VERIFIERS)
                assert [signature.key for signature in opened.signatures] == VERIFIERS
                await _public_copy_holds(ours, opened.origin, answer.body, logs[opened.origin])


async def _public_copy_holds(ours: Served, origin: str, lines: bytes, log_keys: list[VerifierKey]) -> None:
    """SPEC: W-42 the public copy carries the same cosignatures and the log's signature."""
    copy = await ours.get(f"/{sha256(origin.encode()).hexdigest()}/checkpoint")
    assert copy.status == 200
    assert copy.body.endswith(lines)
    assert open_checkpoint(copy.body, log_keys).origin == origin
