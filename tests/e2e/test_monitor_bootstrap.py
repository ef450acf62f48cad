"""A monitor that joins others late: it begins with what their observers vouch for, heard over real gossip."""

from collections import Counter
from pathlib import Path

from runtime.client import Client
from tests.e2e.monitors import Asker, Place, create, places, running, serving
from tests.fakes_log import FakeLog
from tlog.tiles import EntryBundle

OPERATORS = ("One", "Two", "Three")


def join_late(place: Place, others: list[Place]) -> None:
    """Let a monitor begin with what observers of two operators saw."""
    text = place.config.read_text()
    text = text.replace("[[log]]\n", 'liars = 1\n[[log]]\nstart = "vouched"\n')
    for other, operator in zip(others, OPERATORS, strict=False):
        line = f'observer = "{other.observer.verifier_key}"\n'
        text = text.replace(line, f'{line}operator = "{operator}"\n')
    place.config.write_text(text)


async def test_a_late_monitor_begins_with_the_tree_that_others_vouch_for(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(2048)
    log.publish()
    async with serving(log) as front, Client() as client:
        first, second, late = await places(tmp_path, [front] * 3)
        join_late(late, [first, second])
        for place in (first, second, late):
            await create(place)
        asker = Asker(client)
        async with running(first) as one:
            await asker.wait_for_size(one.url, 2048)
            async with running(late) as three:
                # Others are raised too, and any of them may be the first.
                await asker.wait_until(three.url, "alarms", lambda found: "not-begun" in {one["kind"] for one in found})
                log.asked.clear()
                async with running(second) as two:
                    await asker.wait_for_size(two.url, 2048)
                    head = await asker.wait_for_size(three.url, 2048)
                    read = [path for path in log.asked if path.startswith("tile/entries/")]
                    log.add(300)
                    log.publish()
                    for node in (one, two, three):
                        await asker.wait_for_size(node.url, 2348)
    assert head["size"] == 2048
    # The second one reads each bundle, and the late one, which need not wait until we have looked, the last.
    assert Counter(EntryBundle.parse(path).index for path in read) == Counter([*range(8), 7])
