"""Another gossip peer, written in Go from specs/gossip.md and specs/evidence.md alone, and ours understand each other.

It shares nothing with ours but these pages. It judges every vector as they say. At a monitor process, over HTTP, it
checks all that it is told, and answers what it is asked.
"""

import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.keyfiles import write_signer_key
from runtime.server import open_listener, serve, url_of
from tests.e2e.hostile import Target, target
from tests.e2e.monitors import Place
from tests.fakes_log import FakeLog, signer
from tests.golang import build_go
from tests.ports import free_ports
from tlog.keys import KeyType, SignerKey
from tlog.policy import Policy, PolicyLog

SOURCE = Path(__file__).parent / "gossip_go"
VECTORS = Path(__file__).parents[2] / "specs" / "vectors" / "gossip" / "vectors.json"
LEAST = 124  # vectors
LOGS = 20  # so many that a monitor tells of them by buckets
LARGE = 300  # entries of the first: two tiles, one of them full
SMALL = 5
GO_SECONDS = 60.0  # for all that a program does here
PEER = signer("go.example/peer")


@pytest.fixture(scope="session")
def gossip_go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The peer in Go."""
    return build_go(tmp_path_factory.mktemp("gossip_go"), ".", SOURCE) / "gossip"


def test_go_judges_every_vector_as_it_says(gossip_go: Path) -> None:
    vectors: list[dict[str, Any]] = json.loads(VECTORS.read_text())["vectors"]
    done = subprocess.run([gossip_go, "vectors", VECTORS], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    judged: list[dict[str, Any]] = json.loads(done.stdout)
    assert len({one["Name"] for one in judged}) == len(vectors) >= LEAST
    for vector, one in zip(vectors, judged, strict=True):
        if "error" in vector:
            assert (one["Name"], one["Error"]) == (vector["name"], vector["error"])
        else:
            # What it read is what was meant, and what it makes of that are the same bytes.
            assert one == {"Name": vector["name"], "Error": "", "Value": vector["value"], "Again": vector["bytes"]}


@dataclass(frozen=True, slots=True)
class Scene:
    """A monitor process that follows some logs, and the peer in Go that it knows."""

    program: Path
    target: Target
    logs: Sequence[FakeLog]
    port: int

    def config(self, **more: object) -> Path:
        """What the peer is told."""
        place = self.target.place
        path = place.folder / "go.json"
        keys = {
            "Seed": PEER.name.encode().ljust(32, b".").hex(),
            "Vkey": PEER.verifier_key.format(),
            "Monitor": place.peer.verifier_key.format(),
            "Observer": place.observer.verifier_key.format(),
        }
        path.write_text(
            json.dumps({"URL": place.url, **keys, "Logs": [log.key.verifier_key.format() for log in self.logs], **more})
        )
        return path

    async def run(self, verb: str, **more: object) -> dict[str, Any]:
        """What the peer printed; what it complained of is the test's failure."""
        done = await self.end(verb, **more)
        assert done.returncode == 0, done.stderr.decode()
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    async def end(self, verb: str, **more: object) -> "subprocess.CompletedProcess[bytes]":
        """How the peer ended."""
        command = [str(self.program), verb, str(self.config(**more))]
        with trio.fail_after(GO_SECONDS):
            return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)


@asynccontextmanager
async def serving(logs: Sequence[FakeLog]) -> AsyncIterator[str]:
    """Serve logs, each below its number."""

    async def answer(request: Request) -> Response:
        found = logs[int(request.path_params["number"])].serve(request.path_params["path"])
        return Response(status_code=404) if found is None else Response(found)

    listener = await open_listener("127.0.0.1:0")
    drain = trio.Event()
    async with trio.open_nursery() as nursery:
        app = Starlette(routes=[Route("/{number:int}/{path:path}", answer)])
        await nursery.start(partial(serve, app, [listener], drain=drain))
        yield url_of(listener)
        drain.set()


def some_logs() -> list[FakeLog]:
    logs = [FakeLog(origin=f"log.example/{number}") for number in range(LOGS)]
    for number, log in enumerate(logs):
        log.add(SMALL if number else LARGE)
        log.publish(witnesses=())
    return logs


def configure(folder: Path, logs: Sequence[FakeLog], url: str, port: int, peer: str) -> Place:
    """A monitor whose only peer is ours."""
    name = "monitor.example/m1"
    place = Place(folder, name, signer(name), signer(f"{name}-observer", KeyType.COSIGNATURE_ED25519), port)
    write_signer_key(folder / "peer.key", place.peer)
    write_signer_key(folder / "observer.key", place.observer)
    keys = tuple(PolicyLog(log.key.verifier_key) for log in logs)
    (folder / "policy.txt").write_bytes(Policy(keys, (), (), None).format())
    place.config.write_text(
        f'name = "{name}"\nlisten = "127.0.0.1:{port}"\noperator_listen = "127.0.0.1:0"\n'
        'data = "data"\nregister = "register"\npeer_key = "peer.key"\nobserver_key = "observer.key"\n'
        'policy = "policy.txt"\npoll_interval = 0.3\ngossip_interval = 0.5\n'
        + "".join(f'[[log]]\norigin = "{log.origin}"\nurl = "{url}/{at}"\n' for at, log in enumerate(logs))
        + f'[[peer]]\nname = "{PEER.name}"\nvkey = "{PEER.verifier_key}"\n{peer}'
    )
    return place


@asynccontextmanager
async def scene(folder: Path, program: Path, *, dialled: bool = False) -> AsyncIterator[Scene]:
    logs = some_logs()
    port, peer_port = free_ports(2)
    peer = f'url = "http://127.0.0.1:{peer_port}"\n' if dialled else ""
    async with serving(logs) as url, target(configure(folder, logs, url, port, peer)) as running:
        await running.asker.wait_until(
            running.url, "heads", lambda heads: all(head["size"] >= SMALL for head in heads) and len(heads) == LOGS
        )
        await running.asker.wait_until(running.url, "heads", lambda heads: max(h["size"] for h in heads) == LARGE)
        yield Scene(program, running, logs, peer_port)


async def test_go_learns_all_that_a_monitor_holds_and_hears_of_what_is_new(tmp_path: Path, gossip_go: Path) -> None:
    async with scene(tmp_path, gossip_go) as here:
        command = [str(gossip_go), "follow", str(here.config())]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with trio.fail_after(GO_SECONDS):
            said = await line_of(process)
            if said == b"waiting\n":
                here.logs[0].add(77)
                here.logs[0].publish(witnesses=())
                said = await line_of(process)
            assert process.stderr is not None
            complaint = b"".join([piece async for piece in process.stderr])
            await process.wait()
    assert complaint.decode() == ""
    assert json.loads(said) == {
        "heads": LOGS,
        "held": LOGS,
        "tiles": LARGE,
        "old": LARGE,
        "grown": LARGE + 77,
    }


async def line_of(process: trio.Process) -> bytes:
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        piece = await process.stdout.receive_some()
        if not piece:
            break
        line += piece
    return line


def forked(log: FakeLog, size: int) -> dict[str, object]:
    """Another history that the log signed: its last entries differ."""
    twin = log.fork(min(size, log.size) - 2)
    twin.add(size - twin.size, "twin")
    return {"Note": twin.sign(witnesses=()).decode(), "Entries": [entry.decode() for entry in twin.entries]}


@pytest.mark.parametrize("dialled", [False, True])
async def test_go_shows_a_monitor_forks_and_gets_evidence_that_it_verifies(
    tmp_path: Path, gossip_go: Path, dialled: bool
) -> None:
    async with scene(tmp_path, gossip_go, dialled=dialled) as here:
        forks = [forked(log, size) for log, size in zip(here.logs, (LARGE - 7, SMALL, SMALL + 8), strict=False)]
        listen = {"Listen": f"127.0.0.1:{here.port}"} if dialled else {}
        found = await here.run("accuse", Forks=forks, **listen)
        evidence = await here.target.asker.list(here.target.url, "evidence")
    # Of a smaller head and of one as large the monitor's own tree tells; of a larger one it has to ask.
    assert sorted(found["classes"].values()) == [2, 4, 4]
    assert set(found["classes"]) == {one["id"] for one in evidence}
    assert found["answered"] == {"in a request" if dialled else "in an answer": 1}


async def test_go_takes_nothing_that_other_keys_signed(tmp_path: Path, gossip_go: Path) -> None:
    async with scene(tmp_path, gossip_go) as here:
        logs = [log.key.verifier_key.format() for log in here.logs]
        other = SignerKey(here.logs[7].origin, KeyType.ED25519, b"another key of this name".ljust(32, b"."))
        logs[7] = other.verifier_key.format()
        ended = {
            "monitor": await here.end("follow", Monitor=PEER.verifier_key.format()),
            "observer": await here.end("follow", Observer=PEER.verifier_key.format()),
            "log": await here.end("follow", Logs=logs),
        }
    assert {name: (done.returncode, done.stdout) for name, done in ended.items()} == dict.fromkeys(ended, (1, b""))
    assert b"the monitor answers 400: the envelope is for another recipient" in ended["monitor"].stderr
    assert b"the last line is not the observer's" in ended["observer"].stderr
    assert b"not signed by whom it has to be" in ended["log"].stderr


async def test_go_is_refused_as_specified(tmp_path: Path, gossip_go: Path) -> None:
    async with scene(tmp_path, gossip_go) as here:
        statuses = await here.run("refused")
    wrong = {"a signature changed", "another key's", "a stranger's"}
    taken = {"good", "an unknown message", "unknown evidence", "good again"}
    assert {name for name, status in statuses.items() if status == 403} == wrong
    assert {name for name, status in statuses.items() if status == 200} == taken
    assert statuses["too long"] == 413
    assert {statuses[name] for name in statuses.keys() - wrong - taken - {"too long"}} == {400}
    assert len(statuses) == 17


def test_the_other_peer_is_short_enough_to_read() -> None:
    lines = [line for path in SOURCE.glob("*.go") for line in path.read_text().splitlines()]
    assert len(lines) < 1450
    assert max(map(len, lines)) <= 120
