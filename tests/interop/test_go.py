"""Go libraries that other logs, witnesses and clients are built on read what we make, and make what we read.

golang.org/x/mod, and filippo.io/torchwood, transparency-dev/formats, transparency-dev/merkle and transparency-dev's
Tessera, as tests/interop/go/go.mod pins them.
"""

import base64
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from sameview.fsck import check
from tests.fakes import FakeClock
from tests.keys import NOW, log_key, mldsa_key, witness_key
from tests.log_nodes import OpenLog, make_log, open_log
from tests.nodes import witness
from tests.served import Served, served
from tlog.hashing import leaf_hash
from tlog.keys import KeyType, SignerKey
from tlog.policy import Policy, PolicyLog, PolicyWitness
from tlog.proofs import verify_consistency
from tlog.quorum import Group
from tlog.text import parse_hash
from tlog.tlog_proof import TlogProof
from tlog.trust import Trust

ORIGIN = "log.example/one"
LOG_KEYS = [log_key(ORIGIN), mldsa_key(ORIGIN)]
NAMES = ("witness.example/w1", "witness.example/w2")
ENTRIES = [b"", *(b"entry %d" % number for number in range(1, 300))]
EARLIER = 100


def signatures(seen: dict[str, Any]) -> set[tuple[str, str, int | None]]:
    """Name, ID and time of each signature that a program verified."""
    return {(one["name"], one["id"], one.get("time")) for one in seen["signatures"]}


async def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [str(program), *map(str, arguments)]
    with trio.fail_after(120):
        return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)


async def printed(program: Path, *arguments: object) -> dict[str, Any]:
    """What a program printed; what it complained of is the test's failure."""
    done = await run(program, *arguments)
    assert done.returncode == 0, done.stderr.decode()
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def witness_keys(name: str) -> list[SignerKey]:
    return [witness_key(name), mldsa_key(name)]


@asynccontextmanager
async def witnessed(directory: Path, log: SignerKey) -> AsyncIterator[Policy]:
    """Two of our witnesses, and the policy that asks for every cosignature of both."""
    lines: list[PolicyWitness] = []
    async with AsyncExitStack() as stack:
        for number, name in enumerate(NAMES, start=1):
            (directory / f"w{number}").mkdir()
            keys = witness_keys(name)
            node = witness(directory / f"w{number}", {log.name: [log.verifier_key]}, keys, FakeClock(NOW))
            url = (await stack.enter_async_context(node)).url
            kinds = ("ed25519", "mldsa44")
            lines += [
                PolicyWitness(f"w{number}-{kind}", key.verifier_key, url) for kind, key in zip(kinds, keys, strict=True)
            ]
        everyone = Group("everyone", len(lines), tuple(line.name for line in lines))
        yield Policy((PolicyLog(log.verifier_key),), tuple(lines), (everyone,), "everyone")


@asynccontextmanager
async def our_log(directory: Path) -> AsyncIterator[tuple[OpenLog, Served, Policy]]:
    """Our log under our witnesses, with an earlier checkpoint in the file ``earlier`` and the policy beside it."""
    await make_log(directory, ORIGIN)
    async with (
        witnessed(directory, LOG_KEYS[0]) as policy,
        open_log(directory, LOG_KEYS, policy=policy, clock=FakeClock(NOW)) as opened,
        served(opened.app.app()) as asked,
    ):
        await opened.add(*ENTRIES[:EARLIER])
        await opened.publisher.publish()
        (directory / "earlier").write_bytes((await asked.get("/checkpoint")).body)
        await opened.add(*ENTRIES[EARLIER:])
        await opened.publisher.publish()
        (directory / "policy.txt").write_bytes(policy.format())
        yield opened, asked, policy


async def test_go_follows_our_log_from_its_signatures_to_its_entries(tmp_path: Path, go_programs: Path) -> None:
    async with our_log(tmp_path) as (_, asked, policy):
        seen = await printed(go_programs / "peer", "read", asked.url, tmp_path / "policy.txt", tmp_path / "earlier")
    assert (seen["origin"], seen["size"]) == (ORIGIN, 300)
    assert seen["entries"] == [base64.b64encode(entry).decode() for entry in ENTRIES]
    witnesses = {(line.key.name, line.key.id.hex(), NOW) for line in policy.witnesses}
    assert signatures(seen) == {(ORIGIN, LOG_KEYS[0].verifier_key.id.hex(), None)} | witnesses


async def test_go_verifies_our_log_s_ml_dsa_signature(tmp_path: Path, go_programs: Path) -> None:
    (tmp_path / "log").mkdir()
    async with our_log(tmp_path / "log") as (_, asked, _):
        (tmp_path / "policy.txt").write_text(f"log {LOG_KEYS[1].verifier_key}\nquorum none\n")
        earlier = tmp_path / "log" / "earlier"
        seen = await printed(go_programs / "peer", "read", asked.url, tmp_path / "policy.txt", earlier)
    assert signatures(seen) == {(ORIGIN, LOG_KEYS[1].verifier_key.id.hex(), NOW)}


@pytest.mark.parametrize("index", [0, 1, 255, 256, 299])
async def test_go_verifies_our_proof_files(index: int, tmp_path: Path, go_programs: Path) -> None:
    async with our_log(tmp_path) as (_, asked, policy):
        (tmp_path / "proof").write_bytes((await asked.get(f"/v1/proofs/entry/{index}")).body)
    (tmp_path / "entry").write_bytes(ENTRIES[index])
    # torchwood knows Ed25519 cosignatures only.
    lines = tuple(line for line in policy.witnesses if line.key.type is KeyType.COSIGNATURE_ED25519)
    both = Group("both", 2, tuple(line.name for line in lines))
    (tmp_path / "ed25519.txt").write_bytes(Policy(policy.logs, lines, (both,), "both").format())
    arguments = ("prove", tmp_path / "ed25519.txt", tmp_path / "entry", tmp_path / "proof")
    # And formats writes the same bytes back that it reads.
    assert await printed(go_programs / "peer", *arguments) == {"index": index, "same": True}
    (tmp_path / "entry").write_bytes(b"another entry")
    assert (await run(go_programs / "peer", *arguments)).returncode == 1


@pytest.mark.parametrize(("size", "old"), [(1, 1), (255, 1), (256, 255), (257, 256), (600, 301)])
async def test_we_verify_a_log_that_go_made(size: int, old: int, tmp_path: Path, go_programs: Path) -> None:
    made = await printed(go_programs / "peer", "make", tmp_path, size, old)
    policy = Policy.parse((tmp_path / "policy.txt").read_bytes())
    trust = Trust((), None, policy)
    # Tiles and bundles, which torchwood and x/mod laid out.
    checked = await check(str(tmp_path), Trust(policy.log_keys("go.example/log")), None, tiles_only=False)
    assert (checked.entries, checked.head.size) == (size, size)
    # Signatures of every type that the libraries make: 0x01, and 0x04 and 0x06 at a time.
    head = trust.open((tmp_path / "checkpoint").read_bytes()).require()
    earlier = trust.open((tmp_path / "earlier").read_bytes()).require()
    types = {signature.key.type: signature.timestamp for signature in head.signatures}
    assert types.keys() == {KeyType.ED25519, KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44}
    assert types[KeyType.ED25519] is None
    assert len(head.signatures) == 5
    assert all(s.timestamp for s in head.signatures if s.key.type is not KeyType.ED25519)
    # Proofs by x/mod, in torchwood's files.
    path = made["consistency"] or []
    verify_consistency(earlier.head, head.head, [parse_hash(line.encode()) for line in path])
    for index in range(size):
        proof = TlogProof.parse((tmp_path / "proofs" / f"{index}.tlog-proof").read_bytes())
        assert (proof.index, proof.extra) == (index, b"extra" if index % 2 else None)
        proof.verify(leaf_hash(b"entry %d" % index), trust)


async def test_a_tessera_log_publishes_under_our_witnesses(tmp_path: Path, go_programs: Path) -> None:
    """Its client begins at size 0, learns sizes from the 409, and proves growth with tiles of its own."""
    key = log_key("tessera.example/log")
    batches = 3
    async with witnessed(tmp_path, key) as policy:
        # Tessera takes one witness line for each URL.
        lines = tuple(line for line in policy.witnesses if line.key.type is KeyType.COSIGNATURE_ED25519)
        both = Group("both", 2, tuple(line.name for line in lines))
        tessera = Policy(policy.logs, lines, (both,), "both")
        (tmp_path / "policy.txt").write_bytes(tessera.format())
        arguments = (tmp_path / "log", tmp_path / "policy.txt", key.format(), batches)
        done = await run(go_programs / "tesseralog", *arguments)
        assert done.returncode == 0, done.stderr.decode()
        # Without its checkpoint it does not know what its witnesses have: they tell it, with a 409.
        (tmp_path / "log" / "checkpoint").unlink()
        done = await run(go_programs / "tesseralog", *arguments)
        assert done.returncode == 0, done.stderr.decode()
    head = Trust((), None, tessera).open((tmp_path / "log" / "checkpoint").read_bytes()).require()
    assert {s.key.name for s in head.signatures} == {key.name, *NAMES}
    checked = await check(str(tmp_path / "log"), Trust((key.verifier_key,)), None, tiles_only=False)
    assert checked.entries == head.size == 2 * batches * 150
