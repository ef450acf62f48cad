"""Many monitors as processes, each the peer of all others, and a log as a process: their files, starts and ends.

Every pair of monitors reaches each other over links of its own, whose ports are those of a bad network.
"""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

import logserver.__main__
from monitor.__main__ import _init
from monitor.config import read_settings
from runtime.keyfiles import write_signer_key
from tests.fakes_log import FakeLog, policy, signer
from tlog.keys import KeyType, SignerKey
from tlog.policy import Policy

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300.0  # for all processes together, on two processors that others use too
STOP_SECONDS = 20.0
READY_BYTES = 65536
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Member:
    """One monitor: where its files are, and its keys."""

    folder: Path
    name: str
    peer: SignerKey
    observer: SignerKey

    @property
    def config(self) -> Path:
        return self.folder / "monitor.toml"


def members(folder: Path, number_of: int) -> list[Member]:
    """Make folders and keys for so many monitors."""
    made = []
    for number in range(1, number_of + 1):
        name = f"m{number}"
        own = folder / name
        own.mkdir()
        observer = signer(f"{name}-observer", KeyType.COSIGNATURE_ED25519)
        made.append(Member(own, name, signer(name), observer))
        write_signer_key(own / "peer.key", made[-1].peer)
        write_signer_key(own / "observer.key", observer)
    return made


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a monitor looks at its logs, and how often it begins an exchange."""

    poll_seconds: float
    gossip_seconds: float


def configure(
    member: Member, logs: Sequence[tuple[FakeLog, str]], others: Mapping[str, tuple[Member, str]], pace: Pace
) -> None:
    """Write a monitor's configuration: its logs and their URLs, the others and the links to them."""
    (member.folder / "policy.txt").write_bytes(_policy([log for log, _ in logs]).format())
    text = (
        f'name = "{member.name}"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\n'
        'data = "data"\nregister = "register"\npeer_key = "peer.key"\nobserver_key = "observer.key"\n'
        f'policy = "policy.txt"\npoll_interval = {pace.poll_seconds}\ngossip_interval = {pace.gossip_seconds}\n'
    )
    text += "".join(f'[[log]]\norigin = "{log.origin}"\nurl = "{url}"\n' for log, url in logs)
    text += "".join(
        f'[[peer]]\nname = "{name}"\nvkey = "{other.peer.verifier_key}"\nurl = "{url}"\n'
        f'observer = "{other.observer.verifier_key}"\noperator = "{name}"\n'
        for name, (other, url) in others.items()
    )
    member.config.write_text(text)


def _policy(logs: Sequence[FakeLog]) -> Policy:
    policies = [policy(log.key, witnesses=(), threshold=None) for log in logs]
    return Policy(tuple(line for one in policies for line in one.logs), (), (), None)


async def init(member: Member) -> None:
    """What ``monitor init`` does."""
    await _init(read_settings(member.config))


def configure_log(folder: Path, log: FakeLog) -> Path:
    """Write the files of a real log with this one's origin and key."""
    folder.mkdir()
    write_signer_key(folder / "log.key", log.key)
    config = folder / "log.toml"
    config.write_text(
        f'origin = "{log.origin}"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\n'
        'data = "data"\nregister = "register"\nkeys = ["log.key"]\npublish_interval = 0.2\n'
    )
    return config


async def init_log(config: Path) -> None:
    """What ``log init`` does."""
    await trio.to_thread.run_sync(logserver.__main__.init, config)


@dataclass(frozen=True, slots=True)
class Running:
    """A process that serves."""

    name: str
    url: str
    process: trio.Process

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def processor_seconds(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> int:
        """Bytes of memory that it holds now."""
        return self._status("VmRSS")

    def peak_memory(self) -> int:
        """The most that it ever held."""
        return self._status("VmHWM")

    def _status(self, what: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


@asynccontextmanager
async def running(configs: Mapping[str, tuple[str, Path]]) -> AsyncIterator[dict[str, Running]]:
    """Run ``sameview <role> serve`` for each name, all at the same time; end them on the way out, by their ids."""
    async with AsyncExitStack() as stack:
        started = {
            name: await stack.enter_async_context(_process(name, role, config))
            for name, (role, config) in configs.items()
        }
        with trio.fail_after(START_SECONDS):
            found = {name: Running(name, await _ready_url(process), process) for name, process in started.items()}
        yield found


@asynccontextmanager
async def _process(name: str, role: str, config: Path) -> AsyncIterator[trio.Process]:
    command = [sys.executable, "-m", "sameview", role, "serve", "--config", str(config)]
    with (config.parent / f"{name}.log").open("ab") as log:
        process = await trio.lowlevel.open_process(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(STOP_SECONDS):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _ready_url(process: trio.Process) -> str:
    if process.stdout is None:
        raise AssertionError("the process has a pipe")
    line = b""
    while not line.endswith(b"\n"):
        data = await process.stdout.receive_some(READY_BYTES)
        if not data:
            raise RuntimeError("a process ended before it was ready: its log file says why")
        line += data
    return str(json.loads(line)["url"])
