"""One monitor process follows logs of every kind at once, each a folder that a plain nginx serves."""

import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from runtime.client import Client
from runtime.keyfiles import write_signer_key
from tests.e2e.log_process import ROOT, SECONDS, ready_url
from tests.e2e.monitors import Asker
from tests.e2e.trees import Tree, certificates, ours, real_issuers, real_leaves, rekor, sumdb, tessera
from tests.e2e.web_server import plain_nginx
from tests.fakes_log import signer
from tlog.keys import KeyType

POLL_SECONDS = 0.2
PARTIAL = re.compile(r"\.p/\d+$")


async def trees(folder: Path) -> tuple[Path, list[Tree]]:
    """All trees below one folder."""
    www = folder / "www"
    www.mkdir()
    return www, [await ours(www, folder / "log"), tessera(www), sumdb(www), rekor(www), certificates(www)]


@asynccontextmanager
async def monitor(folder: Path, url: str, logs: Sequence[Tree]) -> AsyncIterator[str]:
    """A monitor as a process; its URL."""
    await trio.Path(folder).mkdir()
    write_signer_key(folder / "peer.key", signer("monitor.example/m1"))
    write_signer_key(folder / "observer.key", signer("monitor.example/o1", KeyType.COSIGNATURE_ED25519))
    (folder / "none.txt").write_text("quorum none\n")
    (folder / "monitor.toml").write_text(
        'name = "monitor.example/m1"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\ndata = "data"\n'
        'register = "register"\npeer_key = "peer.key"\nobserver_key = "observer.key"\npolicy = "none.txt"\n'
        f"poll_interval = {POLL_SECONDS}\naudit_interval = {POLL_SECONDS}\n" + "".join(log.config(url) for log in logs)
    )
    command = [sys.executable, "-m", "sameview", "monitor"]
    config = ["--config", str(folder / "monitor.toml")]
    await trio.run_process([*command, "init", *config], cwd=ROOT, capture_stderr=True)
    with (folder / "monitor.log").open("ab") as output:
        process = await trio.lowlevel.open_process(
            [*command, "serve", *config], cwd=ROOT, stdout=subprocess.PIPE, stderr=output
        )
    try:
        with trio.fail_after(SECONDS):
            url = await ready_url(process)
        yield url
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()


def sizes(heads: list[dict[str, Any]]) -> dict[str, int]:
    return {head["origin"]: head["size"] for head in heads}


def flip(file: Path, part: bytes) -> Callable[[], object]:
    """Change one byte in the middle of a part of a file; returns what changes it back."""
    before = file.read_bytes()
    assert before.count(part) == 1
    at = before.index(part) + len(part) // 2
    file.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
    return lambda: file.write_bytes(before)


def said(alarms: list[dict[str, Any]], kind: str) -> dict[str, str]:
    """What alarms of a kind say, by log."""
    return {alarm["origin"]: f"{alarm['subject']} {alarm}" for alarm in alarms if alarm["kind"] == kind}


def tells_all(alarms: list[dict[str, Any]], sentences: Sequence[str]) -> bool:
    told = " ".join(alarm["subject"] for alarm in alarms)
    return all(sentence in told for sentence in sentences)


async def test_logs_of_every_kind_are_followed_at_once(tmp_path: Path) -> None:
    www, logs = await trees(tmp_path)
    wanted = {log.origin: log.size for log in logs}
    async with plain_nginx(tmp_path, www) as url, monitor(tmp_path / "m", url, logs) as ready, Client() as client:
        asker = Asker(client)
        heads = await asker.wait_until(ready, "heads", lambda found: sizes(found) == wanted)
        # The chains name certificates that the vectors do not have, so that nobody can serve them here.
        missing = [f"{path}, which its chain names, is not served" for path in real_issuers()]
        alarms = await asker.wait_until(ready, "alarms", lambda found: tells_all(found, missing))
    assert sizes(heads) == wanted
    assert {alarm["kind"] for alarm in alarms} == {"wrong-chain"}


async def test_a_flipped_byte_is_named_in_each_of_them(tmp_path: Path) -> None:
    www, logs = await trees(tmp_path)
    repairs = [flip(www / log.name / log.bundle, log.part) for log in logs]
    names = {log.origin: f"entry {log.entry}, in {PARTIAL.sub('', log.place)}, is not the one" for log in logs}
    async with plain_nginx(tmp_path, www) as url, monitor(tmp_path / "m", url, logs) as ready, Client() as client:
        asker = Asker(client)
        alarms = await asker.wait_until(ready, "alarms", lambda found: len(said(found, "wrong-entries")) == len(logs))
        assert {
            origin: names[origin] in text for origin, text in said(alarms, "wrong-entries").items()
        } == dict.fromkeys(names, True)
        assert set(sizes(await asker.list(ready, "heads")).values()) == {0}
        for repair in repairs:
            repair()
        wanted = {log.origin: log.size for log in logs}
        await asker.wait_until(ready, "heads", lambda found: sizes(found) == wanted)


async def test_a_flipped_byte_in_what_is_not_followed_is_named_too(tmp_path: Path) -> None:
    www, logs = await trees(tmp_path)
    # The last tile of our own log is even read by the follower, in the place of a partial bundle.
    tiles = {
        log_at("ours", logs): "tile/0/001.p/44",
        log_at("tessera", logs): "tile/0/000.p/15",
        log_at("sumdb", logs): "tile/8/0/000.p/4",
        log_at("rekor", logs): f"tile/0/000.p/{log_at('rekor', logs).size}",
        log_at("ct", logs): "tile/1/000.p/1",
    }
    for log, path in tiles.items():
        file = www / log.name / ("api/v2" if log.kind == "rekor2" else "") / path
        flip(file, file.read_bytes())
    ct = log_at("ct", logs)
    precertificates = [at for at, leaf in enumerate(real_leaves()) if leaf.pre_certificate is not None]
    flip(www / "ct" / ct.bundle, real_leaves()[precertificates[-1]].pre_certificate or b"")
    wanted = {log.origin: log.size for log in logs}
    async with plain_nginx(tmp_path, www) as url, monitor(tmp_path / "m", url, logs) as ready, Client() as client:
        asker = Asker(client)
        await asker.wait_until(ready, "heads", lambda found: sizes(found) == wanted)
        alarms = await asker.wait_until(ready, "alarms", lambda found: len(said(found, "wrong-tile")) == len(logs))
        chain = f"entry {precertificates[-1]} in {ct.bundle}: its precertificate"
        await asker.wait_until(ready, "alarms", lambda found: tells_all(found, [chain]))
    found = {(alarm["origin"], alarm["subject"]) for alarm in alarms if alarm["kind"] == "wrong-tile"}
    assert found == {(log.origin, path) for log, path in tiles.items()}


def log_at(name: str, logs: Sequence[Tree]) -> Tree:
    (found,) = [log for log in logs if log.name == name]
    return found
