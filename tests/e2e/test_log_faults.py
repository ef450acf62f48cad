"""A log whose system calls fail, or in which it dies, at any of them: strace makes the kernel answer so.

The calls are those that make something durable. Each fault hits one of them after some have worked, while clients add
entries; afterwards everything that was promised is there. How often is set by ``SAMEVIEW_TEST_FAULTS``.
"""

import itertools
import os
import random
import shutil
import signal
import subprocess
from itertools import count
from pathlib import Path

import pytest
import trio

from runtime.client import Client, FetchError
from tests.e2e.log_process import KEY, configure, init, running
from tests.e2e.test_log_kills import check_promises
from tests.keys import witness_key
from tests.served import served
from tests.witnesses import ScriptedWitness, cosign, policy_of

STRACE = shutil.which("strace")
ROUNDS = int(os.environ.get("SAMEVIEW_TEST_FAULTS", "1"))
CLIENTS = 4
SEED = 13
LOAD_SECONDS = 1.0
AT_MOST = 40  # calls of a thread that work before the fault; the busiest make some hundred in the time

CALLS = {
    "open": "openat",
    "write": "write,pwrite64",
    "sync": "fsync,fdatasync",
    "rename": "rename,renameat,renameat2",
}
FAULTS = {
    "an error": "error=EIO:when={at}",
    "two errors in a row": "error=EIO:when={at}..{next}",
    "no space": "error=ENOSPC:when={at}+",
    "death": "signal=KILL:when={at}",
}


@pytest.mark.slow
async def test_a_log_keeps_what_it_promised_whatever_call_fails(tmp_path: Path) -> None:
    if STRACE is None:
        pytest.skip("strace is not installed: apt-get install strace")
    witness = ScriptedWitness(witness_key(), cosign)
    chance = random.Random(SEED)
    cases = [*itertools.product(CALLS.values(), FAULTS.values())] * ROUNDS
    chance.shuffle(cases)
    async with served(witness.app()) as asked:
        witness.url = asked.url
        configure(tmp_path, policy_of(KEY, [witness]), "publish_interval = 0.01\n")
        await init(tmp_path)
        acknowledged: dict[bytes, int] = {}
        names = count()
        for calls, fault in cases:
            at = chance.randrange(1, AT_MOST)
            print(calls, fault, at)
            await suffer(tmp_path, acknowledged, names, calls, fault.format(at=at, next=at + 1))
        assert acknowledged
        await check_promises(tmp_path, acknowledged, witness)


async def suffer(directory: Path, acknowledged: dict[bytes, int], names: "count[int]", calls: str, fault: str) -> None:
    """Serve and be filled while the calls fail; then die, if that has not happened yet."""
    async with running(directory) as (url, process), Client() as client:
        tracer = await attach(process.pid, calls, fault)
        try:
            with trio.move_on_after(LOAD_SECONDS):
                async with trio.open_nursery() as nursery:
                    for _ in range(CLIENTS):
                        nursery.start_soon(fill, client, url, acknowledged, names)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await tracer.wait()


async def attach(pid: int, calls: str, fault: str) -> trio.Process:
    """Let strace come between the process and the kernel; returns when it does."""
    command = [str(STRACE), "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    tracer = await trio.lowlevel.open_process([*command, "-p", str(pid)], stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    said = await tracer.stderr.receive_some(4096)
    assert b" attached" in said, said
    return tracer


async def fill(client: Client, url: str, acknowledged: dict[bytes, int], names: "count[int]") -> None:
    while True:
        entry = b"entry %d" % next(names)
        try:
            answer = await client.fetch("POST", f"{url}/add", body=entry, cap=10_000, seconds=30)
        except FetchError:
            return  # it promised nothing
        if answer.status == 200:
            acknowledged[entry] = int(answer.body)
        else:
            await trio.sleep(0.05)  # its disk is unwell, and it says so
