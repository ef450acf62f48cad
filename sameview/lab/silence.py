"""The scenario in which witnesses fall silent: nobody lies, and still a monitor can claim less with every second.

A monitor says up to when it can prove that nobody who follows the policy was shown anything else. That rests on what
the witnesses state, so it moves while enough of them do, and stops when they do not.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import trio

from gossip.core import origin_id
from runtime.clock import SystemClock
from runtime.wording import utc
from sameview.client import add_batches
from sameview.lab.federation import MONITORS, WITNESSES
from sameview.lab.stage import Stage, source_files

AUDITOR = MONITORS[0]
SILENT = WITNESSES[:2]
LOOKS = 3
ENTRIES = 4  # between two looks
SECONDS_BETWEEN = 1.0  # the watermark counts whole seconds
SILENCE_SECONDS = 3.0  # without news: longer than what was under way takes to arrive
MAX_AGE = 2  # what a client may ask for that wants a claim about just now


class Seen(msgspec.Struct):
    """What a monitor says of one witness line."""

    name: str
    time: int | None
    stated: int | None
    counts: bool


class Mark(msgspec.Struct):
    """What a monitor can prove of a log."""

    time: int | None
    size: int
    liars: int
    witnesses: list[Seen]
    certificate: str | None
    at: int = 0
    """When it was asked for."""

    def stated(self, witness: str) -> int:
        """When a witness stated anything last, by any of its keys."""
        return max(one.stated or 0 for one in self.witnesses if one.name.startswith(f"{witness}-"))


async def silent_witnesses(stage: Stage) -> None:
    stage.step("The log grows, the witnesses cosign, and with every cosignature the monitor can prove a little more")
    marks = [await _mark_after(stage, 0)]
    for _ in range(LOOKS - 1):
        await stage.wait_verified(await stage.grow(ENTRIES), (AUDITOR,))
        await trio.sleep(SECONDS_BETWEEN)
        marks.append(await _mark_after(stage, marks[-1].time or 0))
    _show(stage, marks)
    stage.check("the watermark moves: up to then, nobody who follows the policy saw anything else", True)
    await _verified(stage, marks[-1])
    with _silenced(stage):
        held_back, stopped = await _stands_still(stage)
    stage.step("They are back")
    await stage.wait_verified(held_back, (AUDITOR,))
    mark = await _mark_after(stage, stopped)
    _show(stage, [mark])
    stage.check("the watermark moves on, over everything that happened meanwhile", mark.size >= held_back)
    stage.check("silence convicted nobody", not await stage.convictions(AUDITOR))


async def _verified(stage: Stage, mark: Mark) -> None:
    stage.step("What it claims can be checked by anybody: the witnesses' own statements, and proofs that tie them")
    file = stage.keep("honest.tlog-completeness", (mark.certificate or "").encode()).name
    code = await stage.sameview("verify", "completeness", file, "--policy", "policy.txt")
    stage.check("a fresh process verified the certificate offline, under the policy", code == 0)


async def _stands_still(stage: Stage) -> tuple[int, int]:
    """Watch while two of three witnesses say nothing; how large the log will be, and where the watermark stands."""
    stage.step(f"{' and '.join(SILENT)} go silent: they run, and answer nobody")
    size = await stage.size()
    before = await _when_quiet(stage)
    await add_batches(stage.client, stage.log_url, source_files(size, size + ENTRIES))
    stage.say(f"the log takes {ENTRIES} more entries, and may not show them: its policy wants two of three")
    other = WITNESSES[-1]

    async def goes_on() -> bool:
        return (await _mark(stage)).stated(other) > max(before.time or 0, before.stated(other))

    await stage.until(goes_on, f"{AUDITOR} to see what {other} states")
    await trio.sleep(SECONDS_BETWEEN)
    after = await _mark(stage)
    _show(stage, [before, after])
    stage.check(f"the watermark stands still, although {other} goes on", before.time == after.time is not None)
    file = stage.keep("stale.tlog-completeness", (after.certificate or "").encode()).name
    asked = ("verify", "completeness", file, "--policy", "policy.txt")
    stage.check("what was proven stays proven", await stage.sameview(*asked, shown=False) == 0)
    recent = await stage.sameview(*asked, "--max-age", str(MAX_AGE)) == 1
    stage.check("but nobody can claim to know of the last seconds", recent)
    return size + ENTRIES, after.time or 0


async def _when_quiet(stage: Stage) -> Mark:
    """Wait until what was under way when the witnesses fell silent has arrived."""
    seen = [await _mark(stage)]

    async def quiet() -> bool:
        await trio.sleep(SILENCE_SECONDS)
        seen.append(await _mark(stage))
        return seen[-1].time == seen[-2].time

    await stage.until(quiet, f"{AUDITOR} to hear nothing new of {SILENT[0]} and {SILENT[1]}")
    return seen[-1]


@contextmanager
def _silenced(stage: Stage) -> Iterator[None]:
    """Stop two witnesses, as a debugger would: their sockets stay open, and nothing comes out of them."""
    processes = [stage.nodes[stem].process for stem in SILENT]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


async def _mark(stage: Stage) -> Mark:
    id_hex = origin_id(stage.origin).hex()
    raw = await stage.read(f"{stage.plan.url(AUDITOR)}/v1/completeness/{id_hex}")
    mark = msgspec.json.decode(raw, type=Mark)
    mark.at = SystemClock().now()
    return mark


async def _mark_after(stage: Stage, time: int) -> Mark:
    """Wait until the watermark has moved beyond a time."""
    found: list[Mark] = []

    async def moved() -> bool:
        mark = await _mark(stage)
        found.append(mark)
        return (mark.time or 0) > time

    await stage.until(moved, f"{AUDITOR} to be able to prove more of {stage.origin}")
    return found[-1]


def _show(stage: Stage, marks: list[Mark]) -> None:
    stage.narrator.table({"entries": "", "complete up to": "bold", "asked": "", "rests on": ""}, list(map(_row, marks)))


def _row(mark: Mark) -> tuple[str, ...]:
    if mark.time is None:
        return str(mark.size), "not yet", "", ""
    return str(mark.size), utc(mark.time * 1000), f"{mark.at - mark.time} s later", ", ".join(_heard(mark))


def _heard(mark: Mark) -> list[str]:
    return sorted({one.name.partition("-")[0] for one in mark.witnesses if one.counts})
