"""A log process whose disk gets full, on a real mount: it ends with a sentence and has lost nothing it acknowledged."""

from itertools import count
from pathlib import Path

import pytest

from runtime.client import Client, FetchError
from runtime.errors import OUR_FAULT
from tests.disks import BLOCK, small_disk
from tests.e2e.log_process import configure, init, running
from tests.e2e.test_log_kills import stored_entries, wait_published

LEFT = 64 * BLOCK  # some hundred entries fit in it


@pytest.mark.slow
async def test_a_full_disk_ends_a_log_and_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    configure(tmp_path, more="publish_interval = 0.01\n")
    acknowledged: dict[bytes, int] = {}
    with small_disk(tmp_path / "data", "4m") as disk:
        await init(tmp_path)
        async with running(tmp_path) as (url, process), Client() as client:
            disk.fill(leaving=LEFT)
            for number in count():
                entry = b"%d" % number + bytes(1000)
                try:
                    answer = await client.fetch("POST", f"{url}/add", body=entry, cap=10_000, seconds=30)
                except FetchError:
                    break  # it has ended
                if answer.status == 200:
                    acknowledged[entry] = int(answer.body)
            await process.wait()
        assert acknowledged
        told = (tmp_path / "log.log").read_text()
        assert process.returncode == OUR_FAULT
        assert "stopped: start it again when the disk is well" in told
        assert "the database or its disk failed (database or disk is full)" in told
        assert "Traceback" not in told
        disk.free()
        published = await wait_published(tmp_path, acknowledged)
        entries = stored_entries(tmp_path, published.size)
        assert {entry: index for entry, index in acknowledged.items() if entries[index] != entry} == {}
