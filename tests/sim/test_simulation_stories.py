"""Federations in which logs, witnesses, peers and the world misbehave, and what must hold whatever they do.

Each story checks the invariants of ``bench.simulation.invariants`` by itself, and that everybody found out whom they
had to find out. One seed each here; ``bench.gossip_sim`` plays thousands.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.simulation import world
from bench.simulation.engine import Engine
from bench.simulation.invariants import Invariants, check_pools, check_settled, verified_elsewhere
from bench.simulation.lies import EVERYBODY, FORK, LAST_SIZE, LIES, LOG, MAIN_SHAPE, witness_name
from bench.simulation.memory import remembered
from bench.simulation.network import Links
from bench.simulation.runs import Federation
from bench.simulation.stories import FAULTS, TRICKS, Plot, random_plot, story
from bench.simulation.tally import Tally, code_hash
from bench.simulation.watermarks import Watermarks
from bench.simulation.world import EPOCH, SimLog
from gossip.core.state import MAX_CONTACTS, Contact
from gossip.messages import GetHeads
from tlog.advance import Statement
from tlog.evidence import EvidenceType
from tlog.hashing import Hash
from tlog.signed_checkpoint import open_checkpoint


@pytest.fixture(autouse=True)
def verified_once() -> Iterator[None]:
    with remembered():
        yield


def vkey(name: str) -> str:
    witnesses = {witness_name(number): world.witness(number).verifier_key for number in EVERYBODY}
    return {LOG: SimLog("log.example/story").key.verifier_key, **witnesses}[name].format()


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_ends_as_it_must(lie: str) -> None:
    ending = story(Plot(lie), 1)
    # Whoever only may be convicted is not: what was frozen or never served proves nothing. A split quorum names all.
    wanted = LIES[lie].guilty if lie == "split quorum" else LIES[lie].convicted
    assert ending.convicted == {vkey(name) for name in wanted}


@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_of_peers_hides_a_fork(trick: str) -> None:
    assert story(Plot("larger", (trick, trick)), 2).convicted


@pytest.mark.parametrize("trick", [trick for trick in TRICKS if trick != "two faces"])
def test_no_trick_of_peers_keeps_monitors_from_following_an_honest_log(trick: str) -> None:
    ending = story(Plot("honest", (trick, trick)), 3)
    assert (ending.sizes, ending.convicted) == ((LAST_SIZE,) * 4, frozenset())


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_hides_a_fork(fault: str) -> None:
    tricks = ("silent", "silent") if fault == "sybil ring" else ()
    assert story(Plot("smaller", tricks, (fault,)), 4).convicted


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_convicts_an_honest_log(fault: str) -> None:
    ending = story(Plot("honest", (), (fault,)), 5)
    assert (ending.sizes, ending.convicted) == ((LAST_SIZE,) * 6, frozenset())


def test_everything_at_once_convicts_nobody_honest() -> None:
    ending = story(Plot("honest", ("flood", "replay", "silent"), FAULTS, 9), 6)
    assert ending.convicted == frozenset()


@pytest.mark.parametrize("seed", range(100, 108))
def test_random_stories_end_well(seed: int) -> None:
    assert story(random_plot(seed, 8), seed).checks > 0


def test_kept_evidence_of_every_type_verifies_in_another_process() -> None:
    policy = SimLog("log.example/story").policy
    kept = (held for lie in LIES for held in story(Plot(lie), 1).evidence)
    by_type = {held.conviction.type: held for held in kept}
    assert verified_elsewhere([(held, policy) for held in by_type.values()]) == len(by_type)
    assert set(by_type) >= {
        EvidenceType.SAME_SIZE,
        EvidenceType.OPENINGS,
        EvidenceType.NON_CONSISTENT,
        EvidenceType.COSIGNER_ROLLBACK,
        EvidenceType.COSIGNER_NON_CONSISTENT,
        EvidenceType.QUORUM_SPLIT,
    }


def test_watermarks_claim_nothing_wrong_unless_more_witnesses_lie_than_they_allow_for() -> None:
    honest, split = story(Plot("honest"), 1), story(Plot("split quorum"), 1)
    assert (honest.claims > 100, honest.wrong_claims) == (True, 0)
    assert split.wrong_claims > 0
    one_liar = story(Plot("rollback witness"), 1)
    assert (one_liar.claims > 100, one_liar.wrong_claims) == (True, 0)


def test_a_watermark_that_claims_too_much_is_noticed() -> None:
    log, federation = SimLog("log.example/story"), Federation(1, 1, [SimLog("log.example/story")])
    federation.establish(log, MAIN_SHAPE, 340, (1, 2, 3), federation.monitors)
    federation.start_running()
    marks = Watermarks(log, frozenset())
    marks.cosigned(world.head(log.origin, MAIN_SHAPE, 340), (1, 2, 3), EPOCH + 5)
    marks.look(federation.monitors[0], EPOCH + 9)
    assert marks.claims == 2
    marks.cosigned(world.head(log.origin, FORK, 330), (1, 2), EPOCH + 4)
    with pytest.raises(AssertionError, match="I7"):
        marks.look(federation.monitors[0], EPOCH + 9)


def watched() -> tuple[Invariants, Federation]:
    federation = Federation(1, 2, [SimLog("log.example/story")], links=Links())
    return Invariants(Engine(), (), ["log.example/story"]), federation


def test_an_observer_that_goes_back_is_noticed() -> None:
    invariants, federation = watched()
    (monitor, _) = federation.monitors
    root = Hash(bytes(32))
    invariants.states(monitor, Statement("log.example/story", 5, root, EPOCH))
    with pytest.raises(AssertionError, match="I6"):
        invariants.states(monitor, Statement("log.example/story", 4, root, EPOCH + 1))
    with pytest.raises(AssertionError, match="I6"):
        invariants.states(monitor, Statement("log.example/story", 5, root, EPOCH - 1))


def test_a_message_about_an_unknown_log_is_noticed() -> None:
    invariants, _ = watched()
    with pytest.raises(AssertionError, match="I8"):
        invariants.sends(GetHeads((b"x" * 32,)))


def test_a_conviction_of_an_honest_key_is_noticed() -> None:
    held = story(Plot("same size"), 1).evidence[0]
    invariants, federation = watched()
    with pytest.raises(AssertionError, match="I1"):
        invariants.keeps(federation.monitors[0], held)


def test_a_branch_that_is_replaced_is_noticed() -> None:
    invariants, federation = watched()
    log = SimLog("log.example/story")
    federation.establish(log, MAIN_SHAPE, 340, (1, 2, 3), federation.monitors)
    federation.start_running()
    monitor = federation.monitors[0]
    (origin,) = monitor.rules.logs
    signed, _ = monitor.disk.branches[origin]
    with pytest.raises(AssertionError, match="I5"):
        invariants.adopts(monitor, origin, MAIN_SHAPE, signed)
    larger = world.head(log.origin, FORK, 380)
    note = log.sign(larger, (1, 2, 3), EPOCH)
    with pytest.raises(AssertionError, match="I5"):
        invariants.adopts(monitor, origin, FORK, open_checkpoint(note, (log.key.verifier_key,)))


def test_a_pool_beyond_its_cap_is_noticed() -> None:
    _, federation = watched()
    (monitor, _) = federation.monitors
    check_pools(monitor)
    contacts = {number.to_bytes(32, "big"): Contact() for number in range(MAX_CONTACTS + 1)}
    monitor.state = replace(monitor.state, contacts=contacts)
    with pytest.raises(AssertionError, match="I4"):
        check_pools(monitor)


def test_two_histories_that_nobody_convicts_are_noticed() -> None:
    _, federation = watched()
    log = SimLog("log.example/story")
    for monitor, shape in zip(federation.monitors, (MAIN_SHAPE, FORK), strict=True):
        federation.establish(log, shape, 340, (1, 2, 3), [monitor])
    federation.start_running()
    with pytest.raises(AssertionError, match="I3"):
        check_settled(federation.monitors)


def test_a_conviction_that_not_everybody_knows_of_is_noticed() -> None:
    _, federation = watched()
    federation.start_running()
    check_settled(federation.monitors)
    held = story(Plot("same size"), 1).evidence[0]
    first = federation.monitors[0]
    first.state = replace(first.state, evidence={held.conviction.id: held})
    with pytest.raises(AssertionError, match="I9"):
        check_settled(federation.monitors)


def test_a_count_of_stories_says_which_were_played_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    path, wanted = tmp_path / "tally.json", {10: 250, 1000: 8}
    ending = story(Plot("same size"), 1)
    tally = Tally.read(path, "one")
    assert tally.next_chunk(wanted) == (10, range(1, 201))
    tally.add(10, [ending] * 199 + ["seed 200: I1: an honest key is convicted"], 1.0)
    assert tally.next_chunk(wanted) == (1000, range(1, 7))
    tally.add(1000, [ending] * 8, 1.0)
    tally.write(path, wanted)
    again = Tally.read(path, "one")
    assert (again, again.next_chunk(wanted)) == (tally, (10, range(201, 251)))
    of_ten = again.played[10]
    assert (of_ten.runs, of_ten.broken, of_ten.honest_keys_convicted) == (200, 1, 1)
    again.add(10, [ending] * 50, 1.0)
    assert again.next_chunk(wanted) is None
    assert Tally.read(path, "other").played == {}
    assert code_hash() == code_hash()
