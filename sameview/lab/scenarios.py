"""The scenarios: in each somebody lies in another way (in the first nobody), and the claims are what must come of it.

Every scenario begins with a log of its own, of ``FIRST_ENTRIES`` entries, that all monitors have verified.
"""

from collections.abc import Awaitable, Callable, Mapping

import trio

from runtime.clock import SystemClock
from sameview.lab import federation
from sameview.lab.federation import DECEIVED, FRONT, LIAR, MONITORS, monitor_name
from sameview.lab.silence import silent_witnesses
from sameview.lab.stage import Stage
from tlog.evidence import EvidenceType
from tlog.note import Note

FIRST_ENTRIES = 60
LATER_ENTRIES = 12
QUIET_SECONDS = 3.0  # how long the honest federation is watched for a conviction that must not come

CLIENT = "client"  # a viewer of the front that is no monitor
FORK_AT = 40  # where forks of what was verified depart: within the first 64 entries, so that these differ as a whole
FORK_SIZE = 80
FORGED_INDEX = 44
BACK_DOOR = "release 9.9 of a program, with a back door for one user, variant"

HONEST = tuple(monitor for monitor in MONITORS if monitor != DECEIVED)
BAD_WITNESS = "w3"

Scenario = Callable[[Stage], Awaitable[None]]


async def honest(stage: Stage) -> None:
    stage.step("The log stays honest and grows")
    size = await stage.grow(LATER_ENTRIES)
    await stage.wait_verified(size)
    stage.check(f"every monitor follows it to {size} entries", True)
    await trio.sleep(QUIET_SECONDS)
    await _nobody_is_convicted(stage)


async def split_same_size(stage: Stage) -> None:
    await _split(stage, FIRST_ENTRIES + LATER_ENTRIES)
    stage.step("Evidence cannot be doctored")
    bundle = bytearray((stage.plan.directory / stage.report.evidence[0]).read_bytes())
    bundle[-10] = ord("B") if bundle[-10] == ord("A") else ord("A")  # of the last signature, and base64 as before
    damaged = stage.keep(f"{stage.name}-damaged.tlog-evidence", bytes(bundle)).name
    refused = await stage.sameview("verify", "evidence", damaged, "--vkey", f"@{_log_vkey_file(stage)}") == 1
    stage.check("with one character changed it proves nothing", refused)


async def split_sizes(stage: Stage) -> None:
    await _split(stage, FIRST_ENTRIES + LATER_ENTRIES // 2)


async def _split(stage: Stage, size_of_lie: int) -> None:
    stage.step(f"The log lies: {_name(DECEIVED)} alone is shown another tree, which departs at entry {FIRST_ENTRIES}")
    note = await stage.lie(DECEIVED, "fork", {"at": FIRST_ENTRIES, "size": size_of_lie})
    stage.say("what the front serves now: the log's own signature, no witness, entries that nobody else has")
    stage.narrator.note(note)
    size = await stage.grow(LATER_ENTRIES)
    stage.say(f"meanwhile the log grows to {size} entries, for everybody else")
    first_sight = await stage.first_sight(DECEIVED)
    stage.step("The monitors gossip, compare what they were shown, and convict")
    await stage.convicted_by_all(stage.log_vkeys, first_sight, "the log")


async def rollback(stage: Stage) -> None:
    size = await stage.grow(LATER_ENTRIES)
    await stage.wait_verified(size)
    await trio.sleep(1)  # times are whole seconds, and within one of them nothing is later
    smaller = FIRST_ENTRIES - LATER_ENTRIES
    stage.step(f"The log forgets: it signed {size} entries, and now shows {_name(DECEIVED)} {smaller}")
    stage.say(
        "the tree is a true one, only an old one: nothing is forked. But the ML-DSA-44 line states the time, and says "
        "that at this second the log has no larger tree"
    )
    stage.narrator.note(await stage.lie(DECEIVED, "rollback", {"size": smaller}))
    first_sight = await stage.first_sight(DECEIVED)
    stage.step("The monitor remembers what the same key signed before, convicts, and tells the others")
    await stage.convicted_by_all(stage.log_vkeys, first_sight, "the log")
    types = {one.type for monitor in MONITORS for one in await stage.convictions(monitor, stage.log_vkeys)}
    stage.check("what convicts it is the rollback", types == {EvidenceType.LOG_ROLLBACK})


async def freeze(stage: Stage) -> None:
    stage.step(f"The log stops: {_name(DECEIVED)} is shown {FIRST_ENTRIES} entries for ever, while the others see more")
    await stage.lie(DECEIVED, "freeze")
    size = await stage.grow(LATER_ENTRIES)
    await stage.wait_verified(size, HONEST)
    stage.say(
        f"{' and '.join(map(_name, HONEST))} have verified {size} entries and tell {_name(DECEIVED)}; it sees the "
        "log's signature, and cannot get the entries"
    )
    frozen = await stage.wait_alarm(DECEIVED)
    stage.narrator.table(
        {"monitor": "", "alarm": "bold", "about": ""}, [(_name(DECEIVED), one.kind, one.subject) for one in frozen]
    )
    stage.check(f"{_name(DECEIVED)} raises the alarm: a signed tree is not served to it", bool(frozen))
    elsewhere = [alarm for monitor in HONEST for alarm in await stage.alarms(monitor)]
    stage.check("the other monitors have no reason to", not elsewhere)
    await _nobody_is_convicted(stage)
    stage.say("for silence proves nothing: the log may be broken, or the network. That is why it is an alarm")
    stage.step(f"But {_name(DECEIVED)} testifies, signed by its own key, and has told the others")
    stage.narrator.note(await stage.testimony(HONEST[0], DECEIVED, "freeze.tlog-testimony"))
    testified = await stage.sameview("verify", "testimony", "freeze.tlog-testimony", "--vkey", f"@{DECEIVED}-peer.vkey")
    stage.check(
        "a fresh process verified the testimony offline: who waits for which tree, and since when", not testified
    )
    stage.step("The freeze ends")
    await stage.lie(DECEIVED, "thaw")
    await stage.wait_verified(size, (DECEIVED,))
    await stage.wait_no_alarm(DECEIVED)
    stage.check(f"{_name(DECEIVED)} catches up to {size} entries, and the alarm is cleared", True)


async def private_fork(stage: Stage) -> None:
    size = await stage.grow(LATER_ENTRIES)
    await stage.wait_verified(size)
    await _view_is_shared(stage)
    stage.step("The log lies to one client: no monitor ever sees this tree, and no witness signs it")
    lie = {"at": FORK_AT, "size": FORK_SIZE, "entry": BACK_DOOR}
    note = await stage.lie(CLIENT, "fork", lie)
    stage.narrator.note(note)
    viewed = f"{stage.plan.url(FRONT)}/{stage.name}/{CLIENT}"
    stage.keep("client.checkpoint", await stage.read(f"{viewed}/checkpoint"))
    stage.keep("client.tlog-proof", await stage.read(f"{viewed}/v1/proofs/entry/{FORGED_INDEX}"))
    stage.keep("client.entry", f"{BACK_DOOR} {FORGED_INDEX}".encode())
    proof = ("verify", "proof", "client.tlog-proof", "--entry", "client.entry", "--vkey", f"@{_log_vkey_file(stage)}")
    stage.check("to a client that trusts the log's key alone, the proof is perfect", await stage.sameview(*proof) == 0)
    stage.say(
        "so the client asks the monitors whether they see the same. It shows them not its entry but the hash of the "
        "whole subtree around it: one of 64 entries, and nobody can tell which"
    )
    asked = SystemClock().now_ms()
    question = ("ask", "--policy", "monitors.txt", "--proof", "client.tlog-proof", "--entry", "client.entry")
    code = await stage.sameview(*question, "--out", "client.tlog-view")
    stage.check("the client is told of the fork, with exit code 1", code == 1)
    refused = await stage.sameview("verify", "view", "client.tlog-view", "--policy", "monitors.txt") == 1
    stage.check("and no view that it can show to anybody says that others see this tree", refused)
    stage.step("One question was enough: the monitors have the log's signature under a tree that is not theirs")
    await stage.convicted_by_all(stage.log_vkeys, asked, "the log")


async def _view_is_shared(stage: Stage) -> None:
    stage.step("A client that is shown the honest tree asks the monitors whether they see it too")
    stage.keep("honest.checkpoint", await stage.checkpoint())
    question = ("ask", "honest.checkpoint", "--policy", "monitors.txt", "--out", "honest.tlog-view")
    stage.check("they do, and two of three suffice", await stage.sameview(*question) == 0)
    code = await stage.sameview("verify", "view", "honest.tlog-view", "--policy", "monitors.txt")
    stage.check("a fresh process verified offline what they answered: the client can show it to anybody", code == 0)


async def lying_witness(stage: Stage) -> None:
    size = await _cosigned_by(stage, BAD_WITNESS) + LATER_ENTRIES
    stage.step(f"The log lies to {_name(DECEIVED)}, and the key of witness {BAD_WITNESS} cosigns both histories")
    lie = {"at": FORK_AT, "size": size, "cosigners": [BAD_WITNESS]}
    stage.narrator.note(await stage.lie(DECEIVED, "fork", lie))
    await stage.grow(LATER_ENTRIES)
    first_sight = await stage.first_sight(DECEIVED)
    stage.say(f"one witness of three makes no quorum: {_name(DECEIVED)} does not follow, but it tells the others")
    stage.step("The log is convicted as ever")
    await stage.convicted_by_all(stage.log_vkeys, first_sight, "the log")
    stage.step(f"And so is {BAD_WITNESS}: a witness swears never to cosign two views, whatever a log shows it")
    witness = frozenset(stage.vkey(f"{BAD_WITNESS}-{algorithm}") for algorithm in ("ed25519", "mldsa44"))
    await stage.convicted_by_all(witness, first_sight, f"witness {BAD_WITNESS}")
    types = {one.type for monitor in MONITORS for one in await stage.convictions(monitor, witness)}
    both = {EvidenceType.COSIGNER_SAME_SIZE, EvidenceType.COSIGNER_NON_CONSISTENT, EvidenceType.COSIGNER_ROLLBACK}
    stage.check(
        "what convicts it is that it cosigned both", types <= both and types != {EvidenceType.COSIGNER_ROLLBACK}
    )


async def _cosigned_by(stage: Stage, witness: str) -> int:
    """Let the log grow until a witness is among those whose cosignature it waited for; the size all verified then."""
    size = await stage.size()
    while f"witness.example/{witness}" not in {line.name for line in Note.parse(await stage.checkpoint()).signatures}:
        size = await stage.grow(1)
    await stage.wait_verified(size)
    return size


async def lying_monitor(stage: Stage) -> None:
    stage.step(f"A fourth monitor, {_name(LIAR)}, takes part in the gossip, and says to each what it likes")
    async with federation.running(stage.plan, [LIAR]):
        smaller = await stage.checkpoint()
        size = await stage.grow(LATER_ENTRIES)
        await stage.wait_verified(size)
        say = f"{stage.plan.url(LIAR)}/lab/say"
        await stage.post(f"{say}/{HONEST[0]}", await stage.checkpoint())
        stage.say(f"to {_name(HONEST[0])}: the largest tree I have seen has {size} entries")
        first_sight = SystemClock().now_ms()
        spoken = Note.parse(await stage.post(f"{say}/{HONEST[1]}", smaller))
        stage.say(f"a second later, to {_name(HONEST[1])}: the largest tree I have seen has {FIRST_ENTRIES} entries")
        await stage.post(f"{say}/{HONEST[0]}", smaller)
        stage.say(f"and then the same to {_name(HONEST[0])}, which has not forgotten")
    stage.narrator.note(Note(spoken.text, spoken.signatures[-1:]).format())
    stage.say(
        "both trees are the log's own, and both lines verify. But a monitor answers for what it says: its view is a "
        "cosignature, by the key of its observer"
    )
    stage.step("Whoever was told both convicts it, and tells the others")
    observer = frozenset({stage.vkey(f"{LIAR}-observer")})
    await stage.convicted_by_all(observer, first_sight, f"monitor {LIAR}")
    stage.step("Nobody else has to suffer for it")
    grown = await stage.grow(LATER_ENTRIES)
    await stage.wait_verified(grown)
    stage.check(f"the honest monitors follow the log to {grown} entries", True)
    convicted = [await stage.convictions(monitor, stage.log_vkeys) for monitor in MONITORS]
    stage.check("the log is not convicted", not any(convicted))


async def _nobody_is_convicted(stage: Stage) -> None:
    convicted = [bool(await stage.convictions(monitor)) for monitor in MONITORS]
    stage.check("nobody is convicted", not any(convicted))


def _name(stem: str) -> str:
    return monitor_name(stem)


def _log_vkey_file(stage: Stage) -> str:
    return f"{federation.log_stem(stage.name)}-ed25519.vkey"


SCENARIOS: Mapping[str, tuple[Scenario, str]] = {
    "honest": (honest, "nobody lies, nobody is convicted"),
    "silent-witnesses": (silent_witnesses, "two of three witnesses answer nobody for a while"),
    "split-same-size": (split_same_size, "two trees of one size"),
    "split-sizes": (split_sizes, "two trees of different sizes"),
    "rollback": (rollback, "a log that takes back what it signed"),
    "freeze": (freeze, "a log that stops showing growth to one monitor"),
    "private-fork": (private_fork, "a tree made for one client"),
    "lying-monitor": (lying_monitor, "a monitor that states two views"),
    # The last, because after it one witness counts no more for any log.
    "lying-witness": (lying_witness, "a witness that cosigns two histories"),
}
