"""A federation of separate processes on loopback: logs, witnesses under one policy, monitors that gossip.

Everything a node of one's own needs is made here the way a person would make it: key files, a policy, a TOML file
each, ``init``, ``serve``. The directory is left behind with ``--keep`` and can be started again by hand.

Each scenario has a log of its own, since a verdict is about one log; witnesses and monitors are shared, as they are in
the world. The liars are here too: the front, which one monitor takes for the logs, and a monitor that signs anything.
"""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

import logserver.__main__
import monitor.__main__
import witness.__main__
from runtime.errors import CannotTell
from runtime.keyfiles import new_signer_key, write_signer_key
from tlog.keys import KeyType

START_SECONDS = 120  # all nodes together, from cold interpreters on two cores that may be busy with other things
STOP_SECONDS = 10
READY_LINE_BYTES = 64 * 1024

WITNESSES = ("w1", "w2", "w3")
MONITORS = ("m1", "m2", "m3")
DECEIVED = "m3"  # reaches every log through the front
LIAR = "m4"  # a peer of the monitors that belongs to the lab
FRONT = "front"


@dataclass(frozen=True, slots=True)
class Node:
    """One running process and what its ready line said."""

    role: str
    stem: str
    url: str
    process: trio.Process


@dataclass(frozen=True, slots=True)
class Plan:
    """A federation's files, written but not started. A node's stem names its files, its process and, here, itself."""

    directory: Path
    logs: tuple[str, ...]
    ports: Mapping[str, int]

    def url(self, stem: str) -> str:
        """Where a node serves, or will."""
        return f"http://127.0.0.1:{self.ports[stem]}"

    def vkey_file(self, accused: str) -> str | None:
        """The file, in the directory, that holds this vkey."""
        files = sorted(self.directory.glob("*.vkey"))
        return next((file.name for file in files if file.read_text().strip() == accused), None)


def log_stem(scenario: str) -> str:
    """What the log of a scenario is called here."""
    return f"log-{scenario}"


def origin_of(scenario: str) -> str:
    """What the log of a scenario calls itself."""
    return f"log.example/{scenario}"


def monitor_name(stem: str) -> str:
    """What a monitor calls itself."""
    return f"monitor.example/{stem}"


def write_plan(directory: Path, scenarios: Sequence[str]) -> Plan:
    """Make keys, policies and every node's configuration in an empty directory."""
    stems = [*map(log_stem, scenarios), *WITNESSES, *MONITORS, LIAR, FRONT]
    plan = Plan(directory, tuple(scenarios), dict(zip(stems, _free_ports(len(stems)), strict=True)))
    logs = {name: _two_keys(directory, log_stem(name), origin_of(name), KeyType.ED25519) for name in scenarios}
    witnesses = {
        stem: _two_keys(directory, stem, f"witness.example/{stem}", KeyType.COSIGNATURE_ED25519) for stem in WITNESSES
    }
    peers = {stem: _monitor_keys(directory, stem) for stem in (*MONITORS, LIAR)}
    log_vkeys = [vkey for vkeys in logs.values() for vkey in vkeys]
    files = {
        "policy.txt": _policy(plan, log_vkeys, witnesses),
        "monitors.txt": _monitors_policy(plan, log_vkeys, peers),
        "front.json": _front_config(plan),
        f"{LIAR}.json": _liar_config(plan, peers),
        **{f"{log_stem(name)}.toml": _log_config(plan, name) for name in scenarios},
        **{f"{stem}.toml": _witness_config(plan, stem, log_vkeys) for stem in WITNESSES},
        **{f"{stem}.toml": _monitor_config(plan, stem, peers) for stem in MONITORS},
    }
    for name, text in files.items():
        (directory / name).write_text(text)
    return plan


def _two_keys(directory: Path, stem: str, name: str, ed25519: KeyType) -> list[str]:
    keys = ((f"{stem}-ed25519", ed25519), (f"{stem}-mldsa44", KeyType.COSIGNATURE_MLDSA44))
    return [_key(directory, file, name, key_type) for file, key_type in keys]


def _monitor_keys(directory: Path, stem: str) -> tuple[str, str]:
    name = monitor_name(stem)
    return (
        _key(directory, f"{stem}-peer", name, KeyType.ED25519),
        _key(directory, f"{stem}-observer", f"{name}-observer", KeyType.COSIGNATURE_ED25519),
    )


def _key(directory: Path, stem: str, name: str, key_type: KeyType) -> str:
    """Make a key file and, beside it, a file with the vkey, which is returned."""
    key = new_signer_key(name, key_type)
    write_signer_key(directory / f"{stem}.key", key)
    vkey = key.verifier_key.format()
    (directory / f"{stem}.vkey").write_text(vkey + "\n")
    return vkey


def _policy(plan: Plan, logs: Iterable[str], witnesses: Mapping[str, Sequence[str]]) -> str:
    lines = [f"log {vkey}" for vkey in logs]
    for stem, vkeys in witnesses.items():
        names = [f"{stem}-ed25519", f"{stem}-mldsa44"]
        lines += [f"witness {name} {vkey} {plan.url(stem)}" for name, vkey in zip(names, vkeys, strict=True)]
        # Two keys of one operator are one party: either of its lines will do.
        lines.append(f"group {stem} any {' '.join(names)}")
    lines += [f"group witnesses 2 {' '.join(witnesses)}", "quorum witnesses"]
    return "\n".join(lines) + "\n"


def _monitors_policy(plan: Plan, logs: Iterable[str], peers: Mapping[str, tuple[str, str]]) -> str:
    """Whom a client asks: the observers of the three monitors, of which two have to agree."""
    lines = [f"log {vkey}" for vkey in logs]
    lines += [f"witness {stem} {peers[stem][1]} {plan.url(stem)}" for stem in MONITORS]
    lines += [f"group monitors 2 {' '.join(MONITORS)}", "quorum monitors"]
    return "\n".join(lines) + "\n"


def _log_config(plan: Plan, scenario: str) -> str:
    stem = log_stem(scenario)
    return f"""\
origin = "{origin_of(scenario)}"
listen = "127.0.0.1:{plan.ports[stem]}"
operator_listen = "127.0.0.1:0"
data = "{stem}-data"
register = "{stem}-register"
keys = ["{stem}-ed25519.key", "{stem}-mldsa44.key"]
policy = "policy.txt"
publish_interval = 0.5
"""


def _witness_config(plan: Plan, stem: str, logs: Iterable[str]) -> str:
    head = f"""\
name = "witness.example/{stem}"
listen = "127.0.0.1:{plan.ports[stem]}"
operator_listen = "127.0.0.1:0"
data = "{stem}-data"
register = "{stem}-register"
keys = ["{stem}-ed25519.key", "{stem}-mldsa44.key"]
"""
    return head + "".join(f'\n[[log]]\nvkey = "{vkey}"\n' for vkey in logs)


def _monitor_config(plan: Plan, stem: str, peers: Mapping[str, tuple[str, str]]) -> str:
    head = f"""\
name = "{monitor_name(stem)}"
listen = "127.0.0.1:{plan.ports[stem]}"
operator_listen = "127.0.0.1:0"
data = "{stem}-data"
register = "{stem}-register"
peer_key = "{stem}-peer.key"
observer_key = "{stem}-observer.key"
policy = "policy.txt"
poll_interval = 0.5
witness_interval = 2.0
gossip_interval = 1.0
unserved_seconds = 3.0
"""
    logs = (f'\n[[log]]\norigin = "{origin_of(name)}"\nurl = "{_way_to(plan, name, stem)}"\n' for name in plan.logs)
    return head + "".join(logs) + "".join(_peer(plan, other, *peers[other]) for other in peers if other != stem)


def _way_to(plan: Plan, scenario: str, monitor_stem: str) -> str:
    """Where a monitor looks for a log: at the log, except for the one whose way leads through the front."""
    if monitor_stem == DECEIVED:
        return f"{plan.url(FRONT)}/{scenario}/{DECEIVED}"
    return plan.url(log_stem(scenario))


def _peer(plan: Plan, stem: str, vkey: str, observer: str) -> str:
    # The lab's own monitor has no URL: it calls the others, and most of the time it does not run.
    url = f'url = "{plan.url(stem)}"\n' if stem in MONITORS else ""
    return f"""
[[peer]]
name = "{monitor_name(stem)}"
vkey = "{vkey}"
{url}observer = "{observer}"
operator = "Operator of {stem}"
"""


def _front_config(plan: Plan) -> str:
    logs = {
        name: {
            "origin": origin_of(name),
            "url": plan.url(log_stem(name)),
            "keys": [f"{log_stem(name)}-ed25519.key", f"{log_stem(name)}-mldsa44.key"],
        }
        for name in plan.logs
    }
    cosigners = {stem: [f"{stem}-ed25519.key", f"{stem}-mldsa44.key"] for stem in WITNESSES}
    config = {"listen": f"127.0.0.1:{plan.ports[FRONT]}", "logs": logs, "cosigners": cosigners}
    return json.dumps(config, indent=2) + "\n"


def _liar_config(plan: Plan, peers: Mapping[str, tuple[str, str]]) -> str:
    config = {
        "listen": f"127.0.0.1:{plan.ports[LIAR]}",
        "peer_key": f"{LIAR}-peer.key",
        "observer_key": f"{LIAR}-observer.key",
        "peers": {stem: {"vkey": peers[stem][0], "url": plan.url(stem)} for stem in MONITORS},
    }
    return json.dumps(config, indent=2) + "\n"


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now. Held until all are chosen, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


# Processes.


def init(plan: Plan, stem: str) -> None:
    """Do what ``sameview ROLE init`` does."""
    config = plan.directory / f"{stem}.toml"
    match role_of(stem):
        case "log":
            logserver.__main__.init(config)
        case "witness":
            witness.__main__.init(config)
        case "monitor":
            monitor.__main__.init(config)


def role_of(stem: str) -> str:
    """What a node of this stem does."""
    if stem in WITNESSES:
        return "witness"
    if stem in MONITORS:
        return "monitor"
    return {LIAR: "liar", FRONT: "front"}.get(stem, "log")


def stems(plan: Plan) -> list[str]:
    """Everything that has to run before the first scenario, what takes longest first."""
    return [*MONITORS, *map(log_stem, plan.logs), *WITNESSES, FRONT]


@asynccontextmanager
async def running(plan: Plan, wanted: Sequence[str]) -> AsyncIterator[dict[str, Node]]:
    """Make state where it is missing and start processes, all at the same time; stop them all on the way out."""
    started: dict[str, Node] = {}
    async with AsyncExitStack() as stack:
        waiting: dict[str, trio.Process] = {}
        for stem in wanted:
            # One starts while the state of the next is made.
            await trio.to_thread.run_sync(init, plan, stem)
            waiting[stem] = await stack.enter_async_context(_process(plan, stem))
        with trio.move_on_after(START_SECONDS):
            for stem, process in waiting.items():
                url = await _ready_line(process)
                if url is None:
                    break
                started[stem] = Node(role_of(stem), stem, url, process)
        missing = [stem for stem in wanted if stem not in started]
        if missing:
            raise CannotTell(f"{missing[0]} did not start; its last words are in {_log_file(plan, missing[0])}")
        yield started
        await _stop_all(waiting.values())


@asynccontextmanager
async def _process(plan: Plan, stem: str) -> AsyncIterator[trio.Process]:
    """One process, its log in a file of its name; stopped on the way out."""
    with _log_file(plan, stem).open("ab") as log:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", *_command(stem)], cwd=plan.directory, stdout=subprocess.PIPE, stderr=log
        )
    try:
        yield process
    finally:
        await _stop(process)


def _command(stem: str) -> list[str]:
    role = role_of(stem)
    if role in ("front", "liar"):
        return [f"sameview.lab.{role}", "--config", f"{stem}.json"]
    return ["sameview", role, "serve", "--config", f"{stem}.toml"]


def _log_file(plan: Plan, stem: str) -> Path:
    return plan.directory / f"{stem}.log"


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


async def _stop_all(processes: Iterable[trio.Process]) -> None:
    async with trio.open_nursery() as nursery:
        for process in processes:
            nursery.start_soon(_stop, process)


async def _stop(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with trio.move_on_after(STOP_SECONDS):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
