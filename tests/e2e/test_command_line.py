"""The commands as processes of their own: from new keys to a verified proof, and every way in which a start fails."""

import json
import re
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio

from runtime.client import Client
from tests.commands import Sameview
from tests.e2e.monitors import Asker, create, places, running, serving
from tests.fakes_log import FakeLog

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0  # for one process to start or to end on a machine that is busy; it takes one or two
ORIGIN = "log.example/one"
WITNESS = "witness.example/w1"
MONITOR = "monitor.example/m1"
ROLES = ("log", "witness", "monitor")


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that serves, and what its ready line said."""

    process: subprocess.Popen[str]
    ready: dict[str, str]

    @property
    def url(self) -> str:
        return self.ready["url"]

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Tell it to stop; its exit code, and what it printed after its ready line."""
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, output


@contextmanager
def serve(role: str, folder: Path) -> Iterator[Daemon]:
    """Run a daemon until the test is done with it."""
    command = [sys.executable, "-m", "sameview", role, "serve", "--config", f"{role}.toml"]
    with (
        (folder / f"{role}.err").open("w") as log,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            yield Daemon(process, json.loads(first_line(process, folder / f"{role}.err")))
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(SECONDS), f"no ready line: {log.read_text()}"
    line = process.stdout.readline()
    assert line, log.read_text()
    return line


def run(*arguments: object, cwd: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "sameview", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, timeout=SECONDS)


def keygen(sameview: Sameview, folder: Path, role: str, name: str) -> str:
    ran = sameview("keygen", "--name", name, "--type", role, "--out", folder / f"{role}.key")
    return ran.out.strip()


def write_config(sameview: Sameview, folder: Path, role: str, lines: str = "", listen: str = "127.0.0.1:0") -> Path:
    """What a node of this role needs, in a folder: keys, a policy where one has to be, and a configuration."""
    listens = f'listen = "{listen}"\noperator_listen = "127.0.0.1:0"\ndata = "data"\nregister = "register"\n'
    match role:
        case "log":
            keygen(sameview, folder, "log", ORIGIN)
            own = f'origin = "{ORIGIN}"\nkeys = ["log.key"]\npublish_interval = 0.05\n'
        case "witness":
            keygen(sameview, folder, "witness", WITNESS)
            own = f'name = "{WITNESS}"\nkeys = ["witness.key"]\n'
        case _:
            keygen(sameview, folder, "peer", MONITOR)
            keygen(sameview, folder, "observer", f"{MONITOR}-observer")
            (folder / "policy").write_text(f"log {FakeLog().key.verifier_key}\nquorum none\n")
            own = f'name = "{MONITOR}"\npeer_key = "peer.key"\nobserver_key = "observer.key"\npolicy = "policy"\n'
            lines += f'[[log]]\norigin = "{ORIGIN}"\nurl = "http://127.0.0.1:1"\n'
    (folder / f"{role}.toml").write_text(listens + own + lines)
    return folder / f"{role}.toml"


# From keys to a proof.


@dataclass(frozen=True, slots=True)
class Nodes:
    """A log that a witness has to cosign, both running."""

    folder: Path
    log: Daemon
    witness: Daemon
    log_vkey: str


@pytest.fixture
def nodes(sameview: Sameview, tmp_path: Path) -> Iterator[Nodes]:
    folders = {role: tmp_path / role for role in ("log", "witness")}
    for folder in folders.values():
        folder.mkdir()
    log_config = write_config(sameview, folders["log"], "log", 'policy = "policy"\n')
    log_vkey = sameview("vkey", folders["log"] / "log.key").out.strip()
    witness_config = write_config(sameview, folders["witness"], "witness", f'[[log]]\nvkey = "{log_vkey}"\n')
    witness_vkey = sameview("vkey", folders["witness"] / "witness.key").out.strip()
    assert sameview("witness", "init", "--config", witness_config).code == 0
    with serve("witness", folders["witness"]) as witness:
        (folders["log"] / "policy").write_text(f"log {log_vkey}\nwitness w1 {witness_vkey} {witness.url}\nquorum w1\n")
        assert sameview("log", "init", "--config", log_config).code == 0
        with serve("log", folders["log"]) as log:
            yield Nodes(folders["log"], log, witness, log_vkey)


def test_an_entry_is_added_proven_verified_and_checked(sameview: Sameview, nodes: Nodes, tmp_path: Path) -> None:
    policy, url = nodes.folder / "policy", nodes.log.url
    assert (nodes.log.ready["role"], nodes.log.ready["vkey"]) == ("log", nodes.log_vkey)
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text(f"entry {file.name}")

    added = run("log", "add", url, *files, "--proof-out", "proofs", cwd=tmp_path)
    assert added.stdout == f"0\t{files[0]}\tproofs/0.tlog-proof\n1\t{files[1]}\tproofs/1.tlog-proof\n".encode()
    piped = run("log", "add", url, "--json", cwd=tmp_path, stdin=b"from a pipe")
    assert json.loads(piped.stdout) == {"added": [{"file": "-", "index": 2, "proof": None}]}
    assert sameview("log", "add", url, "--batch", *files).out == f"0\t{files[0]}\n1\t{files[1]}\n"

    proof = ("verify", "proof", tmp_path / "proofs/1.tlog-proof", "--policy", policy)
    verified = run(*proof, "--entry", files[1], "--explain", cwd=tmp_path)
    assert (verified.returncode, verified.stderr) == (0, b"")
    assert verified.stdout.startswith(b"OK: the entry is number 1 of the log\n")
    assert re.search(rb"witness w1 \(witness\.example/w1\): cosigned at Unix time", verified.stdout)
    assert run(*proof, "--entry", files[0], cwd=tmp_path).returncode == 1

    checked = sameview("fsck", url, "--vkey", nodes.log_vkey, "--json")
    assert (checked.code, checked.document["holds"]) == (0, True)
    assert sameview("fsck", nodes.folder / "data" / "public", "--vkey", nodes.log_vkey).code == 0
    checkpoint = nodes.folder / "data" / "public" / "checkpoint"
    assert sameview("verify", "checkpoint", checkpoint, "--policy", policy, "--max-age", 600).code == 0
    replayed = sameview("log", "replay", "--config", nodes.folder / "log.toml", "--json")  # beside the log that serves
    assert (replayed.code, replayed.document["holds"], replayed.document["size"]) == (0, True, 3)
    assert f"hash {replayed.document['hash']}" in sameview("log", "replay", "--config", nodes.folder / "log.toml").out

    # Whatever they logged went to standard error: the ready line is all that stands on standard output.
    assert nodes.log.end() == (0, "")
    assert nodes.witness.end(signal.SIGINT) == (0, "")


# How a start fails. Each says what to do, and ends with 2.


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("command", ["init", "serve"])
def test_a_configuration_has_to_be_there_and_right(sameview: Sameview, tmp_path: Path, role: str, command: str) -> None:
    ran = sameview(role, command, "--config", tmp_path / "none.toml")
    assert (ran.code, ran.out, "none.toml: No such file" in ran.err) == (2, "", True)
    config = write_config(sameview, tmp_path, role)
    good = config.read_text()
    for text, sentence in (
        (f'nonsense = "x"\n{good}', "the key `nonsense` is unknown: remove it or correct its spelling"),
        (good.replace('data = "data"\n', ""), "the key `data` is missing: add it"),
        (good.replace('"data"', "5"), "the value of `data` is wrong"),
        ("nonsense", "is not TOML"),
    ):
        config.write_text(text)
        ran = sameview(role, command, "--config", config)
        assert (ran.code, ran.out, ran.err.count("\n"), sentence in ran.err) == (2, "", 1, True), ran.err
    config.write_text(good)
    for key in tmp_path.glob("*.key"):
        key.unlink()
    ran = sameview(role, command, "--config", config)
    assert (ran.code, "make one with `sameview keygen" in ran.err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_state_is_made_once_and_never_by_serve(sameview: Sameview, tmp_path: Path, role: str) -> None:
    config = write_config(sameview, tmp_path, role)
    early = run(role, "serve", "--config", config.name, cwd=tmp_path)
    assert (early.returncode, early.stdout) == (2, b"")
    assert f"`sameview {role} init`".encode() in early.stderr
    first = sameview(role, "init", "--config", config)
    assert (first.code, first.out, f"sameview {role} serve --config {config}" in first.err) == (0, "", True)
    again = sameview(role, "init", "--config", config)
    assert (again.code, "it never replaces any" in again.err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_a_second_process_and_a_busy_port_are_refused(sameview: Sameview, tmp_path: Path, role: str) -> None:
    config = write_config(sameview, tmp_path, role)
    assert sameview(role, "init", "--config", config).code == 0
    with serve(role, tmp_path) as daemon:
        second = run(role, "serve", "--config", config.name, cwd=tmp_path)
        assert (second.returncode, second.stdout) == (2, b"")
        assert f"is in use by process {daemon.process.pid}: stop it first".encode() in second.stderr

        other = tmp_path / "other"
        other.mkdir()
        address = daemon.url.removeprefix("http://")
        busy = write_config(sameview, other, role, listen=address)
        assert sameview(role, "init", "--config", busy).code == 0
        third = run(role, "serve", "--config", busy.name, cwd=other)
        assert (third.returncode, third.stdout) == (2, b"")
        assert address.encode() in third.stderr
        assert daemon.end() == (0, "")


# How a wait ends.


@pytest.mark.parametrize("command", [["log", "add"], ["fsck", "--vkey", str(FakeLog().key.verifier_key)]])
def test_an_interrupted_wait_ends_with_130(tmp_path: Path, command: Sequence[str]) -> None:
    (tmp_path / "entry").write_bytes(b"entry")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        arguments = [*command, url, *(["entry"] if command[0] == "log" else [])]
        with subprocess.Popen(
            [sys.executable, "-m", "sameview", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        ) as process:
            silent.settimeout(SECONDS)
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)  # it has asked, and waits
                process.send_signal(signal.SIGINT)
                output, log = process.communicate(timeout=SECONDS)
        assert (process.returncode, output, log.strip()) == (130, b"", b"")


def test_an_interrupted_wait_for_a_proof_tells_the_index(tmp_path: Path) -> None:
    (tmp_path / "entry").write_bytes(b"entry")
    with socket.create_server(("127.0.0.1", 0)) as log:
        url = f"http://127.0.0.1:{log.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-m", "sameview", "log", "add", url, "entry", "--proofs"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        ) as process:
            log.settimeout(SECONDS)
            connection, _ = log.accept()
            with connection:
                connection.settimeout(SECONDS)
                request = b""
                while not request.endswith(b"entry"):
                    request += connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n7\n")
            connection, _ = log.accept()
            with connection:
                connection.settimeout(SECONDS)
                connection.recv(1)  # it asks for the proof, and waits
                process.send_signal(signal.SIGINT)
                output, _ = process.communicate(timeout=SECONDS)
        assert (process.returncode, output) == (130, b"7\tentry\n")


# What a monitor says.


async def test_status_shows_what_real_monitors_see_and_ends_with_1_after_a_conviction(
    sameview: Sameview, tmp_path: Path
) -> None:
    log = FakeLog()
    log.add(12)
    log.publish()
    async with serving(log) as front, serving(log) as victim_front, Client() as client:
        place, victim = await places(tmp_path, [front, victim_front])
        asker = Asker(client)
        await create(place)
        await create(victim)
        async with running(place) as ready, running(victim):
            status = partial(sameview, "monitor", "status", ready.url)
            await asker.wait_for_size(ready.url, 12)
            await asker.wait_until(ready.url, "peers", lambda found: found[0]["heard_ms"] is not None)
            calm = await trio.to_thread.run_sync(status)
            twin = log.fork(8)
            twin.add(3, "twin")
            twin.publish(witnesses=())
            victim_front.log = twin
            await asker.wait_until(ready.url, "evidence", bool)
            with trio.fail_after(SECONDS):
                while (alarmed := await trio.to_thread.run_sync(status)).code == 0:
                    pass  # what it shows is made once a second
            document = (await trio.to_thread.run_sync(partial(status, "--json"))).document
    assert (calm.code, "OK: this monitor has convicted nobody" in calm.out) == (0, True)
    assert re.search(rf"{ORIGIN} +12 +consistent", calm.out)
    assert re.search(r"monitor\.example/m2 +- +\d+ s ago +http://127\.0\.0\.1:", calm.out)
    assert (alarmed.code, re.search(rf"{ORIGIN} .*CONVICTED", alarmed.out) is not None) == (1, True)
    assert (document["convicted"], len(document["evidence"])) == (True, 1)
