"""A witness that dies at any moment, under load and in the hands of a log that lies, never contradicts itself."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from typing_extensions import override

from runtime.database import DatabaseFailed
from runtime.database_register import DatabaseRegister
from runtime.errors import leaves
from runtime.keyfiles import write_signer_key
from tests.fakes import FakeClock
from tests.forks import Tree
from tests.forks import leaves as branch
from tests.keys import log_key
from tests.nodes import make_witness, witness_settings
from tests.repo.checkout import ROOT
from tests.witness_logs import KEYS, LOGS, NAME, ORIGIN, submission
from tests.witness_record import Record
from tlog.advance import Advance, Refresh, Stale, Statement
from tlog.keys import SignerKey
from witness import conflicts, history
from witness.__main__ import Witness, opened
from witness.copies import PublicCopies
from witness.cosigner import Answer, Cosigned, OnHold
from witness.keyring import Keyring

LEAVES = 8192
TREES = Tree(branch(LEAVES)), Tree(branch(LEAVES, "fork", common=3))
LOG_KEYS = [log_key(f"log.example/{number}", seed=number) for number in range(1, 4)]


class Load:
    """A log that signs two trees, and the requests it makes; both grow from what the witness says it has."""

    def __init__(self, key: SignerKey, random: Random, record: Record) -> None:
        self.key = key
        self.record = record
        self._random = random
        self._size = 0

    def request(self) -> bytes:
        """A request from the size that we think the witness has."""
        tree = TREES[self._random.random() < 0.2]
        new = min(self._size + self._random.choice((0, 0, 1, 2)), LEAVES)
        return submission(self._size, new, tree, origin=self.key.name, key=self.key)

    def answered(self, request: bytes, status: int, body: bytes) -> None:
        """Learn from an answer."""
        if status == 200:
            self.record.add(request, body)
            self._size = self.record.largest(self.key.name)
        elif status == 409:
            self._size = int(body)


# Dying between named steps, inside this process.


class DiedError(Exception):
    """The process would be gone now."""


Steps = Callable[[pytest.MonkeyPatch, Callable[[], None]], None]


def before(owner: object, name: str) -> Steps:
    """Die before an asynchronous step."""

    def install(patch: pytest.MonkeyPatch, die: Callable[[], None]) -> None:
        step = getattr(owner, name)

        async def stepping(*arguments: Any) -> Any:
            die()
            return await step(*arguments)

        patch.setattr(owner, name, stepping)

    return install


def after(owner: object, name: str) -> Steps:
    """Die after an asynchronous step."""

    def install(patch: pytest.MonkeyPatch, die: Callable[[], None]) -> None:
        step = getattr(owner, name)

        async def stepping(*arguments: Any) -> Any:
            result = await step(*arguments)
            die()
            return result

        patch.setattr(owner, name, stepping)

    return install


def around_write(written: int) -> Steps:
    """Die when so many bytes of the second place's slot are written."""

    def install(patch: pytest.MonkeyPatch, die: Callable[[], None]) -> None:
        pwrite = os.pwrite

        def writing(descriptor: int, data: bytes, offset: int) -> int:
            try:
                die()
            except DiedError:
                pwrite(descriptor, data[:written], offset)
                raise
            return pwrite(descriptor, data, offset)

        patch.setattr(os, "pwrite", writing)

    return install


def after_publishing(patch: pytest.MonkeyPatch, die: Callable[[], None]) -> None:
    publish = PublicCopies.publish

    def publishing(copies: PublicCopies, statement: Statement, note: bytes, lines: bytes) -> None:
        publish(copies, statement, note, lines)
        die()

    patch.setattr(PublicCopies, "publish", publishing)


STEPS: dict[str, Steps] = {
    "before the swap": before(DatabaseRegister, "_count"),
    "within the transaction": after(DatabaseRegister, "_count"),
    "after the commit": around_write(0),
    "in the second place": around_write(30),
    "after the second place": around_write(4096),
    "before signing": before(Keyring, "sign"),
    "after signing": after(Keyring, "sign"),
    "after publishing": after_publishing,
    "before keeping a conflict": before(conflicts, "add_conflict"),
    "after keeping a conflict": after(conflicts, "add_conflict"),
    "before saving cosignatures": before(history, "write_cosignatures"),
}


OFTEN = set(STEPS) - {"before saving cosignatures"}  # which comes once, at the end


@contextmanager
def dying(step: str, at: int) -> Iterator[None]:
    """Die when the step is reached for the n-th time, and at every time after that."""
    count = 0

    def die() -> None:
        nonlocal count
        count += 1
        if count >= at:
            raise DiedError

    with pytest.MonkeyPatch.context() as patch:
        STEPS[step](patch, die)
        yield


async def run_until_it_dies(directory: Path, clock: FakeClock, loads: list[Load], step: str, at: int) -> bool:
    """Whether the witness died, and not of anything else."""
    logs = {key.name: [key.verifier_key] for key in LOG_KEYS}
    try:
        async with opened(witness_settings(directory, logs, KEYS), clock) as ours:
            for load in loads:
                assert await size_of(ours, load.key.name) >= load.record.largest(load.key.name)
            with dying(step, at):
                async with trio.open_nursery() as nursery:
                    for load in loads * 2:
                        nursery.start_soon(submit, ours, load)
                await ours.history.save()
    except BaseException as error:
        if not all(isinstance(leaf, DiedError | DatabaseFailed) for leaf in leaves(error)):
            raise
        return True
    return False


async def size_of(ours: Witness, origin: str) -> int:
    known = await ours.register.latest(origin)
    return 0 if known is None else known.value.size


async def submit(ours: Witness, load: Load) -> None:
    for _ in range(6):
        request = load.request()
        answer = await ours.cosigner.add_checkpoint(request)
        if isinstance(answer, Cosigned):
            load.answered(request, 200, answer.lines)
        elif isinstance(answer, Stale):
            load.answered(request, 409, b"%d" % answer.size)


@pytest.mark.parametrize("step", STEPS)
async def test_dying_at_a_step_contradicts_nothing_that_was_answered(step: str, tmp_path: Path) -> None:
    """SPEC: W-21, W-27"""
    random, clock, record = Random(step), FakeClock(), Record(*TREES)
    loads = [Load(key, random, record) for key in LOG_KEYS]
    await make_witness(tmp_path)
    deaths = 0
    for _ in range(20):
        deaths += await run_until_it_dies(tmp_path, clock, loads, step, random.randrange(1, 5) if step in OFTEN else 1)
        clock.advance(random.randrange(-5, 10))
    record.verify()
    assert deaths >= 10
    assert record.answers >= 10


# Real processes, killed.


class Killed:
    """A witness whose process is started and killed."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = 0

    def start(self) -> str:
        """Start it; its URL."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"start\n")
        self._process.stdin.flush()
        while True:
            line = self._line()
            self.pid = line.get("pid", self.pid)
            if line.get("event") == "ready":
                return str(line["url"])
            assert "ended" not in line, "the witness did not start"

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        while "ended" not in self._line():
            pass

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))


@asynccontextmanager
async def killable(directory: Path) -> AsyncIterator[Killed]:
    for number, key in enumerate(KEYS):
        write_signer_key(directory / f"{number}.key", key)
    logs = "".join(f'[[log]]\nvkey = "{key.verifier_key.format()}"\n' for key in LOG_KEYS)
    (directory / "w.toml").write_text(
        f'name = "{NAME}"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\ndata = "data"\n'
        f'register = "register"\nkeys = ["0.key", "1.key"]\n{logs}'
    )
    await make_witness(directory)
    process = subprocess.Popen(  # noqa: ASYNC220 # it starts while nothing else runs
        [sys.executable, "-m", "tests.e2e.witness_forks", str(directory / "w.toml")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Killed(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


async def kill_under_load(ours: Killed, loads: list[Load], random: Random) -> None:
    port = int(ours.start().rpartition(":")[2])
    answers, enough = 0, trio.Event()
    wanted = random.randrange(1, 25)
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        _, listed = await asked(stream, b"GET /v1/logs") or (0, b"")
    for log in json.loads(listed)["logs"]:
        assert (log["size"] or 0) >= loads[0].record.largest(log["origin"])

    async def bother(load: Load) -> None:
        nonlocal answers
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            while (answer := await asked(stream, b"POST /add-checkpoint", request := load.request())) is not None:
                load.answered(request, *answer)
                answers += 1
                if answers >= wanted:
                    enough.set()

    async with trio.open_nursery() as nursery:
        for load in loads * 3:
            nursery.start_soon(bother, load)
        await enough.wait()
        await trio.sleep(random.random() * 0.005)  # any moment of a request, not only that of an answer
        ours.kill()


async def asked(stream: trio.SocketStream, what: bytes, body: bytes = b"") -> tuple[int, bytes] | None:
    """Status and body of one answer on a kept connection; None if the server is gone."""
    try:
        await stream.send_all(b"%s HTTP/1.1\r\nhost: w\r\ncontent-length: %d\r\n\r\n%s" % (what, len(body), body))
        head, rest = b"", b""
        while not head:
            received = await stream.receive_some()
            rest += received
            if not received:
                return None
            if b"\r\n\r\n" in rest:
                head, _, rest = rest.partition(b"\r\n\r\n")
        [length] = re.findall(rb"\ncontent-length: (\d+)", head.lower())
        while len(rest) < int(length):
            received = await stream.receive_some()
            rest += received
            if not received:
                return None
    except trio.BrokenResourceError:
        return None
    return int(head.split(b" ")[1]), rest


async def test_killed_processes_contradict_nothing_that_was_answered(tmp_path: Path) -> None:
    """SPEC: W-27"""
    kills = int(os.environ.get("SAMEVIEW_TEST_KILLS", "30"))  # before a release: 500, which take minutes
    random, record = Random(kills), Record(*TREES)
    loads = [Load(key, random, record) for key in LOG_KEYS]
    async with killable(tmp_path) as ours:
        for _ in range(kills):
            await kill_under_load(ours, loads, random)
    record.verify()
    assert record.answers > kills


# Clocks, crowds, and disks.


class JumpingClock(FakeClock):
    """A clock that is never right twice, and never wrong by more than ten seconds."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    @override
    def now(self) -> int:
        return super().now() + self._random.randrange(-10, 11)


@pytest.mark.parametrize("seed", range(3))
async def test_a_jumping_clock_contradicts_nothing_under_overlapping_submissions(seed: int, tmp_path: Path) -> None:
    random, record = Random(seed), Record(*TREES)
    loads = [Load(key, random, record) for key in LOG_KEYS]
    logs = {key.name: [key.verifier_key] for key in LOG_KEYS}
    await make_witness(tmp_path)
    async with (
        opened(witness_settings(tmp_path, logs, KEYS), JumpingClock(random)) as ours,
        trio.open_nursery() as all_,
    ):
        for load in loads * 5:
            all_.start_soon(submit, ours, load)
    record.verify()
    assert record.answers > 20


async def test_of_200_submissions_at_once_each_size_advances_once(tmp_path: Path) -> None:
    """SPEC: W-13, W-27"""
    await make_witness(tmp_path)
    advanced: list[int] = []
    answers: list[Answer] = []
    async with opened(witness_settings(tmp_path, LOGS, KEYS[:1]), FakeClock()) as ours:
        advance = ours.register.advance

        async def counting(known: Statement | None, decision: Advance | Refresh, record: Any = None) -> Any:
            answer = await advance(known, decision, record)
            if isinstance(decision, Advance) and type(answer).__name__ == "Persisted":
                advanced.append(decision.statement.size)
            return answer

        async def ask(old: int) -> None:
            while True:
                answer = await ours.cosigner.add_checkpoint(submission(old, old + 1))
                answers.append(answer)
                if not isinstance(answer, Stale) or answer.size > old:
                    return
                await trio.lowlevel.checkpoint()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ours.register, "advance", counting)
            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(ask, number % 10)
        assert sorted(advanced) == list(range(1, 11))
        assert await size_of(ours, ORIGIN) == 10
    assert all(isinstance(answer, Cosigned | Stale) for answer in answers)


async def test_a_full_disk_signs_nothing_and_service_resumes_when_there_is_room(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    await fails_and_resumes(tmp_path, OSError(28, "No space left on device"))


async def test_a_read_only_disk_signs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await make_witness(tmp_path)

    def refuse(path: Path, flags: int) -> int:
        raise OSError(30, "Read-only file system")

    async with opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours:
        with monkeypatch.context() as patch:
            patch.setattr("runtime.statecounter.os.open", refuse)
            assert isinstance(await ours.cosigner.add_checkpoint(submission(0, 5)), OnHold)
        # The disk is well again; what is on it is not known.
        assert isinstance(await ours.cosigner.add_checkpoint(submission(0, 5)), OnHold)
        with pytest.raises(DatabaseFailed):
            await ours.database.wait_failed()
    async with opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours:
        assert await ours.cosigner.add_checkpoint(submission(0, 6)) == Stale(5)
        assert isinstance(await ours.cosigner.add_checkpoint(submission(5, 6)), Cosigned)


async def test_a_database_that_fails_twice_in_a_row_signs_nothing_in_between(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    for _ in range(2):
        await fails_and_resumes(tmp_path, OSError(5, "Input/output error"))


async def fails_and_resumes(directory: Path, error: OSError) -> None:
    """Fail in a transaction, twice in a row over a restart, and cosign after the next one."""

    async def fail(*_: object) -> None:
        raise error

    before = -1
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("witness.__main__.write_accepted", fail)
            async with opened(witness_settings(directory, LOGS, KEYS), FakeClock()) as ours:
                before = await size_of(ours, ORIGIN)
                for more in (3, 4):
                    answer = await ours.cosigner.add_checkpoint(submission(before, before + more))
                    assert isinstance(answer, OnHold)
                    assert str(error.strerror) in answer.reason
    async with opened(witness_settings(directory, LOGS, KEYS), FakeClock()) as ours:
        assert isinstance(await ours.cosigner.add_checkpoint(submission(before, before + 4)), Cosigned)
