"""tlog-scales, a Python library by somebody else, reads what we make, and makes what we read."""

from pathlib import Path

import pytest
import trio
from tlog_scales.backend import HttpBackend
from tlog_scales.cli import build_parser
from tlog_scales.reader import TilesReader
from tlog_scales.signing import (
    CheckpointSigner,
    MLDSA44CosignatureSigner,
    NoteSignature,
    PlainEd25519Signer,
    Vkey,
    VkeySet,
)
from tlog_scales.tiles import leaf_hash as their_leaf_hash
from tlog_scales.tlog import Checkpoint, ConsistencyProof, InclusionProof
from tlog_scales.writer import TilesWriter

from sameview.fsck import check
from tests.fakes import FakeClock
from tests.keys import NOW, cosign, log_key, mldsa_key, witness_key
from tests.log_nodes import log
from tlog.hashing import EMPTY_ROOT, Hash, leaf_hash
from tlog.keys import KeyType, VerifierKey
from tlog.proofs import prove_consistency, prove_inclusion, root_at
from tlog.signed_checkpoint import open_checkpoint
from tlog.tiles import TileReader
from tlog.tlog_proof import TlogProof
from tlog.trust import Trust

ORIGIN = "log.example/one"
KEYS = [log_key(ORIGIN), mldsa_key(ORIGIN)]
ENTRIES = [b"entry %d" % number for number in range(600)]


async def test_it_follows_our_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with log(tmp_path, KEYS, clock=FakeClock(NOW)) as (opened, asked):
        await opened.add(*ENTRIES)
        await opened.publisher.publish()
        note = (await asked.get("/checkpoint")).body

        def follow() -> str:
            reader = TilesReader(HttpBackend(asked.url))
            head = reader.get_checkpoint()
            assert reader.calculate_root_hash() == head.root_hash
            for index in (0, 255, 256, 511, 512, 599):
                assert reader.get_entry(index) == ENTRIES[index]
                reader.get_inclusion_proof(index, head.size).check(their_leaf_hash(ENTRIES[index]), head.root_hash)
            arguments = build_parser().parse_args(["gen-proof", asked.url, "300"])
            arguments.func(arguments)
            return capsys.readouterr().out

        theirs = await trio.to_thread.run_sync(follow)
        # Its proof file is, byte for byte, the one that we serve.
        assert theirs.encode() == (await asked.get("/v1/proofs/entry/300")).body
    verified = VkeySet(*(Vkey.from_string(key.verifier_key.format()) for key in KEYS)).verify(*signed(note))
    assert {(vkey.name, vkey.sig_type) for vkey, _ in verified} == {(ORIGIN, 1), (ORIGIN, 6)}


def signed(note: bytes) -> tuple[list[NoteSignature], Checkpoint]:
    checkpoint = Checkpoint.from_text(note.decode())
    return checkpoint.signatures, checkpoint


def test_it_verifies_our_cosignatures() -> None:
    witnesses = [witness_key(), mldsa_key("witness.example/one")]
    head = Checkpoint(ORIGIN, 0, EMPTY_ROOT, [])
    unsigned = f"{head.serialize_body()}\n".encode()
    signer = PlainEd25519Signer(ORIGIN, bytes(32))
    note = cosign(unsigned + f"{signer.sign(head).serialize()}\n".encode(), *witnesses, time=NOW)
    keys = VkeySet(*(Vkey.from_string(key.verifier_key.format()) for key in witnesses))
    assert {vkey.sig_type for vkey, _ in keys.verify(*signed(note))} == {4, 6}


@pytest.mark.parametrize("sizes", [(1,), (255, 257), (256, 512), (3, 600), (600,)])
async def test_we_verify_a_log_that_it_made(sizes: tuple[int, ...], tmp_path: Path) -> None:
    signers: list[CheckpointSigner] = [
        PlainEd25519Signer(ORIGIN, bytes(32)),
        MLDSA44CosignatureSigner(ORIGIN, bytes(32)),
        MLDSA44CosignatureSigner("witness.example/scales", b"x" * 32),
    ]
    writer = TilesWriter.create(tmp_path / "log", ORIGIN)
    for size in sizes:
        for entry in ENTRIES[writer.size : size]:
            writer.add_leaf(entry)
        writer.commit(signers, gc=False)
    keys = tuple(VerifierKey.parse(signer.vkey.serialize()) for signer in signers)  # type: ignore[no-untyped-call]
    opened = open_checkpoint((tmp_path / "log" / "checkpoint").read_bytes(), keys)
    assert [signature.key for signature in opened.signatures] == list(keys)
    assert all(s.timestamp for s in opened.signatures if s.key.type is KeyType.COSIGNATURE_MLDSA44)
    checked = await check(str(tmp_path / "log"), Trust(keys[:1]), None, tiles_only=False)
    assert checked.entries == sizes[-1]
    # Its proofs are ours.
    head, read = opened.head, TileReader(sizes[-1], lambda tile: (tmp_path / "log" / tile.path()).read_bytes()).node
    for index in {0, sizes[0] - 1, sizes[-1] - 1}:
        theirs: InclusionProof = writer.reader.get_inclusion_proof(index, head.size)
        assert theirs.node_hashes == prove_inclusion(index, head.size, read)
        proof = TlogProof(index, tuple(map(Hash, theirs.node_hashes)), opened.raw)
        proof.verify(leaf_hash(ENTRIES[index]), Trust(keys[:1]))
    for old in {0, sizes[0], sizes[-1]}:
        growth: ConsistencyProof = (
            writer.reader.get_consistency_proof(old, head.size) if old else ConsistencyProof(0, 1, [])
        )
        assert growth.node_hashes == prove_consistency(old, head.size, read)
        growth.check(root_at(old, read), head.root_hash)
