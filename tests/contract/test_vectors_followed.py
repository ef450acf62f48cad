"""What running logs of each kind published, as a monitor reads it: their keys as published, and a real fork."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from gossip.core import Log, origin_id
from monitor.__main__ import World, _init, open_parts
from monitor.config import WatchedLog
from monitor.kinds import Kind, published_keys
from monitor.look import look
from monitor.node import Monitor
from runtime.client import Response
from tests.fakes import FakeClock
from tests.fakes_log import FakeLog
from tests.unit.test_monitor_node import settings
from tests.vectors import vector
from tlog.errors import SignatureError
from tlog.evidence import Evidence, verify_evidence
from tlog.hashing import leaf_hashes
from tlog.keys import VerifierKey
from tlog.note import Note
from tlog.policy import Policy
from tlog.signed_checkpoint import open_checkpoint
from tlog.sumdb import ORIGIN, data_tile_path, format_records
from tlog.tiles import EntryBundle

SERVER = "golang-mod/sumdb_client.json"
REKOR = ["rekor2-happy-path", "rekor2-checkpoint-cosigned", "rekor2-checkpoint-two-sigs-from-origin"]


def rekor(case: str) -> tuple[bytes, list[VerifierKey]]:
    """The checkpoint of a bundle, and the key that the trusted root publishes for its log."""
    folder = vector(f"sigstore-conformance/{case}")
    bundle = json.loads((folder / "bundle.sigstore.json").read_text())
    note = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]["envelope"].encode()
    logs = json.loads((folder / "trusted_root.json").read_text())["tlogs"]
    (log,) = [one for one in logs if "log20" in one["baseUrl"]]
    origin = log["baseUrl"].removeprefix("https://")
    return note, published_keys("here", Kind.REKOR2, origin, [log["publicKey"]["rawBytes"]])


@pytest.mark.parametrize("case", REKOR)
def test_a_rekor_checkpoint_verifies_under_the_key_of_the_trusted_root(case: str) -> None:
    note, keys = rekor(case)
    assert open_checkpoint(note, keys).origin == keys[0].name


def test_a_rekor_checkpoint_without_the_log_s_signature_does_not() -> None:
    note, keys = rekor("rekor2-happy-path")
    parsed = Note.parse(note)
    with pytest.raises(SignatureError):
        open_checkpoint(replace(parsed, signatures=(replace(parsed.signatures[0], key_id=b"????"),)), keys)


@asynccontextmanager
async def following(
    folder: Path, key: VerifierKey, records: list[bytes]
) -> AsyncIterator[tuple[Monitor, dict[str, bytes]]]:
    """A monitor of a checksum database that serves these records."""
    files = {data_tile_path(EntryBundle(0, len(records))): format_records(records)}

    async def fetch(method: str, url: str, *, cap: int, seconds: float, **_: object) -> Response:
        await trio.lowlevel.checkpoint()
        found = files.get(url.removeprefix("http://sum/"))
        return Response(404, {}, b"") if found is None else Response(200, {}, found)

    async def post(url: str, body: bytes, seconds: float) -> object:
        raise AssertionError("no peer is dialled here")

    log = Log(ORIGIN, (key,), Policy.parse(b"quorum none\n"))
    chosen = replace(settings(folder, FakeLog()), logs=(WatchedLog(log, "http://sum", Kind.SUMDB),))
    await _init(chosen)
    world = World(FakeClock(), fetch, post)  # type: ignore[arg-type]
    async with open_parts(chosen, world) as parts, trio.open_nursery() as nursery:
        parts.monitor.connect(parts.gossip, nursery)
        await parts.monitor.resume()
        yield parts.monitor, files
        nursery.cancel_scope.cancel()


async def test_the_fork_of_the_go_test_server_convicts_its_key(tmp_path: Path) -> None:
    server = json.loads(vector(SERVER).read_text())
    key, fork = VerifierKey.parse(server["vkey"]), server["fork"]
    records = [record["text"].encode() for record in fork["new_records"]]
    new, old = fork["new_signed_tree"].encode(), fork["old_signed_tree"].encode()
    origin = origin_id(ORIGIN)
    async with following(tmp_path, key, records) as (monitor, files):
        files["latest"] = new
        await look(monitor, origin)
        await monitor.sites[origin].follower.attempt()
        assert (monitor.branch(origin).size, len(leaf_hashes(records))) == (6, 6)
        await monitor.submit(origin, old)
        assert monitor.branch(origin).convicted
        (held,) = monitor.gossip.state.evidence.values()
    conviction = verify_evidence(Evidence.parse(held.bundle), [key], origin=ORIGIN)
    assert (conviction.accused, sorted(stated.size for stated in conviction.statements)) == (key, [5, 6])
