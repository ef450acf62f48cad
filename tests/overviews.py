"""Overviews as monitors make them, for whoever shows them: calm, in trouble, or with many logs."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from monitor.alarms.kinds import kind_of
from monitor.page.document import (
    Agreement,
    AlarmView,
    CatchUp,
    EvidenceView,
    LogView,
    MatchView,
    Overview,
    PeerView,
    Sight,
    Totals,
    Verdict,
    WatchView,
    Watermark,
)

NOW_MS = 1_795_440_000_000
WITNESSES = tuple(f"witness.example/w{number}" for number in (1, 2, 3))
PEERS = ("monitor.example/m2", "monitor.example/m3")


def log(name: str, size: int = 12_345, witnesses: Sequence[str] = WITNESSES) -> LogView:
    """A log that everybody sees alike."""
    origin = f"log.example/{name}"
    sights = [
        Sight(one, Agreement.SAME, size, NOW_MS - 1000 * (11 + number * 7), counts=True)
        for number, one in enumerate((*witnesses, *PEERS))
    ]
    return LogView(
        origin=origin,
        id=sha256(origin.encode()).hexdigest(),
        url=f"https://{origin}",
        verdict=Verdict.CONSISTENT,
        size=size,
        root_hash="47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        confirmed_ms=NOW_MS - 4000,
        catch_up=None,
        watermark=Watermark(NOW_MS - 38_000, 1, 1, len(witnesses), len(witnesses)),
        witnesses=tuple(sights[: len(witnesses)]),
        peers=tuple(sights[len(witnesses) :]),
        pending=(),
        alarms=(),
        evidence=(),
    )


def convicted(name: str = "three", size: int = 5_321_009) -> tuple[LogView, EvidenceView]:
    """A log that showed one witness and one peer another history, and the evidence."""
    calm = log(name, size)
    id_hex = sha256(b"evidence").hexdigest()
    accused = f"{calm.origin}+1a2b3c4d+AVXcxGdAGVEMJg3IhBEjGqEoOFDXLTjMnp9V7aNvzZxk"
    file = f"{id_hex}.tlog-evidence"
    proof = EvidenceView(
        id=id_hex,
        type="same-size",
        shows="it signed two roots for one size",
        origin=calm.origin,
        accused=accused,
        first_seen_ms=NOW_MS - 300_000,
        convicted_ms=NOW_MS - 299_000,
        path=f"/v1/evidence/{id_hex}",
        file=file,
        command=f"sameview verify evidence {file} --vkey {accused}",
    )
    found = replace(
        calm,
        verdict=Verdict.CONVICTED,
        watermark=Watermark(NOW_MS - 38_000, 1, 0, 2, 3),
        witnesses=(*calm.witnesses[:-1], replace(calm.witnesses[-1], agreement=Agreement.CONTRADICTS, counts=False)),
        peers=(*calm.peers[:-1], replace(calm.peers[-1], agreement=Agreement.CONTRADICTS)),
        alarms=("convicted",),
        evidence=(id_hex,),
    )
    return found, proof


def alarm(
    kind: str, origin: str | None, subject: str, detail: str = "", evidence: str | None = None, ago: int = 900
) -> AlarmView:
    """An open alarm of so many seconds ago."""
    meant = kind_of(kind)
    since_ms, seen_ms = NOW_MS - ago * 1000, NOW_MS - 9000
    return AlarmView(
        kind,
        origin,
        subject,
        detail,
        since_ms,
        seen_ms,
        cleared_ms=None,
        proof=meant.proof,
        means=meant.means,
        next=meant.next,
        evidence=evidence,
    )


def watched() -> tuple[WatchView, ...]:
    """What two watches found: one twelve entries, the other nothing."""
    found = tuple(
        MatchView(
            number=number,
            origin="log.example/one",
            index=4000 + number,
            found=("before example-product behind",),
            found_ms=NOW_MS - 60_000 * (13 - number),
            entry_size=812,
            proof=f"/v1/matches/{number}/proof",
            entry=f"/v1/matches/{number}/entry",
        )
        for number in (12, 11)
    )
    return WatchView("our product", 12, found), WatchView("our keys", 0, ())


def overview(
    logs: Sequence[LogView], alarms: Sequence[AlarmView] = (), evidence: Sequence[EvidenceView] = ()
) -> Overview:
    """What a monitor says that sees these."""
    verdicts = [one.verdict for one in logs]
    return Overview(
        monitor="monitor.example/m1",
        vkey="monitor.example/m1-observer+5e6f7a8b+BFnbUmYc0mbVZcZfQmUoXpCzKnD1PEGAtc4AbwkOqEfa",
        version="0.1.0",
        page=1,
        pages=1,
        totals=Totals(
            logs=len(logs),
            convicted=verdicts.count(Verdict.CONVICTED),
            alarmed=verdicts.count(Verdict.ALARMED),
            unverified=verdicts.count(Verdict.UNVERIFIED),
            entries=sum(one.size for one in logs),
            open_alarms=len(alarms),
            evidence=len(evidence),
            testimony=0,
            watermark_ms=NOW_MS - 38_000,
        ),
        logs=tuple(logs),
        peers=tuple(
            PeerView(name, f"Operator of {name}", "https://m.example", f"{name}+", NOW_MS - 4000) for name in PEERS
        ),
        alarms=tuple(alarms),
        cleared=(),
        evidence=tuple(evidence),
    )


def calm() -> Overview:
    """Two logs, and nothing to look at."""
    return overview([log("one"), log("two", 6_412_766)])


def trouble() -> Overview:
    """A log that is convicted, one of which too little is heard, and two that are well."""
    accused, proof = convicted()
    quiet = log("four", 812_002)
    late = replace(quiet.witnesses[2], agreement=Agreement.OLDER, size=811_000, time_ms=NOW_MS - 1_900_000)
    unheard = Sight(WITNESSES[1], Agreement.UNHEARD, None, None)
    quiet = replace(
        quiet,
        verdict=Verdict.ALARMED,
        alarms=("watermark-stale",),
        watermark=Watermark(NOW_MS - 1_900_000, 1, 0, 1, 3),
        witnesses=(quiet.witnesses[0], unheard, late),
        catch_up=CatchUp(812_002, 990_210, 140),
    )
    alarms = [
        alarm("convicted", accused.origin, proof.id, evidence=proof.id, ago=290),
        alarm("watermark-stale", quiet.origin, "completeness", "proven only up to 31 min ago"),
        alarm("witness-lag", None, f"the witness {WITNESSES[1]}", f"nothing was heard of it on {quiet.origin}"),
    ]
    return overview([accused, quiet, log("one"), log("two", 6_412_766)], alarms, [proof])


def many(count: int = 100, witnesses: int = 10) -> Overview:
    """As many logs as a page holds."""
    names = [f"witness.example/w{number}" for number in range(witnesses)]
    return overview([log(f"many{number:03}", 1000 * number + 7, names) for number in range(count)])
