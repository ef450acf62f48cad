"""Which alarms hold, decided from facts alone; time is a number."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alarms.core import (
    CALM_SECONDS,
    JUMP_CALM_SECONDS,
    SETTLE_SECONDS,
    STEP_SHOWN_SECONDS,
    Change,
    Claim,
    Cleared,
    Facts,
    Growth,
    Key,
    LogFacts,
    Memory,
    PeerFacts,
    Raised,
    Sight,
    WitnessFacts,
    lasting,
    watch,
    witness_facts,
)
from monitor.alarms.kinds import KINDS, kind_of
from monitor.limits import AlarmLimits

LOG = "log.example/one"
LIMITS = AlarmLimits()
FINE = Claim(age=30, margin=2, liars=0, minq=2, inter=1)


class Watch:
    """Looks again and again, at times that the test chooses."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self.seconds = 1000.0

    def look(self, facts: Facts | LogFacts, after: float = 5) -> tuple[Change, ...]:
        self.seconds += after
        whole = Facts(0, [facts]) if isinstance(facts, LogFacts) else facts
        self.memory, changes = watch(self.memory, replace(whole, now_ms=int(self.seconds * 1000)), LIMITS)
        return changes

    def open(self, facts: Facts | LogFacts, after: float = 5) -> list[tuple[str, str]]:
        """Look, and list what is open: kind and subject."""
        self.look(facts, after)
        return sorted((key.kind, key.subject) for key in self.memory.open)


def kinds(changes: Sequence[Change]) -> list[tuple[str, bool]]:
    return [(change.key.kind, isinstance(change, Raised)) for change in changes]


# Each rule, at its threshold and beyond it.


@pytest.mark.parametrize(
    ("kind", "quiet", "alarming"),
    [
        ("log-stale", LogFacts(LOG, cadence=60, quiet=180), LogFacts(LOG, cadence=60, quiet=181)),
        ("watermark-stale", LogFacts(LOG, claim=replace(FINE, age=900)), LogFacts(LOG, claim=replace(FINE, age=901))),
        ("policy-degraded", LogFacts(LOG, claim=replace(FINE, inter=1)), LogFacts(LOG, claim=replace(FINE, inter=0))),
        ("size-jump", LogFacts(LOG, growth=Growth(9, 60, 2409, 576)), LogFacts(LOG, growth=Growth(9, 60, 2410, 576))),
        ("vantage-split", LogFacts(LOG, vantage=600), LogFacts(LOG, vantage=601)),
        (
            "witness-lag",
            Facts(0, witnesses=[WitnessFacts("w", {LOG: 600})]),
            Facts(0, witnesses=[WitnessFacts("w", {LOG: 601})]),
        ),
        ("peer-lag", Facts(0, peers=[PeerFacts("m2", 0, 30)]), Facts(0, peers=[PeerFacts("m2", 0, 31)])),
        ("peer-lag", Facts(0, peers=[PeerFacts("m2", 100, 0)]), Facts(0, peers=[PeerFacts("m2", 101, 0)])),
        ("clock-stepped", Facts(0, stepped=5), Facts(0, stepped=-6)),
    ],
)
def test_a_reason_beyond_its_threshold_is_an_alarm(
    kind: str, quiet: Facts | LogFacts, alarming: Facts | LogFacts
) -> None:
    watch_ = Watch()
    assert watch_.open(quiet) == watch_.open(quiet, CALM_SECONDS) == []
    assert (kind, True) in (*kinds(watch_.look(alarming)), *kinds(watch_.look(alarming, CALM_SECONDS)))


@pytest.mark.parametrize(
    "facts",
    [
        LogFacts(LOG, cadence=0, quiet=10**6),
        LogFacts(LOG, cadence=60, quiet=None),
        LogFacts(LOG, claim=None, growth=None, vantage=None),
        LogFacts(LOG, claim=Claim(None, -1, 0, 0, 0)),
        LogFacts(LOG, growth=Growth(0, 60, 10**9, 1.0)),
        LogFacts(LOG, growth=Growth(10, 60, 1010, 1.0)),
        Facts(0, witnesses=[WitnessFacts("w", {})]),
    ],
    ids=["no cadence", "never seen", "nothing known", "no policy", "first tree", "small burst", "nobody to compare"],
)
def test_what_nobody_promised_or_nobody_knows_is_no_alarm(facts: Facts | LogFacts) -> None:
    watch_ = Watch()
    assert [watch_.open(facts, after=5000) for _ in range(5)] == [[]] * 5


def test_growth_is_measured_against_the_time_that_it_took() -> None:
    day = Growth(10_000, 86_400, 10_000 + 99 * 576, 576)
    assert Watch().open(LogFacts(LOG, growth=day)) == []
    assert Watch().open(LogFacts(LOG, growth=replace(day, seconds=60))) == [("size-jump", "growth")]


def test_a_claim_that_never_comes_is_an_alarm_after_a_while() -> None:
    watch_ = Watch()
    nothing = LogFacts(LOG, claim=replace(FINE, age=None))
    assert watch_.open(nothing) == watch_.open(nothing, 899) == []
    assert watch_.open(nothing, 1) == [("watermark-stale", "completeness")]


def test_a_thin_margin_has_to_last() -> None:
    watch_ = Watch()
    thin = LogFacts(LOG, claim=replace(FINE, margin=0, liars=1, inter=2))
    assert watch_.open(thin) == watch_.open(thin, 119) == []
    assert watch_.open(thin, 1) == [("policy-degraded", "the witnesses heard")]
    assert Watch().open(LogFacts(LOG, claim=replace(FINE, margin=-1)), 500) == []


def test_a_witness_that_shows_nothing_is_an_alarm_after_a_while() -> None:
    watch_ = Watch()
    unheard = Facts(0, witnesses=[WitnessFacts("w", {LOG: None, "other": 0})])
    assert watch_.open(unheard) == watch_.open(unheard, 599) == []
    (raised,) = watch_.look(unheard, 1)
    assert raised == Raised(
        Key("witness-lag", "", "the witness w"), f"nothing was heard of it on 1 of 2 logs ({LOG})", 600
    )


def test_a_silent_peer_is_given_time_to_meet_us_by_chance() -> None:
    peers = [PeerFacts(f"m{number}", 1000, 0) for number in range(10)]
    assert Watch().open(Facts(0, peers=peers)) == []
    assert len(Watch().open(Facts(0, peers=[replace(peer, silent=1001) for peer in peers]))) == 10


def test_a_sentence_names_a_few_logs_and_counts_all() -> None:
    behind: dict[str, int | None] = {f"log{number}": 700 + number for number in range(5)}
    watch_, facts = Watch(), Facts(0, witnesses=[WitnessFacts("w", behind)])
    assert watch_.look(facts) == ()
    (raised,) = watch_.look(facts, CALM_SECONDS)
    assert isinstance(raised, Raised)
    assert raised.detail == "behind by up to 12 min on 5 of 5 logs (log0, log1, log2, …)"
    assert raised.since == 704


# Since when, and for how long.


def test_an_alarm_ends_when_its_reason_has_been_gone_for_a_while() -> None:
    watch_ = Watch()
    fine, split = LogFacts(LOG, vantage=0), LogFacts(LOG, vantage=700)
    watch_.look(split)
    assert watch_.look(fine) == watch_.look(fine, CALM_SECONDS - 1) == ()
    assert kinds(watch_.look(fine, 1)) == [("vantage-split", False)]
    assert watch_.look(fine, 500) == ()


def test_a_reason_that_comes_and_goes_is_one_alarm() -> None:
    watch_ = Watch()
    fine, split = LogFacts(LOG, vantage=0), LogFacts(LOG, vantage=700)
    found = [kinds(watch_.look(one, CALM_SECONDS - 1)) for one in (split, fine, split, fine, split)]
    assert found == [[("vantage-split", True)], [], [("vantage-split", True)], [], [("vantage-split", True)]]


def test_what_cannot_be_told_any_more_leaves_an_alarm_as_it_is() -> None:
    watch_ = Watch()
    watch_.look(LogFacts(LOG, vantage=700))
    assert watch_.open(LogFacts(LOG, vantage=None), 10**6) == [("vantage-split", "the second vantage")]


def test_an_alarm_that_was_open_before_a_restart_ends_only_when_somebody_has_looked() -> None:
    key = Key("watermark-stale", LOG, "completeness")
    watch_ = Watch(Memory(open=frozenset({key})))
    assert watch_.look(LogFacts(LOG, claim=replace(FINE, age=None))) == (Raised(key, "nothing can be proven yet", 0),)
    fine = LogFacts(LOG, claim=FINE)
    assert watch_.look(fine) == ()
    assert watch_.look(fine, CALM_SECONDS) == (Cleared(key),)


def test_a_jump_is_shown_for_an_hour_after_it_is_over() -> None:
    watch_ = Watch()
    watch_.look(LogFacts(LOG, growth=Growth(10_000, 5, 90_000, 1.0)))
    calm = LogFacts(LOG, growth=Growth(90_000, 5, 90_000, 1.0))
    assert watch_.open(calm) == watch_.open(calm, JUMP_CALM_SECONDS - 1) == [("size-jump", "growth")]
    assert watch_.open(calm, 1) == []


# Clocks.


def test_a_clock_that_jumps_an_hour_raises_no_other_alarm_while_it_may_be_set_right() -> None:
    watch_ = Watch()
    watch_.look(LogFacts(LOG, claim=FINE))
    ahead = Facts(0, [LogFacts(LOG, claim=replace(FINE, age=3630))])
    assert watch_.open(replace(ahead, stepped=3600)) == [("clock-stepped", "this machine's clock")]
    assert len(watch_.open(ahead, SETTLE_SECONDS - 1)) == 1
    back = Facts(0, [LogFacts(LOG, claim=FINE)])
    assert len(watch_.open(replace(back, stepped=-3600))) == 1
    assert len(watch_.open(back, SETTLE_SECONDS)) == 1
    assert watch_.open(back, STEP_SHOWN_SECONDS) == []


def test_a_clock_that_stays_wrong_is_believed_in_the_end() -> None:
    watch_ = Watch()
    ahead = Facts(0, [LogFacts(LOG, claim=replace(FINE, age=3630))])
    watch_.look(replace(ahead, stepped=3600))
    watch_.look(ahead, SETTLE_SECONDS)
    assert ("watermark-stale", "completeness") in watch_.open(ahead, SETTLE_SECONDS)


def test_ages_on_the_steady_clock_do_not_care_about_steps() -> None:
    facts = Facts(0, [LogFacts(LOG, cadence=10, quiet=31, vantage=700)], stepped=-(10**6))
    assert {kind for kind, _ in Watch().open(facts)} == {"clock-stepped", "log-stale", "vantage-split"}


def test_a_step_does_not_end_what_compares_with_the_clock() -> None:
    watch_ = Watch(Memory(open=frozenset({Key("watermark-stale", LOG, "completeness")})))
    watch_.look(LogFacts(LOG, claim=replace(FINE, age=1000)))
    fine = Facts(0, [LogFacts(LOG, claim=FINE)])
    watch_.look(fine)
    watch_.look(replace(fine, stepped=-900), CALM_SECONDS - 10)
    assert ("watermark-stale", "completeness") in watch_.open(fine, SETTLE_SECONDS)
    assert ("watermark-stale", "completeness") not in watch_.open(fine, CALM_SECONDS)


# Witnesses.


def behind(*sights: tuple[str, int | None]) -> dict[str, int | None]:
    return {one.name: one.behind[LOG] for one in witness_facts({LOG: [Sight(*sight) for sight in sights]})}


def test_witnesses_are_compared_with_the_middle_one() -> None:
    assert behind(("a", 1000), ("b", 990), ("c", 100)) == {"a": 0, "b": 0, "c": 890}


def test_of_two_witnesses_the_one_behind_is_seen() -> None:
    assert behind(("a", 1000), ("b", 100)) == {"a": 0, "b": 900}


def test_a_witness_an_hour_ahead_makes_nobody_else_late() -> None:
    assert behind(("a", 1000), ("b", 1001), ("liar", 4600)) == {"a": 1, "b": 0, "liar": 0}


def test_a_witness_that_shows_nothing_has_no_place() -> None:
    assert behind(("a", None), ("b", 5), ("c", None)) == {"a": None, "b": 0, "c": None}


def test_of_a_witness_with_several_keys_the_newest_counts() -> None:
    assert behind(("a", 10), ("a", None), ("a", 900), ("a", 20), ("b", 900)) == {"a": 0, "b": 0}


# Words.


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_durations_are_said_in_one_unit(seconds: int, words: str) -> None:
    assert lasting(seconds) == words


def test_every_kind_says_what_it_means_and_what_to_do() -> None:
    assert [name for name, kind in KINDS.items() if not (kind.means.endswith(".") and kind.next.endswith("."))] == []
    assert [name for name, kind in KINDS.items() if kind.proof] == ["convicted"]
    assert "another version" in kind_of("of the future").means


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 400)), max_size=40))
def test_an_alarm_is_never_raised_twice_without_an_end_between(ages: list[tuple[int, int]]) -> None:
    watch_ = Watch()
    open_ = False
    for age, pause in ages:
        for change in watch_.look(LogFacts(LOG, vantage=age), pause):
            assert isinstance(change, Raised) or open_
            open_ = isinstance(change, Raised)
        assert open_ == bool(watch_.memory.open)
