"""Evidence that a stranger brings to one monitor as it runs reaches the others, and stays."""

from pathlib import Path
from typing import Any

import msgspec

from runtime.client import Client
from tests.e2e.monitors import Asker, create, places, running, serving
from tests.fakes_log import FakeLog
from tlog.evidence import same_size
from tlog.signed_checkpoint import open_checkpoint


async def test_evidence_brought_to_one_monitor_convicts_at_all_of_them_and_after_a_restart(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(12)
    log.publish()
    twin = log.fork(8)
    twin.add(4, "twin")
    one, other = (open_checkpoint(each.sign(12, ()), [log.key.verifier_key]) for each in (log, twin))
    bundle = same_size(one, other).format()
    async with serving(log) as front, Client() as client:
        found = await places(tmp_path, [front, front])
        for place in found:
            await create(place)
        asker = Asker(client)
        async with running(found[0]) as first, running(found[1]) as second:
            for node in (first, second):
                await asker.wait_for_size(node.url, 12)
            brought = await client.fetch("POST", f"{first.url}/v1/evidence", body=bundle, cap=10_000, seconds=20)
            answer: dict[str, Any] = msgspec.json.decode(brought.body)
            listed = await asker.wait_until(second.url, "evidence", bool)
            fetched = await client.fetch("GET", second.url + listed[0]["bundle"], cap=1_000_000, seconds=20)
            polled = await client.fetch("GET", f"{second.url}/v1/distrust", cap=10_000, seconds=20)
        async with running(found[1]) as second:
            again = await asker.list(second.url, "evidence")
            headers = {"if-none-match": polled.headers["etag"]}
            url = f"{second.url}/v1/distrust"
            polled_again = await client.fetch("GET", url, cap=10_000, seconds=20, headers=headers)
            heads = await asker.list(second.url, "heads")
    assert (brought.status, answer["kept"], answer["id"]) == (200, True, listed[0]["id"])
    assert fetched.body == bundle
    assert msgspec.json.decode(polled.body)["logs"] == [
        {"origin": log.origin, "since_size": 12, "evidence": [answer["id"]]}
    ]
    assert (again, polled_again.status, heads[0]["convicted"]) == (listed, 304, True)
