"""A federation of separate processes on loopback: a log, witnesses under a policy, monitors that gossip.

Everything a node of one's own needs is made here the way a person would make it: key files, a policy, a TOML file
each, ``init``, ``serve``. The directory is left behind with ``--keep`` and can be started again by hand.
"""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

import logserver.__main__
import monitor.__main__
import witness.__main__
from runtime.errors import CannotTell
from runtime.keyfiles import new_signer_key, write_signer_key
from tlog.keys import KeyType, SignerKey

ORIGIN = "log.example/demo"
START_SECONDS = 90  # all nodes together, from cold interpreters on two cores that may be busy with other things
STOP_SECONDS = 10
READY_LINE_BYTES = 64 * 1024

WITNESSES = ("witness.example/w1", "witness.example/w2", "witness.example/w3")
MONITORS = ("monitor.example/m1", "monitor.example/m2", "monitor.example/m3")


@dataclass(frozen=True, slots=True)
class Node:
    """One running process and what its ready line said."""

    role: str
    name: str
    url: str
    process: trio.Process


@dataclass(frozen=True, slots=True)
class Plan:
    """A federation's files, written but not started."""

    directory: Path
    log_key: SignerKey
    log_port: int
    front_port: int
    witness_ports: tuple[int, ...]
    monitor_ports: tuple[int, ...]

    @property
    def log_vkey(self) -> str:
        return self.log_key.verifier_key.format()

    @property
    def policy_file(self) -> Path:
        return self.directory / "policy.txt"

    @property
    def vkey_file(self) -> Path:
        return self.directory / "log.vkey"


def write_plan(directory: Path) -> Plan:
    """Make keys, the policy and every node's configuration in an empty directory."""
    ports = _free_ports(2 + len(WITNESSES) + len(MONITORS))
    log_port, front_port = ports[:2]
    witness_ports, monitor_ports = tuple(ports[2 : 2 + len(WITNESSES)]), tuple(ports[2 + len(WITNESSES) :])
    log_key = _key(directory / "log-ed25519.key", ORIGIN, KeyType.ED25519)
    _key(directory / "log-mldsa44.key", ORIGIN, KeyType.COSIGNATURE_MLDSA44)
    plan = Plan(directory, log_key, log_port, front_port, witness_ports, monitor_ports)
    plan.vkey_file.write_text(plan.log_vkey + "\n")
    plan.policy_file.write_text(_policy(plan, [_witness_keys(plan, number) for number in range(len(WITNESSES))]))
    (directory / "log.toml").write_text(_log_config(plan))
    for number in range(len(WITNESSES)):
        (directory / f"w{number + 1}.toml").write_text(_witness_config(plan, number))
    peers = [_monitor_keys(plan, number) for number in range(len(MONITORS))]
    for number in range(len(MONITORS)):
        (directory / f"m{number + 1}.toml").write_text(_monitor_config(plan, number, peers))
    return plan


def _key(path: Path, name: str, key_type: KeyType) -> SignerKey:
    key = new_signer_key(name, key_type)
    write_signer_key(path, key)
    return key


def _witness_keys(plan: Plan, number: int) -> list[str]:
    name, stem = WITNESSES[number], plan.directory / f"w{number + 1}"
    ed25519 = _key(Path(f"{stem}-ed25519.key"), name, KeyType.COSIGNATURE_ED25519)
    mldsa44 = _key(Path(f"{stem}-mldsa44.key"), name, KeyType.COSIGNATURE_MLDSA44)
    return [ed25519.verifier_key.format(), mldsa44.verifier_key.format()]


def _monitor_keys(plan: Plan, number: int) -> tuple[str, str]:
    name, stem = MONITORS[number], plan.directory / f"m{number + 1}"
    peer = _key(Path(f"{stem}-peer.key"), name, KeyType.ED25519)
    observer = _key(Path(f"{stem}-observer.key"), f"{name}-observer", KeyType.COSIGNATURE_ED25519)
    return peer.verifier_key.format(), observer.verifier_key.format()


def _policy(plan: Plan, witnesses: Sequence[Sequence[str]]) -> str:
    lines = [f"log {plan.log_vkey}"]
    groups = []
    for number, vkeys in enumerate(witnesses, 1):
        url = f"http://127.0.0.1:{plan.witness_ports[number - 1]}"
        names = [f"w{number}-ed25519", f"w{number}-mldsa44"]
        lines += [f"witness {name} {vkey} {url}" for name, vkey in zip(names, vkeys, strict=True)]
        # Two keys of one operator are one party: either of its lines will do.
        lines.append(f"group w{number} any {' '.join(names)}")
        groups.append(f"w{number}")
    lines += [f"group witnesses 2 {' '.join(groups)}", "quorum witnesses"]
    return "\n".join(lines) + "\n"


def _log_config(plan: Plan) -> str:
    return f"""\
origin = "{ORIGIN}"
listen = "127.0.0.1:{plan.log_port}"
operator_listen = "127.0.0.1:0"
data = "log-data"
register = "log-register"
keys = ["log-ed25519.key", "log-mldsa44.key"]
policy = "policy.txt"
publish_interval = 0.5
"""


def _witness_config(plan: Plan, number: int) -> str:
    stem = f"w{number + 1}"
    return f"""\
name = "{WITNESSES[number]}"
listen = "127.0.0.1:{plan.witness_ports[number]}"
operator_listen = "127.0.0.1:0"
data = "{stem}-data"
register = "{stem}-register"
keys = ["{stem}-ed25519.key", "{stem}-mldsa44.key"]

[[log]]
vkey = "{plan.log_vkey}"
"""


def _monitor_config(plan: Plan, number: int, peers: Sequence[tuple[str, str]]) -> str:
    stem = f"m{number + 1}"
    # The last monitor reaches the log through the lab's front, which will show it another tree.
    log_port = plan.front_port if number == len(MONITORS) - 1 else plan.log_port
    head = f"""\
name = "{MONITORS[number]}"
listen = "127.0.0.1:{plan.monitor_ports[number]}"
operator_listen = "127.0.0.1:0"
data = "{stem}-data"
register = "{stem}-register"
peer_key = "{stem}-peer.key"
observer_key = "{stem}-observer.key"
policy = "policy.txt"
poll_interval = 0.5
gossip_interval = 1.0

[[log]]
origin = "{ORIGIN}"
url = "http://127.0.0.1:{log_port}"
"""
    return head + "".join(
        f"""
[[peer]]
name = "{MONITORS[other]}"
vkey = "{vkey}"
url = "http://127.0.0.1:{plan.monitor_ports[other]}"
observer = "{observer}"
operator = "Operator {other + 1}"
"""
        for other, (vkey, observer) in enumerate(peers)
        if other != number
    )


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now. Held until all are chosen, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


def init(plan: Plan) -> None:
    """Do what ``sameview ROLE init`` does, for every node."""
    logserver.__main__.init(plan.directory / "log.toml")
    for number in range(len(WITNESSES)):
        witness.__main__.init(plan.directory / f"w{number + 1}.toml")
    for number in range(len(MONITORS)):
        monitor.__main__.init(plan.directory / f"m{number + 1}.toml")


@asynccontextmanager
async def all_running(
    plan: Plan, commands: Mapping[tuple[str, str], Sequence[str]]
) -> AsyncIterator[dict[tuple[str, str], Node]]:
    """Start processes at the same time, by role and name; stop them all on the way out."""
    started: dict[tuple[str, str], Node] = {}
    async with AsyncExitStack() as stack:
        waiting = {
            place: await stack.enter_async_context(_process(plan, place[1], command))
            for place, command in commands.items()
        }
        with trio.move_on_after(START_SECONDS):
            for (role, name), process in waiting.items():
                url = await _ready_line(process)
                if url is None:
                    break
                started[role, name] = Node(role, name, url, process)
        missing = [name for role, name in commands if (role, name) not in started]
        if missing:
            raise CannotTell(f"{missing[0]} did not start; its last words are in {_log_file(plan, missing[0])}")
        yield started


@asynccontextmanager
async def _process(plan: Plan, name: str, arguments: Sequence[str]) -> AsyncIterator[trio.Process]:
    """One process, its log in a file of its name; stopped on the way out."""
    with _log_file(plan, name).open("ab") as log:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", *arguments], cwd=plan.directory, stdout=subprocess.PIPE, stderr=log
        )
    try:
        yield process
    finally:
        await _stop(process)


def _log_file(plan: Plan, name: str) -> Path:
    return plan.directory / f"{name}.log"


async def _ready_line(process: trio.Process) -> str | None:
    """The URL in a node's ready line, or None when it ended without one."""
    if process.stdout is None:
        raise AssertionError("the process was started with a pipe")
    received = b""
    while b"\n" not in received and len(received) < READY_LINE_BYTES:
        chunk = await process.stdout.receive_some(4096)
        if not chunk:
            return None
        received += chunk
    ready = json.loads(received.partition(b"\n")[0])
    return str(ready["url"]) if ready.get("event") == "ready" else None


async def _stop(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with trio.move_on_after(STOP_SECONDS):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
