"""What an operator's mishaps do to a log: a second process, a copy that is started, a register of another log."""

import shutil
import signal
from pathlib import Path

import trio

from runtime.client import Client
from tests.e2e.log_process import KEY, command, configure, init, running
from tests.keys import log_key
from tlog.signed_checkpoint import open_checkpoint

FAST = "publish_interval = 0.01\n"


async def refused(directory: Path) -> bytes:
    """The sentence with which a process ends that must not serve."""
    with trio.fail_after(60):
        ended = await trio.run_process(
            command(directory, "serve"), capture_stdout=True, capture_stderr=True, check=False
        )
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"Traceback" not in ended.stderr
    return ended.stderr


async def filled(client: Client, url: str, entry: bytes, index: int) -> None:
    """Add an entry, and wait until a checkpoint covers it."""
    answer = await client.fetch("POST", f"{url}/add", body=entry, cap=100, seconds=30)
    assert answer.body == b"%d\n" % index
    proof = await client.fetch("GET", f"{url}/v1/proofs/entry/{index}?wait=20", cap=100_000, seconds=30)
    assert proof.status == 200


async def test_a_second_process_on_the_same_directory_does_not_start(tmp_path: Path) -> None:
    configure(tmp_path, more=FAST)
    await init(tmp_path)
    async with running(tmp_path) as (url, _), Client() as client:
        assert b"in use" in await refused(tmp_path)
        await filled(client, url, b"a", 0)


async def test_a_copy_that_is_started_while_the_original_lives_does_not_get_the_register(tmp_path: Path) -> None:
    configure(tmp_path, more=FAST)
    await init(tmp_path)
    async with running(tmp_path) as (url, _), Client() as client:
        await filled(client, url, b"a", 0)
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
        configuration = (tmp_path / "log.toml").read_text()
        (tmp_path / "log.toml").write_text(configuration.replace('data = "data"', 'data = "copy"'))
        assert b"in use" in await refused(tmp_path)
        await filled(client, url, b"b", 1)
    # When the original has gone, the copy is an old one: it lacks what was signed since.
    assert b"it is an old copy" in await refused(tmp_path)


async def test_a_copy_that_was_started_in_between_ends_the_original(tmp_path: Path) -> None:
    configure(tmp_path, more=FAST + "refresh_interval = 0.5\n")  # then it states something again, and learns it
    await init(tmp_path)
    async with running(tmp_path) as (url, first), Client() as client:
        await filled(client, url, b"a", 0)
        first.send_signal(signal.SIGSTOP)
        # A new machine that mounts the same disks; locks of the old one mean nothing to it.
        for folder in ("data", "register"):
            (tmp_path / folder / "lock").unlink()
        async with running(tmp_path) as (other, _):
            await filled(client, other, b"b", 1)
            first.send_signal(signal.SIGCONT)
            with trio.fail_after(60):
                assert await first.wait() != 0
    note = (tmp_path / "data" / "public" / "checkpoint").read_bytes()
    assert open_checkpoint(note, [KEY.verifier_key]).size >= 2
    assert "run only one" in (tmp_path / "log.log").read_text()


async def test_the_register_of_another_log_is_refused(tmp_path: Path) -> None:
    for name, key in (("one", KEY), ("two", log_key("log.example/two"))):
        (tmp_path / name).mkdir()
        configure(tmp_path / name, more=FAST, key=key)
        await init(tmp_path / name)
    shutil.rmtree(tmp_path / "one" / "register")
    shutil.copytree(tmp_path / "two" / "register", tmp_path / "one" / "register")
    assert b"belongs to another origin" in await refused(tmp_path / "one")


async def test_a_register_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    configure(tmp_path, more=FAST)
    await init(tmp_path)
    shutil.rmtree(tmp_path / "register")
    assert b"it must not sign again" in await refused(tmp_path)
